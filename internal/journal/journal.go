// Package journal keeps the local world on disk: a set of named values, changed
// in atomic batches, in one append-only file. A batch that Commit acknowledged
// survives the death of the process at any moment.
//
// The live values are kept in memory as well: they are what Load reads and what
// compaction writes. What is too big for that goes into files under Blobs.
package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/openpodidentity/podid/problem"
)

// Bounds of what Commit accepts. They keep a record well below maxRecord, so
// that a length beyond it is damage and never data.
const (
	// MaxKey is the longest key in bytes.
	MaxKey = 4096
	// MaxBatch is the largest batch in bytes, as encoded.
	MaxBatch = 16 << 20
)

// Op is one change: a value put under a key, or the key deleted when Value is nil.
type Op struct {
	Key   string          `json:"k"`
	Value json.RawMessage `json:"v,omitempty"`

	err error // why Put could not encode the value; Commit returns it
}

// Put makes an Op of any JSON-encodable value. A value that JSON cannot encode
// makes the Commit fail.
func Put(key string, value any) Op {
	raw, err := json.Marshal(value)
	if err != nil {
		return Op{Key: key, err: fmt.Errorf("journal: encode %s: %w", key, err)}
	}
	return Op{Key: key, Value: raw}
}

// Delete makes an Op that removes key; a key that is not there is no error.
func Delete(key string) Op { return Op{Key: key} }

// Journal is open on a directory. A nil *Journal keeps nothing: Commit succeeds
// and Load finds nothing, so services need not know whether they are kept.
type Journal struct {
	dir  string
	lock io.Closer

	// writing is held by the one that appends and syncs. Taken before mu.
	writing   sync.Mutex
	log       log
	size      int64 // of the file
	compactAt int64 // size that starts the next compaction

	mu      sync.Mutex
	pending []*batch // in order of arrival
	live    map[string]json.RawMessage
	bytes   int64 // of live, as it would be written
	err     error // why nothing can be committed any more
}

// log is what the journal needs of its file.
type log interface {
	io.WriteCloser
	Sync() error
}

// batch is one Commit on its way to the disk.
type batch struct {
	ops     []Op
	encoded []byte // the ops, comma-separated
	done    bool   // guarded by Journal.writing, as is err
	err     error
}

var errClosed = errors.New("journal: closed")

// Open reads DIR/journal (making it if need be), cuts a torn last record, and
// compacts. One process at a time (file lock). A record damaged in the middle
// is a problem data-damaged, a directory in use data-locked.
func Open(dir string) (*Journal, error) {
	blobs := filepath.Join(dir, blobsName)
	if err := os.MkdirAll(blobs, 0o700); err != nil {
		return nil, fmt.Errorf("journal: make directory: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	j := &Journal{dir: dir, lock: lock, live: make(map[string]json.RawMessage)}
	if err := j.load(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return j, nil
}

// Names inside the directory.
const (
	logName   = "journal"
	newName   = "journal.new" // a compaction that has not replaced the log yet
	lockName  = "lock"
	blobsName = "blobs"
)

// load reads the log and leaves j ready to append to it.
func (j *Journal) load() error {
	path := filepath.Join(j.dir, logName)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return j.rewrite()
	}
	if err != nil {
		return fmt.Errorf("journal: open: %w", err)
	}
	size, end, err := readLog(f, path, j.apply)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	// A torn tail is cut by writing anew, as a log with much that is dead is:
	// one way that changes the file, and a crash in it leaves the old one.
	if end < size || size > compactionPoint(j.bytes)/2 {
		return errors.Join(f.Close(), j.rewrite())
	}
	if _, err := f.Seek(end, io.SeekStart); err != nil {
		return errors.Join(fmt.Errorf("journal: seek: %w", err), f.Close())
	}
	j.log, j.size, j.compactAt = f, end, compactionPoint(j.bytes)
	return nil
}

// Load calls f for every live key with the prefix, in key order, until f
// returns an error. The values must not be changed.
func (j *Journal) Load(prefix string, f func(key string, value json.RawMessage) error) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	var ops []Op
	for k, v := range j.live {
		if strings.HasPrefix(k, prefix) {
			ops = append(ops, Op{Key: k, Value: v})
		}
	}
	j.mu.Unlock()
	slices.SortFunc(ops, func(a, b Op) int { return strings.Compare(a.Key, b.Key) })
	for _, op := range ops {
		if err := f(op.Key, op.Value); err != nil {
			return err
		}
	}
	return nil
}

// Commit makes ops durable, all or none, and returns when they are (fsync,
// grouped with concurrent commits). Ops apply in their order, and batches in
// the order in which Commit was called.
//
// When the file cannot be written or synced, nobody knows how much of it is on
// the disk: this Commit and every later one fail. What was acknowledged before is
// there when the journal is opened again; the batch that failed may or may not be.
// The error is a problem data-unwritable.
func (j *Journal) Commit(ops ...Op) error {
	if j == nil || len(ops) == 0 {
		return nil
	}
	encoded, err := encodeOps(ops)
	if err != nil {
		return err
	}
	b := &batch{ops: ops, encoded: encoded}
	j.mu.Lock()
	if j.err != nil {
		defer j.mu.Unlock()
		return j.err
	}
	j.pending = append(j.pending, b)
	j.mu.Unlock()

	j.writing.Lock()
	defer j.writing.Unlock()
	for !b.done {
		j.writeGroup()
	}
	return b.err
}

// Blobs is the directory for what is too big for the journal (S3 bodies); ""
// for a nil Journal.
func (j *Journal) Blobs() string {
	if j == nil {
		return ""
	}
	return filepath.Join(j.dir, blobsName)
}

// Close waits for the commits under way and unlocks. Later commits fail.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	j.writing.Lock()
	defer j.writing.Unlock()
	for j.writeGroup() {
	}
	j.mu.Lock()
	closed := errors.Is(j.err, errClosed)
	j.err = errClosed
	j.mu.Unlock()
	if closed {
		return nil
	}
	return errors.Join(j.log.Close(), j.lock.Close())
}

