package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openpodidentity/podid/cmd/internal/program"
	"github.com/openpodidentity/podid/deploy"
	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/test/upstream"

	"github.com/spf13/pflag"
	"go.uber.org/goleak"
	apps "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

func TestMain(m *testing.M) {
	if args, is := os.LookupEnv(programArgs); is {
		os.Exit(program.Run(newRoot(), strings.Split(args, "\n"), os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// running is an agent in this process.
type running struct {
	options
	log   *lockedBuffer
	stop  context.CancelFunc
	ended chan error
}

// lockedBuffer has no more methods than these: a process's output would be read into it by one without the lock.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// on are the options of an agent on loopback.
func on(t *testing.T, u *upstream.Server) options {
	t.Helper()
	var o options
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.flags(flags)
	err := flags.Parse([]string{
		"--auth", u.URL, "--ca-file", u.CAFile, "--token-file", u.TokenFile, "--node", upstream.Node,
		"--listen", free(t), "--probes", free(t), "--metrics", free(t),
		"--handover", fmt.Sprintf("@podid-agent-test-%d-%s", os.Getpid(), t.Name()), "--holder", "",
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// free is an address of loopback that nobody has.
func free(t *testing.T) string {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	return socket.Addr().String()
}

func start(t *testing.T, o options) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{options: o, log: new(lockedBuffer), stop: cancel, ended: make(chan error, 1)}
	go func() {
		r.ended <- serve(ctx, o, slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		close(r.ended)
	}()
	t.Cleanup(func() { r.end(t) })
	return r
}

// end stops it, once.
func (r *running) end(t *testing.T) {
	t.Helper()
	r.stop()
	select {
	case err := <-r.ended:
		if err != nil {
			t.Errorf("%v\n%s", err, r.log)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("it does not end\n%s", r.log)
	}
}

func up(t *testing.T) *upstream.Server {
	t.Helper()
	u, err := upstream.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

func pod(t *testing.T, u *upstream.Server, n int) string {
	t.Helper()
	token, err := u.Run(n)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// client makes a connection for each request.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}

func get(url, token string) (status int, body string, err error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		request.Header.Set("Authorization", token)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

func (r *running) ask(token string) (status int, body string, err error) {
	return get("http://"+r.listen[0]+"/v1/credentials", token)
}

// asAnSDK asks as SDKs do, three times, where podid-auth has not answered in time: under the race
// detector, beside other tests, a first call may take longer. No other refusal is let pass.
func (r *running) asAnSDK(token string) (status int, body string, err error) {
	for range 3 {
		if status, body, err = r.ask(token); !strings.Contains(body, "did not answer within") {
			break
		}
	}
	return status, body, err
}

// until waits for a probe's answer.
func (r *running) until(t *testing.T, path string, want int) (body string) {
	t.Helper()
	var got int
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got, body, err = get("http://"+r.probes+path, ""); got == want {
			return body
		}
	}
	t.Fatalf("%s answers %d %s, %v\n%s", path, got, body, err, r.log)
	return ""
}

// says waits for a line of the log.
func (r *running) says(t *testing.T, what string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(r.log.String(), what); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not say %q\n%s", what, r.log)
		}
	}
}

func TestAPodGetsItsCredentials(t *testing.T) {
	u := up(t)
	token := pod(t, u, 1)
	r := start(t, on(t, u))
	r.until(t, "/readyz", 200)
	status, body, err := r.asAnSDK(token)
	var got struct{ AccessKeyID string }
	if err != nil || status != 200 || json.Unmarshal([]byte(body), &got) != nil || got.AccessKeyID == "" {
		t.Errorf("%d %s, %v\n%s", status, body, err, r.log)
	}
	if strings.Contains(r.log.String(), "eyJ") {
		t.Errorf("a token is logged: %s", r.log)
	}
}

func TestAliveIsNotReady(t *testing.T) {
	u := up(t)
	o := on(t, u)
	text, err := os.ReadFile(o.caFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(o.caFile); err != nil {
		t.Fatal(err)
	}
	r := start(t, o)
	r.until(t, "/healthz", 200)
	if body := r.until(t, "/readyz", 503); !strings.HasPrefix(body, "auth-unavailable: ") {
		t.Errorf("got %s", body)
	}
	// The volume comes, and later its certificates change: neither takes a restart.
	if err := os.WriteFile(o.caFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	r.until(t, "/readyz", 200)
}

func TestItIsNotReadyWhereTheNodeHasNotTheAddress(t *testing.T) {
	o := on(t, up(t))
	o.listen = []string{"192.0.2.1:8080"} // RFC 5737: nobody has it
	r := start(t, o)
	r.until(t, "/healthz", 200)
	if body := r.until(t, "/readyz", 503); !strings.HasPrefix(body, "address-unavailable: ") {
		t.Errorf("got %s", body)
	}
}

// A rollout: the new agent starts beside the old one, which then ends.
func TestARolloutRefusesNobodyAndAsksForNothing(t *testing.T) {
	u := up(t)
	o := on(t, u)
	tokens := make([]string, 20)
	for i := range tokens {
		tokens[i] = pod(t, u, i)
	}
	r := start(t, o)
	r.until(t, "/readyz", 200)
	for _, token := range tokens {
		if status, body, err := r.asAnSDK(token); status != 200 {
			t.Fatal(status, body, err)
		}
	}
	calls := u.Calls.Load()

	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var answered atomic.Int64
	first := r
	for i := range 8 {
		clients.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				status, body, err := first.ask(tokens[n%len(tokens)])
				if status == 429 {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				if err != nil || status != 200 {
					t.Errorf("%d %s, %v", status, body, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	for range 5 {
		next := start(t, o)
		next.says(t, "serving") // until then the old one answers the probes
		next.until(t, "/readyz", 200)
		r.end(t)
		if !strings.Contains(next.log.String(), "took over") {
			t.Errorf("nothing was handed over: %s\n%s", next.log, r.log)
		}
		r = next
		time.Sleep(500 * time.Millisecond) // until it has the name that it is taken over by
	}
	stop()
	clients.Wait()
	if u.Calls.Load() != calls {
		t.Errorf("%d calls of podid-auth", u.Calls.Load()-calls)
	}
	t.Logf("%d requests answered", answered.Load())
}

func TestTheProbesAreThoseOfTheYoungestAgent(t *testing.T) {
	u := up(t)
	o := on(t, u)
	first := start(t, o)
	first.until(t, "/readyz", 200)
	broken := o
	broken.auth = "https://127.0.0.1:1" // a version that reaches nobody
	second := start(t, broken)
	second.until(t, "/readyz", 503)
	// The old one still serves, and has the probes again when the new one is gone.
	token := pod(t, u, 1)
	second.end(t)
	first.until(t, "/readyz", 200)
	if status, body, err := first.asAnSDK(token); status != 200 {
		t.Error(status, body, err)
	}
}

func TestItDrainsAndEndsInTime(t *testing.T) {
	u := up(t)
	token := pod(t, u, 1)
	r := start(t, on(t, u))
	r.until(t, "/readyz", 200)
	u.Fail(upstream.Slow(500 * time.Millisecond))
	answer := make(chan error, 1)
	go func() {
		status, body, err := r.ask(token)
		if status != 200 {
			err = errors.Join(err, fmt.Errorf("%d %s", status, body))
		}
		answer <- err
	}()
	for deadline := time.Now().Add(5 * time.Second); u.Calls.Load() == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	idle, err := net.Dial("tcp", r.listen[0])
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	begin := time.Now()
	r.end(t)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if err := <-answer; err != nil {
		t.Errorf("the request in flight: %v", err)
	}
}

// Neither the probes nor the metrics, nor anything else, are there for other nodes unless somebody asks for it.
func TestItListensOnTheAgentsAddressesAndLoopbackAlone(t *testing.T) {
	args := map[string][]string{}
	for document := range bytes.SplitSeq(deploy.Install, []byte("\n---\n")) {
		var set apps.DaemonSet
		if err := yaml.Unmarshal(document, &set.TypeMeta); err != nil {
			t.Fatal(err)
		}
		if set.Kind != "DaemonSet" {
			continue
		}
		if err := yaml.UnmarshalStrict(document, &set); err != nil {
			t.Fatal(err)
		}
		for _, c := range set.Spec.Template.Spec.Containers {
			args[c.Name] = c.Args
			if len(c.Ports) > 0 {
				t.Errorf("the container %s has ports: %v", c.Name, c.Ports)
			}
		}
	}
	if len(args) != 2 || args["agent"] == nil {
		t.Fatalf("the DaemonSets have the containers %v", args)
	}
	for name, arguments := range map[string][]string{"by default": nil, "as it is installed": args["agent"]} {
		var o options
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		o.flags(flags)
		if err := flags.Parse(arguments); err != nil {
			t.Fatal(err)
		}
		for _, at := range append(slices.Clone(o.listen), o.probes, o.metrics) {
			host, _, err := net.SplitHostPort(at)
			if err != nil || !slices.Contains(agent.Addresses, host) && !net.ParseIP(host).IsLoopback() {
				t.Errorf("%s it listens on %s (%v)", name, at, err)
			}
		}
		if !strings.HasPrefix(o.handover, "@") || !strings.HasPrefix(o.holder, "@") {
			t.Errorf("%s it is taken over at %s, its sockets are held at %s", name, o.handover, o.holder)
		}
	}
}

// A client that drips a request is cut off whenever its last byte came.
func TestAClientThatDripsIsCutOff(t *testing.T) {
	r := start(t, on(t, up(t)))
	r.until(t, "/healthz", 200)
	conn, err := net.Dial("tcp", r.listen[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	begin := time.Now()
	cut := make(chan time.Duration, 1)
	go func() {
		_, _ = io.Copy(io.Discard, conn)
		cut <- time.Since(begin)
	}()
	text := "GET /v1/credentials HTTP/1.1\r\nHost: x\r\nX: "
	drip := time.NewTicker(50 * time.Millisecond)
	defer drip.Stop()
	for i := 0; ; i++ {
		select {
		case took := <-cut:
			if took < time.Second || took > 3500*time.Millisecond {
				t.Errorf("after %s", took)
			}
			return
		case <-drip.C:
			_, _ = conn.Write([]byte{(text + "a")[min(i, len(text))]}) // what it is told it reads
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("it is not cut off")
		}
	}
}

func TestAHeaderOfAMegabyteIsRefused(t *testing.T) {
	r := start(t, on(t, up(t)))
	r.until(t, "/healthz", 200)
	conn, err := net.Dial("tcp", r.listen[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	go func() { // the answer comes before all is sent
		_, _ = io.WriteString(conn, "GET /v1/credentials HTTP/1.1\r\nHost: x\r\nAuthorization: "+strings.Repeat("a", 1<<20)+"\r\n\r\n")
	}()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %s", response.Status)
	}
}

func TestWrongFlagsSayWhatIsRight(t *testing.T) {
	for args, want := range map[string]string{
		"--listen here":       "write it as 169.254.170.23:80",
		"--log-level loud":    "debug, info, warn or error",
		"--max-burst 0":       "give more than that; the default is 1000",
		"--max-rate 2000000":  "a number from 1 to 1000000",
		"--max-staleness -1s": "give more than that; the default is 1h0m0s",
		"--max-staleness 1ms": "a second or more",
		"--no-such-flag":      "no-such-flag",
		"serve":               "serve",
		"address --restore":   "restore",
	} {
		var out bytes.Buffer
		if code := program.Run(newRoot(), strings.Fields(args), &out); code != 1 || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %d, %s", args, code, out.String())
		}
	}
}
