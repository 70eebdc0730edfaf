package agent_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// replica is one podid-auth.
type replica struct {
	*httptest.Server
	calls  atomic.Int32
	answer atomic.Value // of http.HandlerFunc
}

func (r *replica) address() string { return r.Listener.Addr().String() }

func (r *replica) port() string {
	_, port, _ := net.SplitHostPort(r.address())
	return port
}

func (r *replica) is(f http.HandlerFunc) { r.answer.Store(f) }

func startReplica(t *testing.T) *replica {
	r := &replica{}
	r.is(good)
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.calls.Add(1)
		if request.ProtoMajor != 2 {
			t.Errorf("asked over %s", request.Proto)
		}
		if body, err := io.ReadAll(request.Body); err != nil || request.Method == http.MethodPost && string(body) != `{"token":"a.b.c"}` {
			t.Errorf("body %q, %v", body, err)
		}
		r.answer.Load().(http.HandlerFunc)(w, request)
	}))
	r.EnableHTTP2 = true
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func good(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, goodReply) }

func saying(status int, code problem.Code) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"code": code, "what": "it says so"})
	}
}

// through is a client of the replicas, which it finds under one name.
func through(t *testing.T, replicas ...*replica) (*agent.AuthClient, *addresses) {
	found := &addresses{}
	pool := x509.NewCertPool()
	for _, r := range replicas {
		found.add(r.address())
		pool.AddCert(r.Certificate())
	}
	transport := &agent.Replicas{TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, Resolve: found.resolve}
	t.Cleanup(transport.CloseIdleConnections)
	return &agent.AuthClient{
		Endpoint: "https://example.com:8443", Cluster: "lab", // a name that the test certificates have
		Token: func() (string, error) { return "own-token", nil },
		HTTP:  &http.Client{Transport: transport},
	}, found
}

type addresses struct {
	mu    sync.Mutex
	are   []string
	asked int
}

func (a *addresses) add(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.are = append(a.are, address)
}

// set lets these be the replicas that are found.
func (a *addresses) set(replicas []*replica) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.are = nil
	for _, r := range replicas {
		a.are = append(a.are, r.address())
	}
}

func (a *addresses) resolve(_ context.Context, host, port string) ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asked++; host != "example.com" || port != "8443" {
		panic(host + port)
	}
	return slices.Clone(a.are), nil
}

func ask(t *testing.T, c *agent.AuthClient) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := c.Exchange(ctx, agent.Ask{Token: "a.b.c", ID: "1"})
	return err
}

func TestOneReplicaIsAskedOverOneConnection(t *testing.T) {
	a, b := startReplica(t), startReplica(t)
	var connections atomic.Int32
	for _, r := range []*replica{a, b} {
		r.is(func(w http.ResponseWriter, request *http.Request) {
			connections.Add(1)
			good(w, request)
		})
	}
	c, found := through(t, a, b)
	for range 20 {
		if err := ask(t, c); err != nil {
			t.Fatal(err)
		}
	}
	if a.calls.Load() != 20 && b.calls.Load() != 20 || found.asked != 1 {
		t.Errorf("%d and %d calls, %d look-ups", a.calls.Load(), b.calls.Load(), found.asked)
	}
}

func TestAgentsSpreadOverTheReplicas(t *testing.T) {
	a, b := startReplica(t), startReplica(t)
	for range 40 {
		c, _ := through(t, a, b)
		if err := ask(t, c); err != nil {
			t.Fatal(err)
		}
		c.HTTP.CloseIdleConnections()
	}
	if a.calls.Load() < 5 || b.calls.Load() < 5 {
		t.Errorf("%d and %d calls", a.calls.Load(), b.calls.Load())
	}
}

func TestTheNextReplicaIsAskedWhenOneCannotAnswer(t *testing.T) {
	for name, fault := range map[string]func(r *replica){
		"refuses connections": func(r *replica) { r.Close() },
		"is stopping":         func(r *replica) { r.is(saying(503, problem.AuthUnavailable)) },
		"is behind":           func(r *replica) { r.is(saying(503, problem.ReplicaBehind)) },
		"sees no API server":  func(r *replica) { r.is(saying(503, problem.ClusterUnavailable)) },
		"answers through HTML": func(r *replica) {
			r.is(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusServiceUnavailable) })
		},
		"breaks off":         func(r *replica) { r.is(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }) },
		"resets connections": func(r *replica) { r.is(func(http.ResponseWriter, *http.Request) { r.CloseClientConnections() }) },
	} {
		t.Run(name, func(t *testing.T) {
			replicas := []*replica{startReplica(t), startReplica(t)}
			c, _ := through(t, replicas...)
			if err := ask(t, c); err != nil { // whichever this agent prefers
				t.Fatal(err)
			}
			if replicas[0].calls.Load() == 0 {
				slices.Reverse(replicas)
			}
			fault(replicas[0])
			for range 3 {
				if err := ask(t, c); err != nil {
					t.Error(err)
				}
			}
			if first, second := replicas[0].calls.Load(), replicas[1].calls.Load(); first > 2 || second != 3 {
				t.Errorf("%d and %d calls", first, second)
			}
		})
	}
}

