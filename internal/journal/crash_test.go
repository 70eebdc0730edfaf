package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// childDir tells the re-executed test binary to write until it is killed.
const childDir = "PODID_JOURNAL_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := writeForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

const writers = 4

// count is what each writer keeps: a number, and something that makes the log
// grow fast enough to be compacted many times.
type count struct {
	N       int
	Ballast string
}

func writerKey(w int) string { return fmt.Sprintf("writer/%d", w) }

// writeForever counts up in several goroutines and prints what was acknowledged.
func writeForever(dir string) error {
	j, err := Open(dir)
	if err != nil {
		return err
	}
	counts, err := readCounts(j)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := counts[w] + 1; ; n++ {
				ballast := strings.Repeat("x", 1000*(n%40))
				if err := j.Commit(Put(writerKey(w), count{n, ballast}), Put(writerKey(w)+"/twin", n)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				fmt.Println(w, n)
			}
		})
	}
	wg.Wait()
	return nil
}

// readCounts reads what the writers counted to; a batch was kept whole or not.
func readCounts(j *Journal) (counts [writers]int, err error) {
	twins := counts
	err = j.Load("writer/", func(key string, value json.RawMessage) error {
		var w int
		if _, err := fmt.Sscanf(key, "writer/%d", &w); err != nil {
			return err
		}
		if strings.HasSuffix(key, "/twin") {
			return json.Unmarshal(value, &twins[w])
		}
		var c count
		err := json.Unmarshal(value, &c)
		counts[w] = c.N
		return err
	})
	if err == nil && twins != counts {
		err = fmt.Errorf("half a batch: %v and %v", counts, twins)
	}
	return counts, err
}

func TestKilledProcessesLoseNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	var acknowledged [writers]int
	for range 10 {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), childDir+"="+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for left := 1 + rand.IntN(100); lines.Scan(); left-- {
			var w, n int
			if _, err := fmt.Sscan(lines.Text(), &w, &n); err != nil {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
			acknowledged[w] = n
			if left == 0 {
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		var exit *exec.ExitError
		if err := child.Wait(); !errors.As(err, &exit) || exit.Exited() {
			t.Fatalf("the child was not killed: %v", err)
		}
		j, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		counts, err := readCounts(j)
		if err != nil {
			t.Fatal(err)
		}
		for w := range writers {
			if counts[w] < acknowledged[w] || counts[w] > acknowledged[w]+1 {
				t.Fatalf("writer %d was told of %d and finds %d", w, acknowledged[w], counts[w])
			}
		}
		acknowledged = counts // the next child counts on from there
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// fill makes the log of j grow beyond its compaction point.
func fill(t *testing.T, j *Journal) {
	t.Helper()
	for range 30 {
		commit(t, j, Put("big", strings.Repeat("x", 100_000)))
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestTheLogStaysNearWhatIsLive(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	commit(t, j, Put("kept", 1))
	fill(t, j)
	if size := fileSize(t, filepath.Join(dir, logName)); size > compactionPoint(j.bytes)+200_000 {
		t.Errorf("the log has %d bytes for %d live", size, j.bytes)
	}
	commit(t, j, Delete("big"))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir)
	if size := fileSize(t, filepath.Join(dir, logName)); size > 1000 {
		t.Errorf("after opening the log has %d bytes for %d live", size, j.bytes)
	}
	wantContents(t, j, map[string]string{"kept": "1"})
	if j.bytes != opSize("kept", json.RawMessage("1")) {
		t.Errorf("%d live bytes", j.bytes)
	}
}

func TestACompactionThatDiedIsForgotten(t *testing.T) {
	dir := t.TempDir()
	log, _, states := writeLog(t, dir, 5)
	// A new file that was not renamed yet, whatever is in it, is nothing.
	for cut := 0; cut <= len(log); cut += 7 {
		writeFile(t, filepath.Join(dir, newName), log[:cut])
		j := open(t, dir)
		wantContents(t, j, states[5])
		j.Close()
	}
}

func TestACompactionThatFailsIsTriedAgain(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	// A directory where the new file would be.
	obstacle := filepath.Join(dir, newName, "x")
	if err := os.MkdirAll(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	fill(t, j)
	grown := fileSize(t, filepath.Join(dir, logName))
	if grown < 2_000_000 {
		t.Fatalf("the log was compacted to %d bytes", grown)
	}
	if err := os.RemoveAll(filepath.Join(dir, newName)); err != nil {
		t.Fatal(err)
	}
	fill(t, j)
	if size := fileSize(t, filepath.Join(dir, logName)); size > grown {
		t.Errorf("the log was not compacted: %d bytes", size)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, open(t, dir), ""); len(got["big"]) != 100_002 {
		t.Errorf("%d values", len(got))
	}
}

func BenchmarkCommit(b *testing.B) {
	j, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := j.Commit(Put("key", 1)); err != nil {
				b.Error(err)
			}
		}
	})
}
