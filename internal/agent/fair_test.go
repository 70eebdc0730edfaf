package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"
)

// busy is a podid-auth that takes its time, and how many calls it had at once.
type busy struct {
	takes        time.Duration
	running, top atomic.Int32
}

func (b *busy) answer(n *node) exchangeFunc {
	return func(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
		b.top.Store(max(b.top.Load(), b.running.Add(1)))
		defer b.running.Add(-1)
		select {
		case <-time.After(b.takes):
			return given(ask, int(n.calls.Load())), nil
		case <-ctx.Done():
			return agent.Reply{}, ctx.Err()
		}
	}
}

func TestAllPodsOfANodeStartAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		const pods = 110
		tokens := make([]string, pods)
		for i := range tokens {
			tokens[i] = mint(t, workload(i))
		}
		auth := &busy{takes: 200 * time.Millisecond}
		n.answers(auth.answer(n))
		n.Log = nil
		start := time.Now()
		var later, tries atomic.Int32
		var group sync.WaitGroup
		for i := range pods {
			group.Go(func() {
				for {
					tries.Add(1)
					got := n.ask(t, tokens[i])
					if got.Status == 200 {
						return
					}
					if got.Status != 429 || got.Code != string(problem.TooManyRequests) {
						t.Errorf("got %+v", got)
						return
					}
					later.Add(1)
					seconds, err := strconv.Atoi(got.Header.Get("Retry-After"))
					if err != nil {
						t.Error(err)
						return
					}
					time.Sleep(time.Duration(seconds) * time.Second)
				}
			})
		}
		group.Wait()
		if n.calls.Load() != pods || auth.top.Load() != 8 {
			t.Errorf("%d calls, %d at once", n.calls.Load(), auth.top.Load())
		}
		t.Logf("%d pods had their credentials after %s; %d requests were told to come again", pods, time.Since(start), later.Load())
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestTheQueueIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.Limits.Waiting, n.Limits.Calls = 2, 1
		n.answers((&busy{takes: 800 * time.Millisecond}).answer(n))
		var group sync.WaitGroup
		for i := range 3 {
			raw := mint(t, workload(i))
			group.Go(func() { n.ask(t, raw) })
		}
		synctest.Wait()
		start := time.Now()
		if got := n.ask(t, mint(t, workload(9))); got.Status != 429 || got.Header.Get("Retry-After") == "" || time.Since(start) > 0 {
			t.Errorf("got %+v after %s", got, time.Since(start))
		}
		group.Wait()
	})
}

func TestAFloodLeavesTheNeighbourAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.Limits.Rate, n.Limits.Burst = 100, 100
		flood, neighbour := mint(t, workload(1)), mint(t, workload(2))
		n.ask(t, flood)
		n.ask(t, neighbour)
		ctx, cancel := context.WithCancel(t.Context())
		var served, refused atomic.Int32
		var group sync.WaitGroup
		for range 200 {
			group.Go(func() {
				for ctx.Err() == nil {
					switch got := n.ask(t, flood); got.Status {
					case 200:
						served.Add(1)
					case 429:
						refused.Add(1)
						if got.Header.Get("Retry-After") == "" {
							t.Errorf("got %+v", got)
						}
					default:
						t.Errorf("got %+v", got)
					}
				}
			})
		}
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			start := time.Now()
			if got := n.ask(t, neighbour); got.Status != 200 || time.Since(start) > 0 {
				t.Errorf("the neighbour got %+v after %s", got, time.Since(start))
			}
		}
		cancel()
		group.Wait()
		// 100 at once, 100 a second for ten seconds and the half that the last were held; each
		// of the others was held before it was refused.
		if s, r := served.Load(), refused.Load(); s < 1000 || s > 1200 || r > 200*21 {
			t.Errorf("%d were served, %d refused", s, r)
		}
		if lines := strings.Count(n.log.String(), string(problem.TooManyRequests)); lines < 1 || lines > 3 {
			t.Errorf("the log has it %d times", lines)
		}
	})
}

