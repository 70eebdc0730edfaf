package kube

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// debianPackages are what a node needs beside kubebox. apt adds the libraries that the machine lacks.
var debianPackages = []string{"containerd", "runc", "containernetworking-plugins", "iptables"}

// debian returns a folder with usr/ of Debian's packages of containerd, runc, CNI plugins
// and iptables, downloaded and unpacked once. Nothing is installed.
func debian(ctx context.Context, progress io.Writer) (string, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", err
	}
	key := sha256.Sum256(fmt.Appendf(release, "%q 2", debianPackages))
	return once(ctx, fmt.Sprintf("debian-%x", key[:8]), progress, func(dir string) error {
		prune("debian-*")
		fmt.Fprintf(progress, "kube: downloading Debian's packages of %s (about 40 MB)\n", strings.Join(debianPackages, ", "))
		debs := filepath.Join(dir, "debs")
		if err := os.Mkdir(debs, 0o755); err != nil {
			return err
		}
		if err := download(ctx, debs); err != nil {
			return err
		}
		return errors.Join(unpack(ctx, debs, dir), os.RemoveAll(debs))
	})
}

// download gets the packages, with the machine's own package lists or, when those are missing or old,
// with fresh ones beside the packages.
func download(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, errors.New("packages of Debian did not arrive within five minutes"))
	defer cancel()
	first := downloadWith(ctx, dir)
	if first == nil {
		return nil
	}
	own := []string{"-o", "Dir::State::Lists=" + filepath.Join(dir, "lists"), "-o", "Dir::Cache=" + filepath.Join(dir, "cache")}
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	if _, err := output(ctx, dir, "apt-get", append(own, "-qq", "update")...); err != nil {
		return errors.Join(first, err)
	}
	return downloadWith(ctx, dir, own...)
}

func downloadWith(ctx context.Context, dir string, options ...string) error {
	// What an installation would fetch: the packages and the libraries that are not here yet.
	args := append(options[:len(options):len(options)], "-o", "Debug::NoLocking=1", "-qq", "-y", "--no-install-recommends", "--print-uris", "install")
	list, err := output(ctx, dir, "apt-get", append(args, debianPackages...)...)
	if err != nil {
		return err
	}
	var names []string
	for line := range strings.Lines(list) {
		// 'http://…/runc_1.1.5_amd64.deb' runc_1.1.5_amd64.deb 2709960 MD5Sum:…
		if fields := strings.Fields(line); len(fields) >= 2 && strings.HasPrefix(line, "'") {
			name, _, _ := strings.Cut(fields[1], "_")
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil // all of it is installed
	}
	_, err = output(ctx, dir, "apt-get", append(append(options[:len(options):len(options)], "-qq", "download"), names...)...)
	return err
}

func unpack(ctx context.Context, debs, dir string) error {
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	usr := filepath.Join(dir, "usr")
	if err := os.MkdirAll(filepath.Join(usr, "sbin"), 0o755); err != nil {
		return err
	}
	for _, deb := range files {
		if _, err := output(ctx, dir, "dpkg-deb", "-x", deb, dir); err != nil {
			return err
		}
	}
	// Some packages of merged-/usr systems still ship /lib and /sbin.
	for _, sub := range []string{"lib", "bin", "sbin"} {
		from := filepath.Join(dir, sub)
		if _, err := os.Stat(from); err != nil {
			continue
		}
		if _, err := output(ctx, dir, "cp", "-a", from, usr); err != nil {
			return err
		}
	}
	// An installation would make these by update-alternatives.
	if _, err := os.Stat(filepath.Join(usr, "sbin", "xtables-nft-multi")); err == nil {
		for _, name := range []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"} {
			if err := os.Symlink("xtables-nft-multi", filepath.Join(usr, "sbin", name)); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
		}
	}
	return nil
}

// output runs a program to its end; the error holds what it complained about.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	endWithUs(cmd)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", name, errors.Join(err, context.Cause(ctx)), stderr.Bytes())
	}
	return string(out), nil
}
