package oracle_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// simulator is the other implementation, in a process of its own.
type simulator struct {
	in     io.Writer
	out    *bufio.Scanner
	errs   *strings.Builder
	next   int
	asked  int
	failed error
}

// answer is what the simulator says; err is why it refuses.
type answer struct {
	ID      int
	Result  string
	Ignored []string
	Err     string `json:"error"`
}

func (a answer) verdict() verdict {
	return map[string]verdict{"Allowed": allowed, "ImplicitlyDenied": implicit, "ExplicitlyDenied": explicit}[a.Result]
}

// need skips the test by the name of what this machine lacks.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is not installed", name)
			}
			t.Skipf("%s is not installed", name)
		}
	}
}

// install installs the simulator as the lock file has it, once.
func install(t testing.TB) {
	t.Helper()
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	const done = "node_modules/.installed"
	if was, err := os.ReadFile(done); err == nil && string(was) == string(lock) {
		return
	}
	command := exec.Command("npm", "ci", "--no-audit", "--no-fund")
	if out, err := command.CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
		t.Skipf("the npm registry cannot be reached: npm ci: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.FromSlash(done), lock, 0o644); err != nil {
		t.Fatal(err)
	}
}

// start starts the simulator; it ends with the test.
func start(t testing.TB) *simulator {
	t.Helper()
	need(t, "node", "npm")
	install(t)
	s := &simulator{errs: &strings.Builder{}}
	command := exec.CommandContext(t.Context(), "node", "oracle.mjs")
	command.Env = append(os.Environ(), "TZ=UTC")
	command.Stderr = s.errs
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.in = in
	s.out = bufio.NewScanner(out)
	s.out.Buffer(nil, 1<<20)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = command.Wait()
	})
	return s
}

// ask asks all questions and has the answers in their order.
func (s *simulator) ask(questions ...*question) []answer {
	answers := make([]answer, len(questions))
	if s.failed != nil {
		return answers
	}
	first := s.next
	s.next += len(questions)
	s.asked += len(questions)
	sent := make(chan error, 1)
	go func() {
		w := bufio.NewWriter(s.in)
		e := json.NewEncoder(w)
		for i, q := range questions {
			if err := e.Encode(map[string]any{"id": first + i, "simulation": q.simulation()}); err != nil {
				sent <- err
				return
			}
		}
		sent <- w.Flush()
	}()
	for i := range answers {
		if !s.out.Scan() {
			s.failed = fmt.Errorf("the simulator ended: %v\n%s", s.out.Err(), s.errs)
			return answers
		}
		if err := json.Unmarshal(s.out.Bytes(), &answers[i]); err != nil || answers[i].ID != first+i {
			s.failed = fmt.Errorf("the simulator answered %q: %v", s.out.Bytes(), err)
			return answers
		}
	}
	if err := <-sent; err != nil {
		s.failed = err
	}
	return answers
}
