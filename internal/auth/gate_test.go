package auth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/auth"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func from(address string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = address }
}

func TestForgedTokensDoNotStarveRealOnes(t *testing.T) {
	w := newWorld(t)
	w.associate(t)
	gate := &auth.Gate{InFlight: 2}
	var verified atomic.Int64
	for _, live := range []*token.Live{w.handler.Agents, w.handler.Service.Tokens.(*token.Live)} {
		live.Verifier.Enter = func(ctx context.Context) (func(), error) {
			verified.Add(1)
			return gate.Enter(ctx)
		}
	}
	w.handler.Gate = gate
	w.handler.Log = nil // from here on there are many at once
	w.handler.Timeout = 5 * time.Second

	// Signed by another key of the same ID: nothing but the signature gives it away.
	forged := w.mint(t, agentOn1, podid.AudienceAuth)
	forged = forged[:strings.LastIndexByte(forged, '.')+1] + strings.Repeat("A", 342)
	stop := make(chan struct{})
	var flood sync.WaitGroup
	var sent atomic.Int64
	for range 8 {
		flood.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				sent.Add(1)
				w.ask(t, `{}`, from("198.51.100.7:4000"), header("Authorization", "Bearer "+forged))
			}
		})
	}
	began := time.Now()
	var slowest time.Duration
	for range 100 {
		start := time.Now()
		if r := w.ask(t, w.body(t), from("192.0.2.1:5000")); r.StatusCode != http.StatusOK {
			t.Errorf("a real agent is told %s %v", r.Status, decode(t, r))
		}
		slowest = max(slowest, time.Since(start))
	}
	took := time.Since(began)
	close(stop)
	flood.Wait()
	t.Logf("%d forged tokens in %s, %d verifications; the slowest of 100 real exchanges took %s", sent.Load(), took, verified.Load(), slowest)
	// Two of each real exchange, and what the forger has: a burst, ten a second, and those
	// that were on their way before the first was refused.
	if most := int64(200 + 100 + 8 + 10*(took.Seconds()+1)); verified.Load() > most {
		t.Errorf("%d signatures were verified, more than %d", verified.Load(), most)
	}
	var told *http.Response
	for range 100 { // it may have one or two of its ten a second left
		told = w.ask(t, `{}`, from("198.51.100.7:4001"), header("Authorization", "Bearer "+forged))
		if told.StatusCode == http.StatusTooManyRequests {
			break
		}
	}
	if told.StatusCode != http.StatusTooManyRequests || decode(t, told)["code"] != string(problem.TooManyRequests) {
		t.Errorf("the forger is told %s", told.Status)
	}
}

// Forgers with many addresses each have a burst; what all of them together get is the places.
func TestNoMoreSignaturesAreVerifiedAtOnceThanThereArePlaces(t *testing.T) {
	w := newWorld(t)
	w.associate(t)
	w.handler.Log = nil
	w.handler.Timeout = 10 * time.Second
	w.handler.Gate = &auth.Gate{InFlight: 2}
	var now, most atomic.Int64
	for _, live := range []*token.Live{w.handler.Agents, w.handler.Service.Tokens.(*token.Live)} {
		live.Verifier.Enter = func(ctx context.Context) (func(), error) {
			leave, err := w.handler.Gate.Enter(ctx)
			if err != nil {
				return nil, err
			}
			for inside := now.Add(1); ; {
				if was := most.Load(); inside <= was || most.CompareAndSwap(was, inside) {
					break
				}
			}
			time.Sleep(5 * time.Millisecond) // a key that takes its time
			return func() { now.Add(-1); leave() }, nil
		}
	}
	forged := w.mint(t, agentOn1, podid.AudienceAuth)
	forged = forged[:strings.LastIndexByte(forged, '.')+1] + strings.Repeat("A", 342)
	var flood sync.WaitGroup
	for i := range 10 {
		for range 5 {
			flood.Go(func() {
				w.ask(t, `{}`, from(fmt.Sprintf("198.51.100.%d:4000", i)), header("Authorization", "Bearer "+forged))
			})
		}
	}
	if r := w.ask(t, w.body(t), from("192.0.2.1:5000")); r.StatusCode != http.StatusOK {
		t.Errorf("a real agent is told %s %v", r.Status, decode(t, r))
	}
	flood.Wait()
	if most.Load() != 2 {
		t.Errorf("%d signatures were verified at once, not 2", most.Load())
	}
}

// A network that masquerades pods gives them the address of their node, and of its agent.
func TestAForgerOnTheAgentsNodeDoesNotSilenceTheAgent(t *testing.T) {
	w := newWorld(t)
	w.associate(t)
	w.handler.Log = nil
	w.handler.Gate = &auth.Gate{Refusals: 0.001, Burst: 5}
	const node = "192.0.2.1:5000"
	if r := w.ask(t, w.body(t), from(node)); r.StatusCode != http.StatusOK {
		t.Fatalf("the agent is told %s", r.Status)
	}
	forge := func() int {
		return w.ask(t, `{}`, from(node), header("Authorization", "Bearer x")).StatusCode
	}
	for i := 0; forge() != http.StatusTooManyRequests; i++ {
		if i == 100 {
			t.Fatal("the forger is never told to wait")
		}
	}
	for range 10 {
		if r := w.ask(t, w.body(t), from(node)); r.StatusCode != http.StatusOK {
			t.Errorf("the agent is told %s %v", r.Status, decode(t, r))
		}
	}
	if got := forge(); got != http.StatusTooManyRequests {
		t.Errorf("the forger is told %d", got)
	}
	// What was proved once and is not any more is nobody's any more.
	delete(w.pods, "podid-system/podid-agent-1")
	if r := w.ask(t, w.body(t), from(node)); decode(t, r)["code"] != string(problem.CallerUnproven) {
		t.Errorf("an agent that is gone is told %s", r.Status)
	}
	if r := w.ask(t, w.body(t), from(node)); r.StatusCode != http.StatusTooManyRequests {
		t.Errorf("an agent that is gone is told %s", r.Status)
	}
}

