package podid_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/openpodidentity/podid"

// layers is the tree's order, outermost first: a package may import packages of
// its module only from later layers. The names are folders; a folder covers
// what lies below it.
var layers = [][]string{
	{"cmd", "test"},
	{"cmd/internal"},  // what the programs share
	{"test/upstream"}, // a podid-auth that fails on demand, for several of the tests
	{"internal/sandbox", "internal/install", "internal/reconcile"},
	{"internal/agent", "internal/auth", "internal/eksapi", "internal/injection", "localaws"},
	{"localaws/iam", "localaws/s3", "localaws/sts"},
	{"localaws/internal"},
	{"internal/association/annotation", "internal/event"},
	{"internal/association/associationtest", "internal/association/kube", "internal/association/memory", "internal/accesskey", "internal/address",
		"internal/certificate", "internal/handover", "internal/listen", "internal/token/kube"},
	{"api", "internal/association", "internal/awswire", "internal/informer", "internal/journal", "internal/roles", "internal/settings", "internal/sigv4", "internal/stream",
		"internal/token", "policy", "docs", "deploy"},
	{"."},
	{"internal/spelling", "problem"},
}

// sameLayer lists the imports that are right within a layer, each with its reason.
var sameLayer = map[string][]string{
	"localaws/sts":   {"localaws/iam"}, // sessions are principals of the account
	"internal/roles": {"policy"},       // a refusal is explained by the policy engine
	// A session policy is a policy; the versions of associations are what the stream tells of.
	"internal/association": {"policy", "internal/stream"},
}

// confined lists third-party modules and the only folders that may import them
// outside tests.
var confined = map[string][]string{
	"github.com/aws/aws-sdk-go-v2":        {"internal/agent", "internal/roles", "internal/sandbox", "cmd/podid", "cmd/podid-auth", "test"},
	"github.com/aws/smithy-go":            {"internal/agent", "internal/roles", "cmd/podid", "cmd/podid-auth", "test"},
	"github.com/go-jose/go-jose":          {"internal/token"},
	"github.com/spf13/cobra":              {"cmd"},
	"charm.land/lipgloss":                 {"cmd"},
	"k8s.io":                              kubernetes,
	"sigs.k8s.io/controller":              kubernetes,
	"github.com/prometheus/client_golang": {"internal/agent", "internal/auth", "internal/event", "internal/injection", "internal/reconcile", "cmd", "test"},
	"github.com/vishvananda/netlink":      {"internal/address"},
}

// kubernetes lists who may know Kubernetes' libraries. The agent may not: it runs on every node.
var kubernetes = []string{
	"api", "internal/accesskey", "internal/association/annotation", "internal/association/kube", "internal/certificate", "internal/doctor", "internal/event",
	"internal/informer", "internal/injection", "internal/install", "internal/migrate", "internal/reconcile", "internal/token/kube",
	"cmd/internal/replica", "cmd/podid", "cmd/podid-auth", "cmd/podid-webhook", "test",
}

// forbidden package names say nothing about what is inside.
var forbidden = []string{"util", "utils", "common", "helpers", "types", "models", "config", "manager", "core"}

type file struct {
	dir     string // folder, slash-separated, "." for the root
	name    string
	test    bool
	pkg     string
	doc     string
	imports []string
}

func TestImportsFollowTheTree(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		for _, imported := range f.imports {
			rest, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			to := strings.TrimPrefix(rest, "/")
			if to == "" {
				to = "."
			}
			if reason := mayImport(f.dir, to); reason != "" {
				t.Errorf("%s/%s imports %s: %s", f.dir, f.name, to, reason)
			}
		}
	}
}

func mayImport(from, to string) string {
	a, b := layer(from), layer(to)
	switch {
	case a < 0:
		return from + " has no place in the layers of arch_test.go"
	case b < 0:
		return to + " has no place in the layers of arch_test.go"
	case a < b:
		return ""
	case a == b && slices.Contains(sameLayer[from], to):
		return ""
	case a == b:
		return "packages of one layer do not import one another"
	}
	return "the arrow points inwards only"
}

// layer is the index of the layer whose folder covers dir most closely.
func layer(dir string) int {
	best, length := -1, -1
	for i, folders := range layers {
		for _, folder := range folders {
			if (dir == folder || strings.HasPrefix(dir, folder+"/")) && len(folder) > length {
				best, length = i, len(folder)
			}
		}
	}
	return best
}

func TestThirdPartyLibrariesStayWhereTheyBelong(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		for _, imported := range f.imports {
			for library, folders := range confined {
				if imported != library && !strings.HasPrefix(imported, library+"/") && !strings.HasPrefix(imported, library+"-") {
					continue
				}
				if !slices.ContainsFunc(folders, func(folder string) bool {
					return f.dir == folder || strings.HasPrefix(f.dir, folder+"/")
				}) {
					t.Errorf("%s/%s imports %s, which belongs in %s alone", f.dir, f.name, imported, strings.Join(folders, ", "))
				}
			}
		}
	}
}

func TestRootAndProblemNeedTheStandardLibraryAlone(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test || (f.dir != "." && f.dir != "problem") {
			continue
		}
		for _, imported := range f.imports {
			if strings.Contains(imported, ".") && imported != module+"/problem" {
				t.Errorf("%s/%s imports %s", f.dir, f.name, imported)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	commented := map[string]bool{}
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		if _, seen := commented[f.dir]; !seen {
			commented[f.dir] = false
		}
		if strings.HasPrefix(f.doc, "Package "+f.pkg+" ") || strings.HasPrefix(f.doc, "Command ") {
			commented[f.dir] = true
		}
		if slices.Contains(forbidden, f.pkg) {
			t.Errorf("%s: package %s says nothing about what is inside", f.dir, f.pkg)
		}
	}
	for dir, ok := range commented {
		if !ok {
			t.Errorf("%s: no file has a package comment", dir)
		}
	}
}

func TestTheTreeIsDescribed(t *testing.T) {
	guide, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for _, f := range goFiles(t) {
		parts := strings.Split(f.dir, "/")
		if folder := strings.Join(parts[:min(2, len(parts))], "/"); parts[0] == "internal" || parts[0] == "cmd" {
			missing[folder] = !strings.Contains(string(guide), "`"+folder+"`")
		}
	}
	for folder, is := range missing {
		if is {
			t.Errorf("CONTRIBUTING.md does not say what %s is for", folder)
		}
	}
}

func goFiles(t *testing.T) []file {
	t.Helper()
	var files []file
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(name, "go.mod")); name != "." && err == nil {
				return filepath.SkipDir // a module of its own
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		files = append(files, describe(filepath.ToSlash(name), f))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func describe(name string, f *ast.File) file {
	out := file{
		dir:  path.Dir(name),
		name: path.Base(name),
		test: strings.HasSuffix(name, "_test.go"),
		pkg:  f.Name.Name,
		doc:  f.Doc.Text(),
	}
	for _, spec := range f.Imports {
		if imported, err := strconv.Unquote(spec.Path.Value); err == nil {
			out.imports = append(out.imports, imported)
		}
	}
	return out
}
