package kube

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Names of the images that every node has.
const (
	pauseImage = "podid.test/pause:1"
	// ProbeImage holds the program of the folder probe: a server and a client to look around with.
	ProbeImage = "podid.test/probe:1"
)

// programs returns a folder with kubenode and the archives of the images that every node has.
func programs(ctx context.Context, progress io.Writer) (string, error) {
	root, err := moduleDir(ctx)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, "images 1") // to be raised when Image.Write writes something else
	for _, pkg := range []string{"kubenode", "probe"} {
		key, err := sourceKey(ctx, filepath.Join(root, pkg), buildFlags) // they need the standard library alone
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, key)
	}
	return once(ctx, fmt.Sprintf("programs-%x", h.Sum(nil)[:8]), progress, func(dir string) error {
		prune("programs-*")
		for _, pkg := range []string{"kubenode", "probe"} {
			if err := BuildProgram(ctx, root, "./"+pkg, filepath.Join(dir, pkg)); err != nil {
				return err
			}
		}
		pause := Image{Name: pauseImage, Files: []File{{Path: "/kubenode", Source: filepath.Join(dir, "kubenode")}}, Entrypoint: []string{"/kubenode", "pause"}}
		if err := pause.Write(filepath.Join(dir, "pause.tar")); err != nil {
			return err
		}
		probe := Image{Name: ProbeImage, Files: []File{{Path: "/probe", Source: filepath.Join(dir, "probe")}}, Entrypoint: []string{"/probe"}}
		if err := probe.Write(filepath.Join(dir, "probe.tar")); err != nil {
			return err
		}
		return os.Remove(filepath.Join(dir, "probe"))
	})
}
