package docs_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEveryMetricIsDocumented compares the names in the programs with those in the
// tables and alerts of docs/operations.md.
func TestEveryMetricIsDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := names(string(page), regexp.MustCompile(`\bpodid_[a-z_]+\b`))
	served := map[string]bool{}
	for _, folder := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			maps.Copy(served, names(string(source), regexp.MustCompile(`"podid_[a-z_]+"`)))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(served)) {
		if !documented[name] {
			t.Errorf("docs/operations.md does not say what %s is", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		if !served[name] {
			t.Errorf("docs/operations.md speaks of %s, which no program serves", name)
		}
	}
}

func names(text string, pattern *regexp.Regexp) map[string]bool {
	found := map[string]bool{}
	for _, name := range pattern.FindAllString(text, -1) {
		found[strings.Trim(name, `"`)] = true
	}
	return found
}
