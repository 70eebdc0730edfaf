package s3

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/openpodidentity/podid/problem"
)

// directory is bodies as files. A file is complete before the journal names it;
// one that the journal does not name is an orphan of a crash (see sweep).
type directory string

// Names of files that are being written begin with this.
const unfinishedPrefix = bodyPrefix + "unfinished-"

func (d directory) path(id string) string { return filepath.Join(string(d), id) }

func (d directory) create(int64) (bodyWriter, error) {
	f, err := os.CreateTemp(string(d), unfinishedPrefix+"*") // mode 0600
	if err != nil {
		return nil, d.unwritable(err)
	}
	return &fileWriter{file: f, dir: d}, nil
}

func (d directory) open(id string, offset int64) (io.ReadCloser, error) {
	f, err := os.Open(d.path(id))
	if err != nil {
		return nil, fmt.Errorf("s3: open body: %w", err)
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(fmt.Errorf("s3: open body: %w", err), f.Close())
	}
	return f, nil
}

func (d directory) remove(id string) error { return os.Remove(d.path(id)) }

// sweep removes what a crash left over, and compares the rest with what the
// metadata says: sizes holds the least size of each body that is in use.
func (d directory) sweep(sizes map[string]int64) error {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return fmt.Errorf("s3: read bodies: %w", err)
	}
	found := 0
	for _, entry := range entries {
		id := entry.Name()
		if !strings.HasPrefix(id, bodyPrefix) {
			continue
		}
		size, used := sizes[id]
		if !used {
			if err := d.remove(id); err != nil {
				return fmt.Errorf("s3: remove orphan: %w", err)
			}
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return fmt.Errorf("s3: read bodies: %w", err)
		}
		if info.Size() < size {
			return problem.New(problem.DataDamaged, "%s is damaged: it has %d bytes, and %d are stored in it", d.path(id), info.Size(), size).
				Because("the file was changed or the disk lost data")
		}
		found++
	}
	if found == len(sizes) {
		return nil
	}
	for id := range sizes {
		if _, err := os.Stat(d.path(id)); err != nil {
			return problem.New(problem.DataDamaged, "%s is missing", d.path(id)).
				Because("an object's content is kept in it: the file was removed or the disk lost it").From(err)
		}
	}
	return nil
}

type fileWriter struct {
	file *os.File
	dir  directory
}

func (w *fileWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	if err != nil {
		err = w.dir.unwritable(err)
	}
	return n, err
}

func (w *fileWriter) commit() (id string, err error) {
	if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
		return "", errors.Join(w.dir.unwritable(err), os.Remove(w.file.Name()))
	}
	id = newBodyID()
	if err := os.Rename(w.file.Name(), w.dir.path(id)); err != nil {
		return "", errors.Join(w.dir.unwritable(err), os.Remove(w.file.Name()))
	}
	if err := w.dir.sync(); err != nil {
		return "", errors.Join(w.dir.unwritable(err), w.dir.remove(id))
	}
	return id, nil
}

func (w *fileWriter) abort() {
	// What stays is swept at the next start.
	_ = w.file.Close()
	_ = os.Remove(w.file.Name())
}

func (d directory) unwritable(err error) error {
	return problem.New(problem.DataUnwritable, "%s cannot be written", string(d)).
		Because("the disk may be full or failing; the object was not stored").
		Fixed("make room or mend the disk").From(err)
}

// sync makes renames durable.
func (d directory) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
