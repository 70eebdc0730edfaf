package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// archive makes the archive of a product whose programs are made up.
func archive(t *testing.T, p product, name string, archs ...string) string {
	t.Helper()
	dir := t.TempDir()
	var platforms []platform
	for _, arch := range archs {
		binary := filepath.Join(dir, arch)
		if err := os.WriteFile(binary, []byte("a program for "+arch), 0o755); err != nil {
			t.Fatal(err)
		}
		platforms = append(platforms, platform{arch, p.files(binary, []byte("authorities"))})
	}
	file := filepath.Join(dir, "image.tar")
	if _, _, err := write(file, name, p, platforms); err != nil {
		t.Fatal(err)
	}
	return file
}

func named(t *testing.T, name string) product {
	t.Helper()
	for _, p := range products {
		if p.name == name {
			return p
		}
	}
	t.Fatalf("there is no %s", name)
	return product{}
}

// unpack reads an archive as any tool that knows the OCI layout does.
func unpack(t *testing.T, archive string) v1.ImageIndex {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, filepath.FromSlash(header.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestAnArchiveHasTheImageOfEveryArchitecture(t *testing.T) {
	outer := unpack(t, archive(t, named(t, "podid-agent"), "registry.example.com/podid/podid-agent:v2", "amd64", "arm64"))
	if err := validate.Index(outer); err != nil {
		t.Fatal(err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("%v, %v", manifest, err)
	}
	for _, annotation := range []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"} {
		if got := manifest.Manifests[0].Annotations[annotation]; got != "registry.example.com/podid/podid-agent:v2" {
			t.Errorf("%s: %q", annotation, got)
		}
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := index.IndexManifest()
	if err != nil || len(inner.Manifests) != 2 {
		t.Fatalf("%v, %v", inner, err)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		image, err := index.Image(inner.Manifests[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Architecture != arch || inner.Manifests[i].Platform.Architecture != arch || config.Config.User != nobody || config.Config.Entrypoint[0] != "/podid-agent" {
			t.Errorf("%s: %+v", arch, config)
		}
		files := contents(t, image)
		got, ok := files["podid-agent"]
		if !ok || got.header.PAXRecords["SCHILY.xattr.security.capability"] != capNetBindService || string(got.content) != "a program for "+arch {
			t.Errorf("%s: %+v", arch, got)
		}
		if string(files["etc/ssl/certs/ca-certificates.crt"].content) != "authorities" {
			t.Errorf("%s has no authorities", arch)
		}
	}
}

type entry struct {
	header  *tar.Header
	content []byte
}

func contents(t *testing.T, image v1.Image) map[string]entry {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	text, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	files := map[string]entry{}
	for r := tar.NewReader(text); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Mode&0o022 != 0 {
			t.Errorf("%s can be changed by who is not root: %+v", header.Name, header)
		}
		files[header.Name] = entry{header, content}
	}
}

func TestTheSameProgramsGiveTheSameBytes(t *testing.T) {
	for _, p := range products {
		var made [2][]byte
		for i := range made {
			var err error
			if made[i], err = os.ReadFile(archive(t, p, "podid.test/"+p.name+":1", "amd64", "arm64")); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(made[0], made[1]) {
			t.Errorf("%s: two builds differ", p.name)
		}
	}
}

// The webhook talks to the API server alone, whose authority it is given, and podid-address to nobody.
func TestAuthoritiesAreWhereAWSIsTalkedTo(t *testing.T) {
	for name, outside := range map[string]bool{"podid-auth": true, "podid-agent": true, "podid-webhook": false, "podid-address": false} {
		has := len(named(t, name).files("x", []byte("authorities"))) > 1
		if has != outside {
			t.Errorf("%s has authorities: %v", name, has)
		}
	}
}

func TestTheTagIsTheChartsUnlessGiven(t *testing.T) {
	version, err := appVersion("../chart/Chart.yaml")
	if err != nil || version == "" {
		t.Errorf("%q, %v", version, err)
	}
}
