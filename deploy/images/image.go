package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// file is one of an image: of this machine (source), or with content.
type file struct {
	path       string
	source     string
	content    []byte
	mode       int64
	capability string
}

// platform is what an image holds for an architecture.
type platform struct {
	arch  string
	files []file
}

// nobody is the user of every container; the manifests say so too.
const nobody = "65532:65532"

// epoch is the time of everything in an image: the clock would make each build another.
var epoch = time.Unix(0, 0).UTC()

// image is one of a single layer.
func image(p product, on platform) (v1.Image, error) {
	text, err := layer(on.files)
	if err != nil {
		return nil, err
	}
	only, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	made, err := mutate.Append(base, mutate.Addendum{Layer: only, History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "podid: make images"}})
	if err != nil {
		return nil, err
	}
	config, err := made.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", on.arch, v1.Time{Time: epoch}
	config.Config = v1.Config{Entrypoint: []string{p.path()}, User: nobody, WorkingDir: "/"}
	return mutate.ConfigFile(made, config)
}

// layer is a tar archive of the files and their folders.
func layer(files []file) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, folder := range folders(files) {
		if err := w.WriteHeader(&tar.Header{Name: folder + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: epoch}); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		content := f.content
		if f.source != "" {
			var err error
			if content, err = os.ReadFile(f.source); err != nil {
				return nil, err
			}
		}
		header := &tar.Header{
			Name: strings.TrimPrefix(f.path, "/"), Typeflag: tar.TypeReg, Mode: f.mode, Size: int64(len(content)), ModTime: epoch,
		}
		if f.capability != "" {
			header.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": f.capability}
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// folders are those that files are in, and that Kubernetes mounts below, outer ones first.
func folders(files []file) []string {
	var all []string
	names := []string{"/etc/podid/x", "/var/run/secrets/x"}
	for _, f := range files {
		names = append(names, f.path)
	}
	for _, name := range names {
		for folder := path.Dir(name); folder != "/"; folder = path.Dir(folder) {
			all = append(all, strings.TrimPrefix(folder, "/"))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
