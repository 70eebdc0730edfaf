//go:build unix

package kube

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const module = "github.com/openpodidentity/podid/test/kube"

// buildFlags are the same for every build of kubebox: Go's build cache keeps
// packages apart by them, and a second set costs another ten minutes.
var buildFlags = []string{"-trimpath", "-buildvcs=false"}

// Kubebox returns the path of the kubebox binary, building it when the cache has none
// for these sources and this Go. That takes ten minutes or so of two cores the first
// time on a machine; progress says how far it is. $PODID_KUBEBOX names a binary to use instead.
func Kubebox(ctx context.Context, progress io.Writer) (string, error) {
	if given := os.Getenv("PODID_KUBEBOX"); given != "" {
		return given, nil
	}
	root, err := moduleDir(ctx)
	if err != nil {
		return "", err
	}
	source := filepath.Join(root, "kubebox")
	version, err := kubernetesVersion(source)
	if err != nil {
		return "", err
	}
	flags := append(slices.Clone(buildFlags), "-ldflags", linkerFlags(version))
	key, err := sourceKey(ctx, source, flags, filepath.Join(source, "go.mod"), filepath.Join(source, "go.sum"))
	if err != nil {
		return "", err
	}
	dir, err := once(ctx, "kubebox-"+key, progress, func(dir string) error {
		prune("kubebox-*")
		fmt.Fprintf(progress, "kube: building kubebox with Kubernetes %s; with an empty build cache that is 2,900 packages and takes ten minutes or more\n", version)
		return goBuild(ctx, source, filepath.Join(dir, "kubebox"), progress, append(flags, ".")...)
	})
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "kubebox"), nil
}

// BuildProgram builds the Go package pkg as seen from the folder dir into the file out: static, for
// an image made from nothing.
func BuildProgram(ctx context.Context, dir, pkg, out string) error {
	return goBuild(ctx, dir, out, io.Discard, append(slices.Clone(buildFlags), "-ldflags=-s -w", pkg)...)
}

func linkerFlags(version string) string {
	numbers := strings.Split(strings.TrimPrefix(version, "v"), ".")
	const in = "k8s.io/component-base/version."
	// Without these clients see v0.0.0 and take the server for an ancient one.
	return fmt.Sprintf("-s -w -X %sgitVersion=%s -X %sgitMajor=%s -X %sgitMinor=%s", in, version, in, numbers[0], in, numbers[1])
}

var requireLine = regexp.MustCompile(`(?m)^\s*(?:require )?k8s\.io/kubernetes (v\d+\.\d+\.\d+)$`)

func kubernetesVersion(source string) (string, error) {
	text, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("read kubebox's go.mod: %w", err)
	}
	found := requireLine.FindSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("%s/go.mod requires no release of k8s.io/kubernetes", source)
	}
	return string(found[1]), nil
}

// sourceKey names a build by what goes into it: the Go files of a folder, other files, the
// toolchain and the flags.
func sourceKey(ctx context.Context, source string, flags []string, others ...string) (string, error) {
	files, err := filepath.Glob(filepath.Join(source, "*.go"))
	if err != nil {
		return "", err
	}
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	h := sha256.New()
	for _, name := range append(files, others...) {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %x\n", filepath.Base(name), sha256.Sum256(text))
	}
	toolchain, err := goOutput(ctx, source, "env", "GOVERSION", "GOOS", "GOARCH", "GOAMD64", "GOARM64")
	if err != nil {
		return "", err
	}
	fmt.Fprintf(h, "%q %q\n", toolchain, flags)
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}

// moduleDir is the folder of this module, found from wherever a test runs.
func moduleDir(ctx context.Context) (string, error) {
	dir, err := goOutput(ctx, "", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return "", fmt.Errorf("find the sources of %s: %w", module, err)
	}
	return dir, nil
}

func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	endWithUs(cmd)
	return cmd
}

func goOutput(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := goCommand(ctx, dir, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

var packageLine = regexp.MustCompile(`^[a-z0-9][^ :]*$`)

// goBuild runs go build and turns its list of packages into a line now and then.
func goBuild(ctx context.Context, dir, out string, progress io.Writer, args ...string) error {
	cmd := goCommand(ctx, dir, append([]string{"build", "-v", "-o", out}, args...)...)
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	var complaints bytes.Buffer
	began, packages := time.Now(), 0
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		if !packageLine.MatchString(lines.Text()) {
			fmt.Fprintln(&complaints, lines.Text())
			continue
		}
		if packages++; packages%100 == 0 {
			fmt.Fprintf(progress, "kube: %d packages compiled in %v\n", packages, time.Since(began).Round(time.Second))
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", dir, err, complaints.Bytes())
	}
	return nil
}
