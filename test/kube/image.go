//go:build unix

package kube

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Image is a container image made from nothing, for this machine's architecture: static programs
// and files in one layer. Nothing is pulled.
type Image struct {
	Name       string // with a tag that is not latest, or the kubelet wants to pull it
	Files      []File
	Entrypoint []string
	Env        []string // NAME=value
	User       string   // as in a Dockerfile; root if empty
}

// File is a file of an image: of this machine (Source), or with Content.
type File struct {
	Path    string // absolute
	Source  string
	Content []byte
	Mode    int64 // 0755 if zero
	// Xattrs such as security.capability, which lets a program of a user who is not
	// root listen on port 80.
	Xattrs map[string]string
}

// Write writes the image as an archive that containerd (ctr images import) and docker load take.
func (i Image) Write(archive string) error {
	tag, err := name.NewTag(i.Name)
	if err != nil {
		return fmt.Errorf("image name: %w", err)
	}
	text, err := i.layer()
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Name, err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil },
		tarball.WithCompressionLevel(gzip.NoCompression)) // it travels no further than this machine
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Name, err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Name, err)
	}
	image, err = mutate.ConfigFile(image, i.config(image))
	if err != nil {
		return fmt.Errorf("image %s: %w", i.Name, err)
	}
	if err := tarball.WriteToFile(archive, tag, image); err != nil {
		return fmt.Errorf("write image %s: %w", i.Name, err)
	}
	return nil
}

func (i Image) config(image v1.Image) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil {
		config = &v1.ConfigFile{}
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{Entrypoint: i.Entrypoint, Env: i.Env, User: i.User, WorkingDir: "/"}
	return config
}

func (i Image) layer() ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	// Kubernetes mounts below these; a folder for temporary files is what many programs want.
	for _, dir := range []string{"tmp/", "etc/", "var/", "var/run/"} {
		mode := int64(0o755)
		if dir == "tmp/" {
			mode = 0o1777
		}
		if err := w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: mode}); err != nil {
			return nil, err
		}
	}
	for _, file := range i.Files {
		content := file.Content
		if file.Source != "" {
			var err error
			if content, err = os.ReadFile(file.Source); err != nil {
				return nil, err
			}
		}
		header := &tar.Header{
			Name: strings.TrimPrefix(path.Clean(file.Path), "/"), Typeflag: tar.TypeReg,
			Mode: cmp.Or(file.Mode, 0o755), Size: int64(len(content)), ModTime: time.Unix(0, 0),
		}
		for attribute, value := range file.Xattrs {
			if header.PAXRecords == nil {
				header.PAXRecords = map[string]string{}
			}
			header.PAXRecords["SCHILY.xattr."+attribute] = value
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
