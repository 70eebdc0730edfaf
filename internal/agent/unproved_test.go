package agent_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/problem"
)

// madeUp is a token that anybody can make.
func madeUp(n int) string {
	claims := fmt.Sprintf(`{"exp":4102444800,"jti":"%d"}`, n)
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".AAAA"
}

// eksAuth proves tokens after a while: it refuses those that are made up.
type eksAuth struct {
	takes time.Duration
	mu    sync.Mutex
	good  map[string]int // calls by token
	bad   atomic.Int32
}

func (e *eksAuth) Exchange(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
	select {
	case <-time.After(e.takes):
	case <-ctx.Done():
		return agent.Reply{}, ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, good := e.good[ask.Token]; !good {
		e.bad.Add(1)
		return agent.Reply{}, problem.New(problem.TokenForged, "the token is not of this cluster")
	}
	e.good[ask.Token]++
	return given(ask, e.good[ask.Token]), nil
}

func (e *eksAuth) issues(t *testing.T, n int) string {
	raw := mint(t, workload(n))
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.good == nil {
		e.good = map[string]int{}
	}
	e.good[raw] = 0
	return raw
}

func from(address string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = address + ":1234" }
}

// Where EKS Auth proves the tokens, whoever makes some up pays for each, at the agent and not at EKS Auth.
func TestAFloodOfMadeUpTokensReachesNeitherTheNeighbourNorEKSAuth(t *testing.T) {
	for name, tokens := range map[string]int{"each another": 1 << 20, "the same again and again": 300} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *node) {
				auth := &eksAuth{takes: 100 * time.Millisecond}
				n.Tokens, n.Exchange, n.Log = agent.Unproved{}, auth, nil
				ctx, cancel := context.WithCancel(t.Context())
				var sent atomic.Int32
				var group sync.WaitGroup
				for range 32 {
					group.Go(func() {
						for ctx.Err() == nil {
							n.ask(t, madeUp(int(sent.Add(1))%tokens), from("10.0.0.66"))
							time.Sleep(10 * time.Millisecond)
						}
					})
				}
				for i := range 20 { // a pod starts every half second, and asks twice
					time.Sleep(500 * time.Millisecond)
					raw, address := auth.issues(t, i), from(fmt.Sprintf("10.0.1.%d", i))
					start := time.Now()
					if got := n.ask(t, raw, address); got.Status != 200 || time.Since(start) > 200*time.Millisecond {
						t.Errorf("neighbour %d got %+v after %s", i, got, time.Since(start))
					}
					if got := n.ask(t, raw, address); got.Status != 200 {
						t.Errorf("neighbour %d got %+v the second time", i, got)
					}
				}
				cancel()
				group.Wait()
				// 200 at once and 20 a second for twelve seconds, and the half that the last were held.
				pods, _ := n.Remembered()
				if calls := auth.bad.Load(); calls > 460 || pods > 480 || sent.Load() > 600 {
					t.Errorf("%d calls of EKS Auth, %d pods remembered, %d requests", calls, pods, sent.Load())
				}
			})
		})
	}
}

func TestTheLogSaysWhatUnprovedTokensClaim(t *testing.T) {
	n := newNode(t)
	n.Tokens = agent.Unproved{}
	n.ask(t, mint(t, workload(1)))
	if log := n.log.String(); !strings.Contains(log, `"claimed_namespace":"test-namespace","claimed_service_account":"test-sa","claimed_pod":"reader-1"`) || strings.Contains(log, `"pod":`) {
		t.Errorf("the log: %s", log)
	}
	n.log.Reset()
	long := base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1,"kubernetes.io":{"namespace":"` + strings.Repeat("\u00e9", 1000) + `","serviceaccount":{"name":"\u001b[31m"}}}`))
	if got := n.ask(t, "e30."+long+".AAAA"); got.Code != string(problem.TokenExpired) {
		t.Errorf("got %+v", got)
	}
	if log := n.log.String(); len(log) > 1000 || !strings.Contains(log, `"claimed_service_account":" [31m"`) {
		t.Errorf("the log: %s", log)
	}
}

func TestTokensThatEKSAuthAcceptsCostTheirAddressNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) { // pods on the node's network share one
		auth := new(eksAuth)
		n.Tokens, n.Exchange, n.Log = agent.Unproved{}, auth, nil
		start := time.Now()
		for i := range 400 {
			if got := n.ask(t, auth.issues(t, i), from("10.0.0.1")); got.Status != 200 {
				t.Fatalf("got %+v", got)
			}
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("it took %s", took)
		}
	})
}

func TestUnprovedTokensOfOneAddressLeaveHalfTheCallsToOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		auth := &busy{takes: 800 * time.Millisecond}
		n.Tokens, n.Log = agent.Unproved{}, nil
		n.answers(auth.answer(n))
		var group sync.WaitGroup
		var crowded atomic.Int32
		for i := range 100 {
			group.Go(func() {
				if got := n.ask(t, madeUp(i), from("10.0.0.66")); got.Status == 429 {
					crowded.Add(1)
				}
			})
		}
		pause(time.Millisecond)
		if auth.running.Load() != 4 || crowded.Load() != 100-4-64 {
			t.Errorf("%d calls under way, %d refused at once", auth.running.Load(), crowded.Load())
		}
		start := time.Now()
		if got := n.ask(t, madeUp(100), from("10.0.0.1")); got.Status != 200 || time.Since(start) > 800*time.Millisecond {
			t.Errorf("the neighbour got %+v after %s", got, time.Since(start))
		}
		group.Wait()
	})
}

func TestRenewalsGoAheadWhileMissesNeverRunDry(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.Limits.Calls, n.Log = 1, nil
		old := mint(t, workload(0))
		var renewals atomic.Int32
		slow := (&busy{takes: 100 * time.Millisecond}).answer(n)
		n.answers(func(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
			r, err := slow(ctx, ask)
			if ask.Token == old {
				renewals.Add(1)
				r.Credentials.Expires = time.Now().Add(20 * time.Second)
			}
			return r, err
		})
		n.ask(t, old)
		var group sync.WaitGroup
		for i := range 400 { // twice as many as can be answered
			raw := mint(t, workload(1+i))
			group.Go(func() { n.ask(t, raw) })
			time.Sleep(50 * time.Millisecond)
		}
		if got := n.ask(t, old); got.Status != 200 || renewals.Load() != 2 {
			t.Errorf("after %d renewals it got %+v", renewals.Load()-1, got)
		}
		group.Wait()
	})
}
