package main

import (
	"archive/tar"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// write makes the archive of the image called name, of all platforms.
func write(archive, name string, p product, platforms []platform) (digest v1.Hash, size int64, err error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, on := range platforms {
		made, err := image(p, on)
		if err != nil {
			return v1.Hash{}, 0, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: made, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: on.arch}},
		})
	}
	if digest, err = index.Digest(); err != nil {
		return v1.Hash{}, 0, err
	}
	// The image's index within the archive's, where its name is: containerd and docker read the first annotation,
	// skopeo the second.
	outer := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: index, Descriptor: v1.Descriptor{Annotations: map[string]string{
			"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name,
		}},
	})
	folder, err := os.MkdirTemp("", "podid-image-")
	if err != nil {
		return v1.Hash{}, 0, err
	}
	defer os.RemoveAll(folder)
	if _, err := layout.Write(folder, outer); err != nil {
		return v1.Hash{}, 0, err
	}
	size, err = pack(archive, folder)
	return digest, size, err
}

// pack makes a tar archive of a folder, the same for the same files.
func pack(archive, folder string) (int64, error) {
	out, err := os.Create(archive)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	w := tar.NewWriter(out)
	err = filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error { // in lexical order
		if err != nil || entry.IsDir() {
			return err
		}
		return add(w, folder, name)
	})
	if err != nil {
		return 0, err
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	size, err := out.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	return size, out.Close()
}

func add(w *tar.Writer, folder, name string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	inside, err := filepath.Rel(folder, name)
	if err != nil {
		return err
	}
	header := &tar.Header{Name: filepath.ToSlash(inside), Typeflag: tar.TypeReg, Mode: 0o644, Size: info.Size(), ModTime: epoch}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return err
}
