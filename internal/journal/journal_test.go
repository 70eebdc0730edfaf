package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/openpodidentity/podid/problem"
)

func open(t *testing.T, dir string) *Journal {
	t.Helper()
	j, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func commit(t *testing.T, j *Journal, ops ...Op) {
	t.Helper()
	if err := j.Commit(ops...); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, j *Journal, prefix string) map[string]string {
	t.Helper()
	got := make(map[string]string)
	last := ""
	err := j.Load(prefix, func(key string, value json.RawMessage) error {
		if key <= last {
			t.Errorf("key %q after %q", key, last)
		}
		last = key
		got[key] = string(value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func wantContents(t *testing.T, j *Journal, want map[string]string) {
	t.Helper()
	if got := contents(t, j, ""); !maps.Equal(got, want) {
		t.Errorf("journal holds %v, want %v", got, want)
	}
}

func TestCommittedValuesAreThereAfterReopening(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	commit(t, j, Put("a/1", map[string]int{"n": 1}), Put("a/2", "two"), Put("b/1", nil))
	commit(t, j, Delete("a/1"), Put("a/2", "<zwei>"), Delete("never/there"))
	for range 2 {
		wantContents(t, j, map[string]string{"a/2": `"\u003czwei\u003e"`, "b/1": "null"})
		if got := contents(t, j, "b/"); len(got) != 1 {
			t.Errorf("prefix b/ gives %v", got)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = open(t, dir)
	}
}

func TestNilJournalKeepsNothing(t *testing.T) {
	var j *Journal
	commit(t, j, Put("a", 1))
	wantContents(t, j, nil)
	if j.Blobs() != "" || j.Close() != nil {
		t.Error("a nil journal has a directory or fails to close")
	}
}

func TestFilesAreForTheOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "world")
	j := open(t, dir)
	commit(t, j, Put("a", 1))
	want := map[string]fs.FileMode{".": 0o700, "journal": 0o600, "lock": 0o600, "blobs": 0o700}
	for name, mode := range want {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode().Perm(), mode)
		}
	}
	if j.Blobs() != filepath.Join(dir, "blobs") {
		t.Errorf("Blobs() = %s", j.Blobs())
	}
}

func TestSecondOpenSaysThatTheDirectoryIsInUse(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	_, err := Open(dir)
	if !problem.Is(err, problem.DataLocked) || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("second Open: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestBadOpsAreRefusedAndChangeNothing(t *testing.T) {
	j := open(t, t.TempDir())
	for name, op := range map[string]Op{
		"no key":           Put("", 1),
		"long key":         Put(strings.Repeat("k", MaxKey+1), 1),
		"key not UTF-8":    Put("a\xff", 1),
		"value not JSON":   {Key: "a", Value: json.RawMessage("{")},
		"unencodable":      Put("a", func() {}),
		"batch too large":  Put("a", strings.Repeat("v", MaxBatch)),
		"deleted non-UTF8": Delete("\xff"),
	} {
		if err := j.Commit(Put("good", 1), op); err == nil {
			t.Errorf("%s: committed", name)
		}
	}
	wantContents(t, j, nil)
	commit(t, j, Put("good", 1))
}

func TestConcurrentCommitsAreAllKept(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	want := make(map[string]string)
	var wg sync.WaitGroup
	for w := range 16 {
		want[fmt.Sprintf("writer/%02d", w)] = "19"
		wg.Go(func() {
			for i := range 20 {
				if err := j.Commit(Put(fmt.Sprintf("writer/%02d", w), i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantContents(t, j, want)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	wantContents(t, open(t, dir), want)
}

// failingLog fails the nth write or sync; a failed write leaves half of it.
type failingLog struct {
	log
	writes, syncs int
}

var errDiskFull = errors.New("no space left on device")

func (l *failingLog) Write(p []byte) (int, error) {
	if l.writes--; l.writes == 0 {
		n, _ := l.log.Write(p[:len(p)/2])
		return n, errDiskFull
	}
	return l.log.Write(p)
}

func (l *failingLog) Sync() error {
	if l.syncs--; l.syncs == 0 {
		return errDiskFull
	}
	return l.log.Sync()
}

func TestFailedWritePoisonsAndLosesNothingAcknowledged(t *testing.T) {
	for name, faulty := range map[string]failingLog{"write": {writes: 3}, "sync": {syncs: 3}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j := open(t, dir)
			faulty.log = j.log
			j.log = &faulty
			commit(t, j, Put("a", 1))
			commit(t, j, Put("b", 2))
			for range 3 {
				err := j.Commit(Put("c", 3))
				if !problem.Is(err, problem.DataUnwritable) || !errors.Is(err, errDiskFull) {
					t.Fatalf("commit on a full disk: %v", err)
				}
			}
			wantContents(t, j, map[string]string{"a": "1", "b": "2"})
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			got := contents(t, open(t, dir), "")
			delete(got, "c") // the first that failed may be there: nobody was told that it is not
			if want := map[string]string{"a": "1", "b": "2"}; !maps.Equal(got, want) {
				t.Errorf("after reopening %v, want %v", got, want)
			}
		})
	}
}

func TestCommitAfterCloseFails(t *testing.T) {
	j := open(t, t.TempDir())
	for range 2 {
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Commit(Put("a", 1)); !errors.Is(err, errClosed) {
		t.Errorf("commit after close: %v", err)
	}
}