func TestAFloodOfForgedTokensCostsFewSignatureChecks(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		good, neighbour, forged := mint(t, workload(1)), mint(t, workload(2)), mint(t, workload(3))
		forged = forged[:len(forged)-40]
		from := func(ip string) func(*http.Request) {
			return func(r *http.Request) { r.RemoteAddr = ip + ":1234" }
		}
		n.ask(t, good, from("10.0.0.1"))
		var group sync.WaitGroup
		var refused atomic.Int32
		for i := range 1000 {
			group.Go(func() {
				got := n.ask(t, forged+fmt.Sprint(i), from("10.0.0.1"))
				if got.Status == 429 {
					refused.Add(1)
				} else if got.Status != 400 {
					t.Errorf("got %+v", got)
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		// Neither a pod at the same address whose token is known nor one at another waits.
		if got := n.ask(t, good, from("10.0.0.1")); got.Status != 200 || time.Since(start) > 0 {
			t.Errorf("got %+v after %s", got, time.Since(start))
		}
		if got := n.ask(t, neighbour, from("10.0.0.2")); got.Status != 200 || time.Since(start) > 0 {
			t.Errorf("got %+v after %s", got, time.Since(start))
		}
		group.Wait()
		if n.verified.Load() > 2+200+20 || refused.Load() < 700 {
			t.Errorf("%d checks, %d refused without one", n.verified.Load(), refused.Load())
		}
	})
}

func TestOneTokenIsVerifiedOnceForAllWhoShowItAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		good, bad := mint(t, workload(1)), mint(t, workload(2))
		bad = bad[:len(bad)-20] + "AAAAAAAAAAAAAAAAAAAA"
		verified := n.Tokens
		n.Tokens = tokensFunc(func(ctx context.Context, raw string) (token.Token, error) {
			time.Sleep(time.Millisecond)
			return verified.Verify(ctx, raw)
		})
		start := time.Now()
		var group sync.WaitGroup
		for range 500 {
			group.Go(func() {
				if got := n.ask(t, good); got.AccessKeyID != key(1) {
					t.Errorf("got %+v", got)
				}
			})
		}
		group.Wait()
		if n.verified.Load() != 1 || n.calls.Load() != 1 || time.Since(start) > 2*time.Millisecond {
			t.Errorf("%d checks and %d calls in %s", n.verified.Load(), n.calls.Load(), time.Since(start))
		}
		for range 500 {
			group.Go(func() {
				if got := n.ask(t, bad); got.Code != string(problem.TokenForged) {
					t.Errorf("got %+v", got)
				}
			})
		}
		group.Wait()
		if got := n.ask(t, bad); got.Status != 429 || n.verified.Load() != 2 { // they count all the same
			t.Errorf("%d checks, got %+v", n.verified.Load(), got)
		}
	})
}

func TestGoodTokensOfOneAddressAreNotSlowedDown(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) { // pods on the node's network share its address
		n.Tokens = tokensFunc(func(_ context.Context, raw string) (token.Token, error) {
			w := workload(1)
			w.PodUID = raw
			return token.Token{Workload: w, Expires: time.Now().Add(time.Hour)}, nil
		})
		start := time.Now()
		for i := range 500 {
			if got := n.ask(t, workload(i).PodUID); got.Status != 200 {
				t.Fatalf("got %+v", got)
			}
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("it took %s", took)
		}
	})
}

func TestRequestsForOtherHostsAreRefused(t *testing.T) {
	n := newNode(t)
	n.Hosts = []string{"credentials.internal"}
	raw := mint(t, workload(1))
	for host, status := range map[string]int{
		"169.254.170.23": 200, "169.254.170.23:80": 200, "[fd00:ec2::23]": 200, "[fd00:ec2::23]:80": 200,
		"localhost:8080": 200, "127.0.0.1:41234": 200, "[::1]": 200, "credentials.internal": 200, "Credentials.Internal:80": 200,
		"evil.example": 421, "169.254.170.23.evil.example": 421, "169.254.170.23:80:80": 421, "": 421, "[fd00:ec2::23": 421,
		"169.254.169.254": 421, "10.0.0.1": 421, "localhost.evil.example": 421, "[]": 421, ":80": 421,
	} {
		got := n.ask(t, raw, func(r *http.Request) { r.Host = host })
		if got.Status != status || status == 421 && (got.Code != string(problem.RequestInvalid) || !strings.Contains(got.Message, "rebinding")) {
			t.Errorf("%q: got %+v", host, got)
		}
	}
}

