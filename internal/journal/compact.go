package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// compactionPoint is the size of the log that is too much for so many bytes of
// live data.
func compactionPoint(live int64) int64 { return 4*live + 1<<20 }

// compact rewrites the log while the journal is in use. If the new file cannot
// be written the old one is whole and stays in use, and compaction is tried
// again when the log has doubled. The caller holds writing.
func (j *Journal) compact() error {
	old := j.log
	if err := j.rewrite(); err != nil {
		var replaced *replacedError
		if errors.As(err, &replaced) {
			return j.unwritable("compact", err)
		}
		j.compactAt = 2 * j.size
		return nil
	}
	if err := old.Close(); err != nil {
		return fmt.Errorf("journal: close the old log: %w", err)
	}
	return nil
}

// replacedError is a failure after the new file took the old one's name.
type replacedError struct{ err error }

func (e *replacedError) Error() string { return e.err.Error() }
func (e *replacedError) Unwrap() error { return e.err }

// rewrite writes the live data to a new file, which then takes the log's name:
// at every moment the name stands for a whole log. It leaves j.log open on it.
func (j *Journal) rewrite() (err error) {
	path, temp := filepath.Join(j.dir, logName), filepath.Join(j.dir, newName)
	// What an earlier crash left may have other permissions: begin anew.
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("journal: compact: %w", err)
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("journal: compact: %w", err)
	}
	size, err := j.writeLive(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("journal: compact: %w", err), f.Close(), os.Remove(temp))
	}
	j.log, j.size, j.compactAt = f, size, compactionPoint(j.bytes)
	if err := syncDir(j.dir); err != nil {
		return &replacedError{fmt.Errorf("journal: compact: %w", err)}
	}
	return nil
}

// writeLive writes the format line and all live data in records of moderate size.
func (j *Journal) writeLive(f *os.File) (size int64, err error) {
	n, err := f.WriteString(formatLine)
	size = int64(n)
	if err != nil {
		return size, err
	}
	const enough = 1 << 20
	var group []*batch
	pending := 0
	flush := func() error {
		if len(group) == 0 {
			return nil
		}
		n, err := f.Write(appendRecord(nil, group))
		size += int64(n)
		group, pending = group[:0], 0
		return err
	}
	for _, key := range j.keys() {
		encoded, err := encodeOps([]Op{{Key: key, Value: j.live[key]}})
		if err != nil {
			return size, err
		}
		group = append(group, &batch{encoded: encoded})
		if pending += len(encoded); pending >= enough {
			if err := flush(); err != nil {
				return size, err
			}
		}
	}
	return size, flush()
}

// keys returns the live keys in order. The caller holds writing, without which
// live does not change, or is alone.
func (j *Journal) keys() []string {
	keys := make([]string, 0, len(j.live))
	for k := range j.live {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