func TestReplicasThatWereAllReplacedAreFoundByTheRequestThatMissesThem(t *testing.T) {
	for name, end := range map[string]func(*replica){
		"they are gone":    func(r *replica) { r.Close() },
		"one says it ends": func(r *replica) { r.is(saying(503, problem.AuthUnavailable)) },
	} {
		t.Run(name, func(t *testing.T) {
			before, after := []*replica{startReplica(t), startReplica(t)}, []*replica{startReplica(t), startReplica(t)}
			c, found := through(t, append(slices.Clone(before), after...)...)
			found.set(before)
			if err := ask(t, c); err != nil {
				t.Fatal(err)
			}
			found.set(after)
			c.HTTP.Transport.(*agent.Replicas).Outdated()
			before[0].Close()
			end(before[1])
			if err := ask(t, c); err != nil {
				t.Error(err)
			}
			if n := after[0].calls.Load() + after[1].calls.Load(); n != 1 {
				t.Errorf("%d calls of those that are there", n)
			}
		})
	}
}

func TestWhatNoReplicaCanIsToldThoughTheirNameIsNotFoundAgain(t *testing.T) {
	a := startReplica(t)
	c, _ := through(t, a)
	if err := ask(t, c); err != nil {
		t.Fatal(err)
	}
	a.is(saying(503, problem.ClusterUnavailable))
	replicas := c.HTTP.Transport.(*agent.Replicas)
	end := make(chan struct{})
	defer close(end)
	replicas.Resolve = func(context.Context, string, string) ([]string, error) {
		<-end
		return nil, context.Canceled
	}
	replicas.Outdated()
	if err := ask(t, c); problem.Of(err).Code != problem.ClusterUnavailable {
		t.Errorf("got %v", err)
	}
}

func TestNoSecondReplicaIsAskedForWhatIsTheSameEverywhere(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"STS is away":    saying(503, problem.STSUnavailable),
		"STS throttles":  saying(429, problem.STSThrottled),
		"no association": saying(404, problem.AssociationMissing),
		"a fault":        saying(500, problem.Internal),
		"garbage":        func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := startReplica(t), startReplica(t)
			a.is(answer)
			b.is(answer)
			c, _ := through(t, a, b)
			if err := ask(t, c); err == nil || strings.Contains(name, "STS") && !strings.Contains(err.Error(), "t says so") {
				t.Errorf("got %v", err)
			}
			if n := a.calls.Load() + b.calls.Load(); n != 1 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

func TestASlowReplicaIsNotHedged(t *testing.T) {
	a, b := startReplica(t), startReplica(t)
	slow := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-r.Context().Done():
		}
		good(w, r)
	}
	a.is(slow)
	b.is(slow)
	c, _ := through(t, a, b)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Exchange(ctx, agent.Ask{Token: "a.b.c"}); err == nil {
		t.Error("it was not slow")
	}
	if n := a.calls.Load() + b.calls.Load(); n > 1 {
		t.Errorf("%d calls", n)
	}
	// The one that hung comes last from then on.
	if err := ask(t, c); err != nil || a.calls.Load() > 1 || b.calls.Load() > 1 {
		t.Errorf("%v after %d and %d calls", err, a.calls.Load(), b.calls.Load())
	}
}

