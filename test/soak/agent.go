package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/openpodidentity/podid/test/upstream"
)

// agent is the process that is soaked.
type agent struct {
	*exec.Cmd
	address, probes, metrics, log string
	ended                         chan struct{}
	goroutines, descriptors, heap series
	memory                        series // what the Go runtime has
	resident                      series
	credentials                   series // that the agent has
	race                          bool
}

func start(program, dir string, auth *upstream.Server, race bool) (*agent, error) {
	a := &agent{address: free(), probes: free(), metrics: free(), log: filepath.Join(dir, "log"), ended: make(chan struct{}),
		goroutines: series{name: "goroutines", slack: 50}, descriptors: series{name: "descriptors", slack: 50},
		heap:     series{name: "live heap, bytes", slack: 4 << 20},
		memory:   series{name: "memory of the Go runtime, bytes", slack: 8 << 20},
		resident: series{name: "resident memory, bytes", slack: 8 << 20}, race: race,
		credentials: series{name: "credentials"}}
	a.Cmd = exec.Command(program, "--auth", auth.URL, "--ca-file", auth.CAFile, "--token-file", auth.TokenFile, "--node", upstream.Node,
		"--listen", a.address, "--probes", a.probes, "--metrics", a.metrics, "--handover", "", "--holder", "")
	log, err := os.Create(a.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	a.Stderr = log
	if err := a.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = a.Wait()
		close(a.ended)
	}()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if status, _ := get("http://" + a.probes + "/readyz"); status == http.StatusOK {
			return a, nil
		}
	}
	a.kill()
	text, _ := os.ReadFile(a.log)
	return nil, fmt.Errorf("the agent does not get ready: %s", text)
}

// free is an address that nobody has.
func free() string {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return ""
	}
	defer socket.Close()
	return socket.Addr().String()
}

func get(url string) (status int, body string) {
	response, err := (&http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Get(url)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(text)
}

// watch notes what the process uses.
func (a *agent) watch(ctx context.Context) {
	ticker := time.NewTicker(2 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		_, scraped := get("http://" + a.metrics + "/metrics")
		for line := range strings.Lines(scraped) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch n, _ := strconv.ParseFloat(value, 64); name {
			case "podid_agent_goroutines":
				a.goroutines.values = append(a.goroutines.values, n)
			case "podid_agent_heap_live_bytes":
				a.heap.values = append(a.heap.values, n)
			case "podid_agent_memory_bytes":
				a.memory.values = append(a.memory.values, n)
			case "podid_agent_credentials":
				a.credentials.values = append(a.credentials.values, n)
			}
		}
		if open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", a.Process.Pid)); err == nil {
			a.descriptors.values = append(a.descriptors.values, float64(len(open)))
		}
		if n := a.rss(); n > 0 {
			a.resident.values = append(a.resident.values, n)
		}
	}
}

// rss is its resident memory, in bytes.
func (a *agent) rss() float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.Process.Pid)) // it may have ended
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return n * 1024
		}
	}
	return 0
}

// stop ends it as the kubelet does.
func (a *agent) stop() error {
	if err := a.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("the agent is gone: %w", errors.Join(err, a.races()))
	}
	select {
	case <-a.ended:
	case <-time.After(10 * time.Second):
		a.kill()
		return errors.New("the agent does not end")
	}
	if code := a.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the agent ended with %d: %w", code, a.races())
	}
	return nil
}

func (a *agent) kill() { _ = a.Process.Kill() }

// races is an error with the first that the race detector found.
func (a *agent) races() error {
	text, err := os.ReadFile(a.log)
	if err != nil {
		return err
	}
	for _, sign := range []string{"WARNING: DATA RACE", "panic:", "fatal error:"} {
		if at := bytes.Index(text, []byte(sign)); at >= 0 {
			return fmt.Errorf("%s", text[at:min(at+4000, len(text))])
		}
	}
	return nil
}

// seen is what may not grow. The race detector has memory of its own, ten times the program's, and
// more of it with each address that the heap ever had: without it the whole process is looked at.
func (a *agent) seen() []series {
	all := []series{a.goroutines, a.descriptors, a.heap, a.memory, a.credentials}
	if !a.race {
		all = append(all, a.resident)
	}
	return all
}

// series is what was seen of one thing over time.
type series struct {
	name   string
	slack  float64 // that is no growth
	most   float64 // there may be at last; growth is looked at if it is zero
	values []float64
}

// halves are the medians of the second and of the last quarter: the first is the beginning.
func (s series) halves() (early, late float64) {
	n := len(s.values)
	if n < 8 {
		return 0, 0
	}
	return median(s.values[n/4 : n/2]), median(s.values[n*3/4:])
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// grew allows for a fifth, and for the slack: how many pods there are at once changes, and
// those that have ended are remembered for an hour, without what they had.
func (s series) grew() bool {
	early, late := s.halves()
	if s.most > 0 {
		return len(s.values) == 0 || late > s.most
	}
	return late > early*1.2 && late > early+s.slack
}

func (s series) String() string {
	early, late := s.halves()
	return fmt.Sprintf("%s: %.0f early, %.0f late, %.0f at the most", s.name, early, late, slices.Max(append(s.values, 0)))
}