func TestTwoHundredRenewalsAreDoneWithAThirdOfLifeLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.Log = nil
		const pods, life = 200, 10 * time.Minute
		renewed := map[string]time.Time{}
		var mu sync.Mutex
		auth := &busy{takes: 500 * time.Millisecond}
		slow := auth.answer(n)
		n.answers(func(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
			r, err := slow(ctx, ask)
			r.Credentials.Expires = time.Now().Add(life)
			mu.Lock()
			defer mu.Unlock()
			renewed[ask.Token] = time.Now()
			return r, err
		})
		tokens := make([]string, pods)
		var group sync.WaitGroup
		for i := range tokens {
			tokens[i] = mint(t, workload(i))
			n.hears(t, changed(i, "a", 1))
			group.Go(func() {
				for n.ask(t, tokens[i]).Status != 200 {
					time.Sleep(time.Second)
				}
			})
		}
		group.Wait()
		start := time.Now() // the first have lived for 12 seconds
		n.hears(t, ended(0))
		pause(life * 2 / 3)
		for i, raw := range tokens[1:] {
			if !renewed[raw].After(start) {
				t.Errorf("pod %d was not renewed with a third of its life left", i+1)
			}
		}
		if renewed[tokens[0]].After(start) {
			t.Error("the pod that has ended was renewed")
		}
		if auth.top.Load() > 8 {
			t.Errorf("%d calls at once", auth.top.Load())
		}
	})
}

func TestWhatExpiresFirstIsRenewedFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.Limits.Calls = 1
		lives := map[string]time.Duration{}
		var order []time.Duration
		n.answers(func(_ context.Context, ask agent.Ask) (agent.Reply, error) {
			order = append(order, lives[ask.Token])
			r := given(ask, 1)
			r.Credentials.Expires = time.Now().Add(lives[ask.Token])
			return r, nil
		})
		for i := range 20 {
			raw := mint(t, workload(i))
			lives[raw] = time.Duration(60+(i*7)%20) * time.Minute
			n.ask(t, raw)
		}
		n.answers(unavailable)
		pause(55 * time.Minute) // all are due
		works := order
		order = nil
		n.answers(func(_ context.Context, ask agent.Ask) (agent.Reply, error) {
			order = append(order, lives[ask.Token])
			r := given(ask, 1)
			r.Credentials.Expires = time.Now().Add(24 * time.Hour)
			return r, nil
		})
		pause(2 * time.Second)
		if len(order) != len(works) {
			t.Fatalf("%d of %d were renewed", len(order), len(works))
		}
		for i := 2; i < len(order); i++ { // whichever probed was the first
			if order[i] < order[i-1] {
				t.Errorf("what lives for %s came after what lives for %s", order[i], order[i-1])
			}
		}
	})
}

func TestRecoveryTakesASecondAndOneProbesForAll(t *testing.T) {
	for name, fault := range map[string]exchangeFunc{
		"unreachable": unavailable,
		"hangs": func(ctx context.Context, _ agent.Ask) (agent.Reply, error) {
			<-ctx.Done()
			return agent.Reply{}, ctx.Err()
		},
		"STS is away": func(context.Context, agent.Ask) (agent.Reply, error) {
			return agent.Reply{}, problem.New(problem.STSUnavailable, "STS does not answer")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *node) {
				n.Log = nil
				tokens := make([]string, 50)
				for i := range tokens {
					tokens[i] = mint(t, workload(i))
					n.ask(t, tokens[i])
				}
				fresh := mint(t, workload(99))
				n.answers(fault)
				pause(40 * time.Minute) // all are due
				before := n.calls.Load()
				start := time.Now()
				for range 60 {
					if got := n.ask(t, fresh); got.Status != 503 || got.Header.Get("Retry-After") == "" || time.Since(start) > time.Second {
						t.Errorf("got %+v after %s", got, time.Since(start))
					}
					pause(time.Second - time.Since(start)%time.Second)
					start = time.Now()
				}
				if calls := n.calls.Load() - before; calls < 50 || calls > 130 {
					t.Errorf("%d calls in a minute of outage", calls)
				}
				if err := n.Ready(); err == nil {
					t.Error("ready while nobody can be given new credentials")
				}
				var first atomic.Value
				back := time.Now()
				n.answers(func(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
					first.CompareAndSwap(nil, time.Since(back))
					return n.works(ctx, ask)
				})
				pause(1500 * time.Millisecond)
				if took, _ := first.Load().(time.Duration); took > time.Second || first.Load() == nil {
					t.Errorf("the first call came after %s", took)
				}
				if got := n.ask(t, fresh); got.Status != 200 {
					t.Errorf("got %+v", got)
				}
				after := n.calls.Load()
				pause(time.Minute)
				if n.calls.Load() != after {
					t.Error("not all were renewed at once")
				}
			})
		})
	}
}

