// Package docs_test runs the shell blocks of the documentation and checks that
// the pages say what the code does.
package docs_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid/problem"
)

const root = "../.."

func TestEveryProblemCodeHasAPage(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "docs/problems/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var have []problem.Code
	for _, page := range pages {
		have = append(have, problem.Code(strings.TrimSuffix(filepath.Base(page), ".md")))
	}
	for _, code := range problem.Codes() {
		if !slices.Contains(have, code) {
			t.Errorf("docs/problems/%s.md is missing", code)
		}
	}
	for _, code := range have {
		if !problem.Known(code) {
			t.Errorf("docs/problems/%s.md is about no code of the catalogue", code)
			continue
		}
		content, err := os.ReadFile(filepath.Join(root, "docs/problems", string(code)+".md"))
		if err != nil {
			t.Fatal(err)
		}
		entry := problem.Lookup(code)
		for _, part := range []string{"# " + string(code) + "\n", "\n" + entry.Title + ".\n", "\n## What you see\n", "\n## Why\n", "\n## Fix\n"} {
			if !strings.Contains(string(content), part) {
				t.Errorf("docs/problems/%s.md lacks %q", code, part)
			}
		}
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	code := regexp.MustCompile("(?ms)^```.*?^```$|`[^`]*`")
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, page := range pages(t) {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(string(content), ""), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
}

// TestShellBlocksRun runs every block marked sh, page by page, in order, in one
// bash and one directory a page, as a reader would.
func TestShellBlocksRun(t *testing.T) {
	for _, program := range []string{"bash", "aws", "make"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("the documentation's shell blocks need %s, which this machine does not have", program)
		}
	}
	podid := build(t)
	for _, page := range pages(t) {
		blocks := shellBlocks(t, page)
		if len(blocks) == 0 {
			continue
		}
		name, err := filepath.Rel(root, page)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { runBlocks(t, podid, blocks) })
	}
}

func runBlocks(t *testing.T, podid string, blocks []string) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(podid, filepath.Join(dir, "bin", "podid")); err != nil {
		t.Fatal(err)
	}
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	script := preamble(absolute)
	for _, block := range blocks {
		if isServer(block) {
			script += strings.TrimSpace(block) + " --port 0 >local.log 2>&1 &\nserver=$!\nwait_for_world\n"
			continue
		}
		script += block + "\n"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	command.Dir = dir
	command.WaitDelay = 5 * time.Second // what bash started has its output open still
	command.Env = append(os.Environ(), "PODID_WORLD="+filepath.Join(dir, "world.json"), "HOME="+dir, "AWS_PAGER=", "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Run(); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
}

// preamble gives the blocks a make that checks that the target exists instead of
// running it (the tests run inside `make test`), and ends the local world with
// the shell.
func preamble(repository string) string {
	return `make() { command make -C '` + repository + `' --dry-run "$@" >/dev/null; }
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server" || true; }' EXIT
wait_for_world() {
  for _ in $(seq 100); do [ -e "$PODID_WORLD" ] && return; sleep 0.1; done
  cat local.log; return 1
}
`
}

// isServer tells a block that starts the world and stays in the foreground.
func isServer(block string) bool {
	return regexp.MustCompile(`^\s*(bin/)?podid local( --\S+( \S+)?)*\s*$`).MatchString(block)
}

func shellBlocks(t *testing.T, page string) []string {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(content), -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

func build(t *testing.T) string {
	t.Helper()
	podid := filepath.Join(t.TempDir(), "podid")
	command := exec.Command("go", "build", "-o", podid, "./cmd/podid")
	command.Dir = root
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build podid: %v\n%s", err, out)
	}
	return podid
}
