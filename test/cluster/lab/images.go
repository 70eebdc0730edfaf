package lab

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/openpodidentity/podid/test/kube"
)

// Image holds the program of the folder application.
const Image = "podid.test/application:1"

// build builds what the nodes get, in the order in which the build cache fills best.
func (l *Lab) build(ctx context.Context) error {
	root, err := l.root(ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "test", "cluster")
	l.say("building podid, its images and the application (the first time a few minutes)")
	if err := kube.BuildProgram(ctx, dir, "./application", l.File("application")); err != nil {
		return err
	}
	l.podid = l.File("podid")
	if err := kube.BuildProgram(ctx, root, "./cmd/podid", l.podid); err != nil {
		return err
	}
	// What make images does, for this machine alone.
	images := exec.CommandContext(ctx, "go", "run", ".", "-archs", runtime.GOARCH, "-out", l.File("images"))
	images.Dir = filepath.Join(root, "deploy", "images")
	if out, err := images.CombinedOutput(); err != nil {
		return fmt.Errorf("make the images: %w: %s", err, out)
	}
	return nil
}

// root is the repository's folder.
func (l *Lab) root(ctx context.Context) (string, error) {
	dir, err := folder(ctx, "github.com/openpodidentity/podid/test/cluster")
	return filepath.Join(dir, "..", ".."), err
}

// load gives the nodes the images.
func (l *Lab) load(ctx context.Context) error {
	err := l.AddImage(ctx, kube.Image{
		Name: Image, User: "65532:65532", Entrypoint: []string{"/application"},
		Files: []kube.File{{Path: "/application", Source: l.File("application")}},
	})
	for _, program := range []string{"podid-auth", "podid-webhook", "podid-agent", "podid-address"} {
		err = errors.Join(err, l.AddArchive(ctx, l.File(filepath.Join("images", program+".tar"))))
	}
	return err
}

// folder is where a module's sources are.
var folder = func() func(context.Context, string) (string, error) {
	var known sync.Map
	return func(ctx context.Context, module string) (string, error) {
		if dir, ok := known.Load(module); ok {
			return dir.(string), nil
		}
		out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			return "", fmt.Errorf("find the sources of %s: %w", module, err)
		}
		dir := strings.TrimSpace(string(out))
		known.Store(module, dir)
		return dir, nil
	}
}()
