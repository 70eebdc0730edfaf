package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
)

// build writes a static program. The flags are those of test/kube, for one build cache;
// without -trimpath the bytes would differ from folder to folder.
func build(ctx context.Context, source, pkg, out, arch, version string) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -X main.version="+version, "-o", out, pkg)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=-buildvcs=false")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// authorityFiles are where Linux distributions, BSDs and macOS have the authorities in one file.
var authorityFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

// certificates are those of the file, or of this machine, or none; and where they are from.
func certificates(file string) (text []byte, from string, err error) {
	if file == "none" {
		return nil, "none", nil
	}
	if file != "" {
		text, err = os.ReadFile(file)
		return text, file, err
	}
	for _, file := range append([]string{os.Getenv("SSL_CERT_FILE")}, authorityFiles...) {
		text, err := os.ReadFile(file)
		if err == nil {
			return text, file, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "", err
		}
	}
	return nil, "none: this machine has no file of them; podid-auth then reaches only an STS whose authority is mounted", nil
}

var appVersionLine = regexp.MustCompile(`(?m)^appVersion: "?([^"\s]+)"?$`)

func appVersion(chart string) (string, error) {
	text, err := os.ReadFile(chart)
	if err != nil {
		return "", err
	}
	found := appVersionLine.FindSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("%s has no appVersion", chart)
	}
	return string(found[1]), nil
}