func TestTooMuchMakesAllWaitAsLongAsWasAsked(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.Log = nil
		c := answering(429, "ThrottlingException", `{"code":"sts-throttled","what":"STS throttles"}`)
		throttled := func(ctx context.Context, ask agent.Ask) (agent.Reply, error) { return c.Exchange(ctx, ask) }
		n.answers(throttled)
		start := time.Now()
		got := n.ask(t, mint(t, workload(1)))
		if got.Status != 429 || got.Code != string(problem.STSThrottled) || got.Header.Get("Retry-After") != "3" {
			t.Errorf("got %+v", got)
		}
		auth := &busy{takes: 100 * time.Millisecond}
		n.answers(auth.answer(n))
		var group sync.WaitGroup
		for i := range 20 {
			raw := mint(t, workload(2+i))
			group.Go(func() {
				// The true reason, and a place in the queue.
				got := n.ask(t, raw)
				if got.Status != 429 || got.Code != string(problem.STSThrottled) || got.Header.Get("Retry-After") != "3" {
					t.Errorf("got %+v", got)
				}
			})
		}
		group.Wait()
		if n.calls.Load() != 1 || time.Since(start) > time.Second {
			t.Errorf("%d calls after %s", n.calls.Load(), time.Since(start))
		}
		pause(3*time.Second - time.Since(start))
		if n.calls.Load() != 1 {
			t.Errorf("%d calls within the pause", n.calls.Load())
		}
		for n.calls.Load() == 1 {
			pause(10 * time.Millisecond)
		}
		pause(80 * time.Millisecond)
		if auth.top.Load() != 1 {
			t.Errorf("%d calls at once to begin with", auth.top.Load())
		}
		pause(3 * time.Second)
		if n.calls.Load() != 22 { // the one that was refused, too
			t.Errorf("%d calls", n.calls.Load())
		}
	})
}

func TestAFailureIsToldAgainWithoutACall(t *testing.T) {
	for code, quiet := range map[problem.Code]time.Duration{
		problem.AssociationMissing: 3 * time.Second, problem.TrustDenied: 3 * time.Second,
		problem.AuthUnavailable: 500 * time.Millisecond, problem.Internal: 500 * time.Millisecond,
	} {
		t.Run(string(code), func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *node) {
				n.answers(func(context.Context, agent.Ask) (agent.Reply, error) { return agent.Reply{}, problem.New(code, "no") })
				raw := mint(t, workload(1))
				start := time.Now()
				for n.calls.Load() < 2 && time.Since(start) < time.Minute {
					if got := n.ask(t, raw); got.Code != string(code) {
						t.Errorf("got %+v", got)
					}
					pause(10 * time.Millisecond)
				}
				if took := time.Since(start); took < quiet || took > 2*quiet {
					t.Errorf("it was asked again after %s", took)
				}
			})
		})
	}
}

func TestOnesOwnFailureHoldsUpNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.Log = nil
		bad := mint(t, workload(0))
		n.answers(func(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
			if ask.Token == bad {
				return agent.Reply{}, problem.New(problem.AuthUnavailable, "podid-auth's answer cannot be used")
			}
			return given(ask, int(n.calls.Load())), nil
		})
		for i := range 600 {
			if got := n.ask(t, bad); got.Status != 503 {
				t.Errorf("got %+v", got)
			}
			if i%10 == 0 {
				start := time.Now()
				if got := n.ask(t, mint(t, workload(1+i))); got.Status != 200 || time.Since(start) > 0 {
					t.Errorf("got %+v after %s", got, time.Since(start))
				}
			}
			pause(100 * time.Millisecond)
		}
		if own := n.calls.Load() - 60; own > 12 {
			t.Errorf("%d calls for the one that fails, in a minute", own)
		}
	})
}