func TestAStreamOfNewerNewsIsThatOfWhoeverHasThem(t *testing.T) {
	a, b := startReplica(t), startReplica(t)
	var deaf atomic.Pointer[replica]
	for _, r := range []*replica{a, b} {
		r.is(func(w http.ResponseWriter, request *http.Request) {
			if request.Header.Get(stream.HeaderWithin) == "30" && deaf.Load() == r {
				saying(503, problem.ClusterUnavailable)(w, request)
				return
			}
			first := listed(nil)
			first.Snapshot.Cluster = r.port()
			_ = stream.Write(w, first)
		})
	}
	c, _ := through(t, a, b)
	from := func(within time.Duration) string {
		t.Helper()
		lines, err := c.Open(t.Context(), within)
		if err != nil {
			return err.Error()
		}
		defer lines.Close()
		m, err := lines.Next()
		if err != nil {
			t.Fatal(err)
		}
		return m.Snapshot.Cluster
	}
	first := from(0)
	deaf.Store(a)
	if first == b.port() {
		deaf.Store(b)
	}
	if second := from(stream.OldAfter); second == first {
		t.Error("the stream is that of the replica without news")
	}
	if third := from(0); third == first {
		t.Error("the replica without news is asked first again, at once")
	}
	a.is(saying(503, problem.ClusterUnavailable))
	b.is(saying(503, problem.ClusterUnavailable))
	if _, err := c.Open(t.Context(), stream.OldAfter); !problem.Is(err, problem.ClusterUnavailable) {
		t.Errorf("nobody has news: %v", err)
	}
}

func TestAReplicaThatIsAnotherIsNotTrusted(t *testing.T) {
	a, evil := startReplica(t), startReplica(t)
	evil.is(func(http.ResponseWriter, *http.Request) { t.Error("a token was sent to it") })
	c, found := through(t, a)
	found.are = []string{evil.address()}
	c.HTTP.Transport.(*agent.Replicas).TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
	if err := ask(t, c); !problem.Is(err, problem.AuthUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestAReplicaThatHangsInTheHandshakeLeavesTimeForAnother(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var reached atomic.Int32
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			reached.Add(1)
			go func() {
				defer conn.Close()
				_, _ = io.Copy(io.Discard, conn) // until the agent gives up
			}()
		}
	}()
	a := startReplica(t)
	for range 40 { // until an agent prefers it
		c, found := through(t, a)
		found.add(silent.Addr().String())
		ctx, cancel := context.WithTimeout(t.Context(), 850*time.Millisecond) // as a call has
		_, err := c.Exchange(ctx, agent.Ask{Token: "a.b.c", ID: "1"})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if reached.Load() > 0 {
			return
		}
	}
	t.Error("no agent asked the silent one")
}

// A connection whose other end is gone without a word is given up, and another made.
func TestAConnectionThatWentSilentIsReplaced(t *testing.T) {
	t.Parallel() // it takes the seven seconds of two time-outs
	a := startReplica(t)
	c, found := through(t, a)
	address, silence := between(t, a.address())
	found.are = []string{address}
	if err := ask(t, c); err != nil {
		t.Fatal(err)
	}
	silence()
	for start := time.Now(); ; {
		ctx, cancel := context.WithTimeout(t.Context(), 850*time.Millisecond)
		_, err := c.Exchange(ctx, agent.Ask{Token: "a.b.c", ID: "1"})
		cancel()
		if err == nil {
			t.Logf("after %s", time.Since(start))
			return
		}
		if time.Since(start) > 12*time.Second {
			t.Fatal(err)
		}
	}
}

// between forwards connections to an address. What comes over those that there are when silence is called goes nowhere.
func between(t *testing.T, to string) (address string, silence func()) {
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var silent atomic.Pointer[atomic.Bool] // of the next connections
	silent.Store(new(atomic.Bool))
	forward := func(to, from net.Conn, silent *atomic.Bool) {
		defer to.Close()
		b := make([]byte, 16<<10)
		for {
			n, err := from.Read(b)
			if err != nil {
				return
			}
			if !silent.Load() {
				_, _ = to.Write(b[:n])
			}
		}
	}
	go func() {
		for {
			client, err := front.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				t.Error(err)
				client.Close()
				return
			}
			is := silent.Load()
			go forward(server, client, is)
			go forward(client, server, is)
		}
	}()
	t.Cleanup(func() { front.Close() })
	return front.Addr().String(), func() { silent.Swap(new(atomic.Bool)).Store(true) }
}

func TestNewReplicasAreFound(t *testing.T) {
	a, b := startReplica(t), startReplica(t)
	c, found := through(t, a)
	if err := ask(t, c); err != nil {
		t.Fatal(err)
	}
	found.are = nil
	found.add(b.address())
	a.Close()
	time.Sleep(1100 * time.Millisecond) // look-ups are a second apart at the least
	_ = ask(t, c)                       // finds out that a is gone
	deadline := time.Now().Add(5 * time.Second)
	for err := ask(t, c); err != nil; err = ask(t, c) {
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if b.calls.Load() == 0 {
		t.Error("b was not asked")
	}
}