// writeGroup makes the batches at the head of the queue durable as one record.
// It reports whether there were any. The caller holds writing.
func (j *Journal) writeGroup() bool {
	j.mu.Lock()
	n, size := 0, 0
	for n < len(j.pending) && (n == 0 || size+len(j.pending[n].encoded) <= MaxBatch) {
		size += len(j.pending[n].encoded) + 1
		n++
	}
	group := j.pending[:n:n]
	j.pending = j.pending[n:]
	err := j.err
	j.mu.Unlock()
	if n == 0 {
		return false
	}
	if err == nil {
		err = j.write(group)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil && j.err == nil {
		j.err = err
	}
	for _, b := range group {
		b.done, b.err = true, err
		if err == nil {
			j.apply(b.ops)
		}
	}
	return true
}

// write appends one record and syncs it. It compacts before, not after: what is
// in live is then exactly what is in the file.
func (j *Journal) write(group []*batch) error {
	if j.size > j.compactAt {
		if err := j.compact(); err != nil {
			return err
		}
	}
	record := appendRecord(nil, group)
	if _, err := j.log.Write(record); err != nil {
		return j.unwritable("write", err)
	}
	if err := j.log.Sync(); err != nil {
		return j.unwritable("sync", err)
	}
	j.size += int64(len(record))
	return nil
}

func (j *Journal) unwritable(operation string, err error) error {
	return problem.New(problem.DataUnwritable, "%s cannot be written", filepath.Join(j.dir, logName)).
		From(fmt.Errorf("%s: %w", operation, err))
}

// apply changes live. The caller holds mu or is alone.
func (j *Journal) apply(ops []Op) {
	for _, op := range ops {
		if old, ok := j.live[op.Key]; ok {
			j.bytes -= opSize(op.Key, old)
			delete(j.live, op.Key)
		}
		if len(op.Value) > 0 {
			j.live[op.Key] = op.Value
			j.bytes += opSize(op.Key, op.Value)
		}
	}
}

func (op Op) check() error {
	switch {
	case op.err != nil:
		return op.err
	case op.Key == "" || len(op.Key) > MaxKey:
		return fmt.Errorf("journal: a key has %d bytes, not 1 to %d", len(op.Key), MaxKey)
	case !utf8.ValidString(op.Key):
		// JSON would store another key than this one.
		return fmt.Errorf("journal: key %q is not UTF-8", op.Key)
	}
	return nil
}