func TestAddressesAreForgottenInTime(t *testing.T) {
	w := newWorld(t)
	w.handler.Gate = &auth.Gate{Refusals: 10, Burst: 2} // a refusal is made good in 100 ms: more than a busy machine takes to ask again
	w.handler.Log = nil
	ask := func(address string) int {
		return w.ask(t, `{}`, from(address), header("Authorization", "Bearer x")).StatusCode
	}
	for _, address := range []string{"203.0.113.1:1", "[2001:db8:0:1::1]:1"} {
		for i := range 12_000 / 4 {
			_ = ask(fmt.Sprintf("10.%d.%d.1:1", i/250, i%250))
		}
		for ask(address) != http.StatusTooManyRequests {
		}
	}
	if got := ask("[2001:db8:0:1:ffff::2]:1"); got != http.StatusTooManyRequests {
		t.Errorf("another address of the same network is told %d", got)
	}
	time.Sleep(200 * time.Millisecond)
	if got := ask("203.0.113.1:1"); got != http.StatusBadRequest {
		t.Errorf("after a while it is told %d", got)
	}
}

func TestDecisionsAreAuditedAndCounted(t *testing.T) {
	w := newWorld(t)
	a := w.associate(t)
	registry := prometheus.NewRegistry()
	w.handler.Metrics = auth.NewMetrics(registry)
	w.handler.Service.Roles = w.handler.Metrics.Roles(w.handler.Service.Roles)
	var out strings.Builder
	w.handler.Audit = &auth.Audit{W: &out}
	v := w.store.Heard(a.Namespace, a.ServiceAccount)
	w.ask(t, w.body(t), header("X-Request-Id", "one"), header(auth.HeaderAssociation, v.String()))
	w.ask(t, tokenBody(w.mint(t, podid.Workload{Issuer: issuerURL, Namespace: reader.Namespace, ServiceAccount: reader.ServiceAccount, ServiceAccountUID: reader.ServiceAccountUID,
		Pod: "gone", PodUID: "1"}, podid.AudiencePods)), header("X-Request-Id", "two"))
	w.ask(t, `{}`, header("Authorization", "Bearer x"), header("X-Request-Id", "three"))

	var got []map[string]any
	for line := range strings.Lines(out.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		got = append(got, record)
	}
	if len(got) != 3 {
		t.Fatalf("%d lines: %s", len(got), out.String())
	}
	granted := got[0]
	if granted["decision"] != "granted" || granted["kind"] != "exchange" || granted["request"] != "one" || granted["time"] == "" {
		t.Errorf("%v", granted)
	}
	want := map[string]any{"address": "192.0.2.1", "nodeScope": "node", "node": "node-1", "agentPod": agentOn1.Pod, "agentPodUID": agentOn1.PodUID}
	if fmt.Sprint(granted["caller"]) != fmt.Sprint(want) {
		t.Errorf("caller %v, want %v", granted["caller"], want)
	}
	if granted["workload"].(map[string]any)["podUID"] != reader.PodUID || granted["association"].(map[string]any)["id"] != a.ID() ||
		granted["session"].(map[string]any)["accessKeyId"] != "ASIAEXAMPLEEXAMPLE22" {
		t.Errorf("%v", granted)
	}
	for i, code := range []problem.Code{"", problem.PodGone, problem.CallerUnproven} {
		if i > 0 && (got[i]["decision"] != "refused" || got[i]["code"] != string(code) || got[i]["session"] != nil) {
			t.Errorf("%v", got[i])
		}
	}
	for _, secret := range []string{"secret/of+the=session", "token-of-the-session", "eyJ"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the audit log has %s", secret)
		}
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`# HELP podid_auth_exchanges_total Exchanges, by the code of their problem, or ok.
# TYPE podid_auth_exchanges_total counter
podid_auth_exchanges_total{code="caller-unproven"} 1
podid_auth_exchanges_total{code="ok"} 1
podid_auth_exchanges_total{code="pod-gone"} 1
# HELP podid_auth_sts_total Roles that an STS was asked to assume, by the code of the problem, or ok.
# TYPE podid_auth_sts_total counter
podid_auth_sts_total{code="ok"} 1
`), "podid_auth_exchanges_total", "podid_auth_sts_total"); err != nil {
		t.Error(err)
	}
}

func TestWhatTheCallerHasHeardOfReachesTheStore(t *testing.T) {
	w := newWorld(t)
	w.associate(t)
	heard := stream.Version{UID: "x", Revision: 1 << 40}
	r := w.ask(t, w.body(t), header(auth.HeaderAssociation, heard.String()))
	v, err := stream.ParseVersion(r.Header.Get(auth.HeaderAssociation))
	if r.StatusCode != http.StatusOK || err != nil || v.Older(heard) {
		t.Errorf("%s %s, %v", r.Status, v, err)
	}
	r = w.ask(t, w.body(t), header(auth.HeaderAssociation, "nonsense"))
	if r.StatusCode != http.StatusBadRequest || decode(t, r)["code"] != string(problem.RequestInvalid) {
		t.Errorf("a header that is none: %s", r.Status)
	}
}
