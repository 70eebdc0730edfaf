package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/openpodidentity/podid/test/upstream"
)

// build builds the agent as the image has it.
func build(program string) error {
	command := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./cmd/podid-agent")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	return command.Run()
}

// lab is what one row measures with.
type lab struct {
	dir, program string
	processes    []*process
	upstreams    []*upstream.Server
}

func (l *lab) close() {
	for _, p := range l.processes {
		_ = p.end(syscall.SIGKILL)
	}
	for _, u := range l.upstreams {
		u.Close()
	}
}

// process is one that is measured.
type process struct {
	*exec.Cmd
	address, probes, metrics string
	log                      string // file
	ended                    chan struct{}
}

// upstream starts a podid-auth.
func (l *lab) upstream() (*upstream.Server, error) {
	dir, err := os.MkdirTemp(l.dir, "upstream-")
	if err != nil {
		return nil, err
	}
	u, err := upstream.Start(dir)
	if err != nil {
		return nil, err
	}
	l.upstreams = append(l.upstreams, u)
	return u, nil
}

// agent starts an agent of u and waits until it is ready. Flags are given twice at will.
func (l *lab) agent(u *upstream.Server, flags ...string) (*process, error) {
	p := &process{address: free("127.0.0.1"), probes: free("127.0.0.1"), metrics: free("127.0.0.1")}
	err := l.start(p, exec.Command(l.program, append([]string{
		"--auth", u.URL, "--ca-file", u.CAFile, "--token-file", u.TokenFile, "--node", upstream.Node,
		"--listen", p.address, "--probes", p.probes, "--metrics", p.metrics, "--handover", "", "--holder", "",
	}, flags...)...))
	if err != nil {
		return nil, err
	}
	return p, p.until("/readyz")
}

// start starts a process that ends with this one at the latest.
func (l *lab) start(p *process, command *exec.Cmd) error {
	log, err := os.CreateTemp(l.dir, "log-")
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	command.Stderr = log
	command.SysProcAttr = dieWithParent()
	p.Cmd, p.log, p.ended = command, log.Name(), make(chan struct{})
	if err := command.Start(); err != nil {
		return err
	}
	go func() {
		_ = command.Wait()
		close(p.ended)
	}()
	l.processes = append(l.processes, p)
	return nil
}

func (p *process) end(signal syscall.Signal) error {
	_ = p.Process.Signal(signal) // it may have ended
	select {
	case <-p.ended:
		return nil
	case <-time.After(15 * time.Second):
		return errors.New("the process does not end")
	}
}

// until waits until a probe says yes.
func (p *process) until(path string) error {
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(time.Millisecond) {
		status, body, err := get("http://"+p.probes+path, "")
		if status == http.StatusOK {
			return nil
		}
		select {
		case <-p.ended:
			text, _ := os.ReadFile(p.log)
			return fmt.Errorf("the agent ended: %s", text)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %d %s %w", path, status, body, err)
		}
	}
}

// cpu is what the process has used so far.
func (p *process) cpu() time.Duration {
	// The first field of each thread's schedstat, in nanoseconds; stat counts in hundredths of a second.
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.Process.Pid))
	total := time.Duration(0)
	for _, thread := range threads {
		text, _ := os.ReadFile(thread) // a thread may have ended
		first, _, _ := strings.Cut(string(text), " ")
		n, _ := strconv.ParseInt(first, 10, 64)
		total += time.Duration(n)
	}
	return total
}

// rss is its memory, in bytes.
func (p *process) rss() int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// descriptors is how many it has open.
func (p *process) descriptors() int {
	open, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Process.Pid))
	return len(open)
}

// logged is how many bytes it has written to its log.
func (p *process) logged() int64 {
	info, err := os.Stat(p.log)
	if err != nil {
		return 0
	}
	return info.Size()
}

// sample is a metric's value, 0 if there is none.
func (p *process) sample(name string) float64 {
	_, body, _ := get("http://"+p.metrics+"/metrics", "")
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return v
		}
	}
	return 0
}

// free is an address that nobody has.
func free(host string) string {
	socket, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return ""
	}
	defer socket.Close()
	return socket.Addr().String()
}

// bareBody is the variable with the body that this program is to serve as the reference.
const bareBody = "PODID_BENCH_BODY"

// bare starts the reference: net/http and nothing else, writing the same bytes, after a while
// if there is a delay.
func (l *lab) bare(body []byte, delay time.Duration) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{address: free("127.0.0.1")}
	p.probes = p.address
	command := exec.Command(self)
	command.Env = append(os.Environ(), bareBody+"="+string(body), "PODID_BENCH_ADDRESS="+p.address, "PODID_BENCH_DELAY="+delay.String())
	if err := l.start(p, command); err != nil {
		return nil, err
	}
	return p, p.until("/")
}

func serveBare(body string) {
	text, contentType, length := []byte(body), []string{"application/json"}, []string{strconv.Itoa(len(body))}
	delay, _ := time.ParseDuration(os.Getenv("PODID_BENCH_DELAY")) // set by bare
	server := http.Server{Addr: os.Getenv("PODID_BENCH_ADDRESS"), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if delay > 0 {
			time.Sleep(delay)
		}
		h := w.Header()
		h["Content-Type"], h["Content-Length"] = contentType, length
		_, _ = w.Write(text)
	})}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
}

// client makes a connection for each request.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}

func get(url, token string) (status int, body string, err error) {
	r, err := ask(client, url, token)
	return r.status, r.body, err
}

// answer is what came back.
type answer struct {
	status int
	body   string
	header http.Header
	took   time.Duration
}

func ask(client *http.Client, url, token string) (answer, error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		request.Header.Set("Authorization", token)
	}
	start := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return answer{took: time.Since(start)}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, string(bytes.TrimSpace(text)), response.Header, time.Since(start)}, err
}

// credentials asks for those of a pod.
func (p *process) credentials(token string) (answer, error) {
	return ask(client, "http://"+p.address+"/v1/credentials", token)
}
