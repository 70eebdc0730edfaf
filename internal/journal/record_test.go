package journal

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/problem"
)

// writeLog writes a log of n commits in dir and returns its bytes, and for each
// number of commits acknowledged the size of the file and what it held.
func writeLog(t *testing.T, dir string, n int) (log []byte, sizes []int, states []map[string]string) {
	t.Helper()
	j := open(t, dir)
	path := filepath.Join(dir, logName)
	record := func() {
		log, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sizes, states = append(sizes, len(log)), append(states, contents(t, j, ""))
	}
	record()
	for i := range n {
		commit(t, j, Put(fmt.Sprintf("key/%d", i%3), strings.Repeat("x", 5*i)), Delete(fmt.Sprintf("key/%d", (i+1)%3)))
		record()
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return log, sizes, states
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTruncationAtEveryOffsetLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	log, sizes, states := writeLog(t, dir, 8)
	for end := sizes[0]; end <= len(log); end++ {
		writeFile(t, filepath.Join(dir, logName), log[:end])
		// The last commit whose record is whole.
		i, exact := slices.BinarySearch(sizes, end)
		if !exact {
			i--
		}
		j := open(t, dir)
		if got := contents(t, j, ""); !maps.Equal(got, states[i]) {
			t.Fatalf("cut at %d: %v, want %v", end, got, states[i])
		}
		if end%16 != 0 {
			j.Close()
			continue
		}
		// And it goes on from there.
		commit(t, j, Put("more", end))
		j.Close()
		j = open(t, dir)
		if got := contents(t, j, "more"); got["more"] != fmt.Sprint(end) {
			t.Fatalf("cut at %d: the next commit is lost: %v", end, got)
		}
		j.Close()
	}
}

func TestDamageAtEveryOffsetIsNamed(t *testing.T) {
	dir := t.TempDir()
	log, sizes, _ := writeLog(t, dir, 6)
	path := filepath.Join(dir, logName)
	for offset := range log {
		damaged := slices.Clone(log)
		damaged[offset] ^= 1
		writeFile(t, path, damaged)
		j, err := Open(dir)
		if err == nil {
			j.Close()
			t.Fatalf("damage at %d: opened", offset)
		}
		start := 0
		for _, size := range sizes {
			if size <= offset {
				start = size
			}
		}
		if want := fmt.Sprintf("%s is damaged at offset %d:", path, start); !problem.Is(err, problem.DataDamaged) || !strings.Contains(err.Error(), want) {
			t.Fatalf("damage at %d: %v, want %q", offset, err, want)
		}
	}
	if after, err := os.ReadFile(path); err != nil || len(after) != len(log) {
		t.Errorf("the damaged log was changed: %d bytes of %d, %v", len(after), len(log), err)
	}
}

func TestBlocksThatNeverReachedTheDiskAreATornTail(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, logName)
	j := open(t, dir)
	commit(t, j, Put("a", 1))
	whole := j.size
	commit(t, j, Put("b", strings.Repeat("x", 4000)))
	j.Close()
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		from, to int
		torn     bool
	}{
		"the whole record":              {int(whole), len(log), true},
		"a block in the middle":         {1024, 1536, true},
		"the end":                       {2048, len(log), true},
		"half a block":                  {1024, 1200, false},
		"a block and the record before": {0, 512, false},
	} {
		tail := slices.Clone(log)
		clear(tail[test.from:test.to])
		writeFile(t, path, tail)
		j, err := Open(dir)
		if test.torn != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			wantContents(t, j, map[string]string{"a": "1"})
			j.Close()
		}
	}
	// The same hole with a record after it was acknowledged.
	hole := slices.Clone(log)
	clear(hole[1024:1536])
	writeFile(t, path, appendRecord(hole, []*batch{{encoded: []byte(`{"k":"c","v":1}`)}}))
	if _, err := Open(dir); !problem.Is(err, problem.DataDamaged) {
		t.Errorf("a hole in the middle: %v", err)
	}
}

func TestAnotherVersionIsNotRead(t *testing.T) {
	dir := t.TempDir()
	for _, first := range []string{"podid-journal 2\n", "", "podid-j", "something else entirely\n"} {
		writeFile(t, filepath.Join(dir, logName), []byte(first))
		_, err := Open(dir)
		if !problem.Is(err, problem.DataDamaged) || strings.Contains(problem.Of(err).Why, "checksum") {
			t.Errorf("first line %q: %v", first, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	record := func(ops string) []byte { return appendRecord(nil, []*batch{{encoded: []byte(ops)}}) }
	good := append([]byte(formatLine), record(`{"k":"a","v":{"n":1}},{"k":"b"}`)...)
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add(append(slices.Clone(good), record(`{"k":""}`)...))
	f.Add(append(slices.Clone(good), record(`5`)...))
	f.Add(append(slices.Clone(good), make([]byte, 600)...))
	f.Add([]byte(formatLine + "ffffffff 00000000 00000000 []\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, log []byte) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, logName), log)
		j, err := Open(dir)
		if err != nil {
			if !problem.Is(err, problem.DataDamaged) {
				t.Fatalf("neither opened nor damaged: %v", err)
			}
			return
		}
		defer j.Close()
		before := contents(t, j, "")
		commit(t, j, Put("more", 1))
		before["more"] = "1"
		j.Close()
		j = open(t, dir)
		wantContents(t, j, before)
	})
}
