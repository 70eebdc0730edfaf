package agent_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/problem"
)

// inBubble runs f with a clock that jumps.
func inBubble(t *testing.T, f func(t *testing.T, n *node)) {
	t.Helper()
	issuer()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		f(t, n)
		n.Close()
	})
}

// pause lets time pass, and what falls due in it finish.
func pause(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func unavailable(context.Context, agent.Ask) (agent.Reply, error) {
	return agent.Reply{}, problem.New(problem.AuthUnavailable, "podid-auth could not be reached")
}

func TestAHundredRequestsMakeOneCall(t *testing.T) {
	for name, fail := range map[string]bool{"success": false, "failure": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *node) {
				n.answers(func(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
					time.Sleep(500 * time.Millisecond)
					if fail {
						return unavailable(ctx, ask)
					}
					return given(ask, int(n.calls.Load())), nil
				})
				raw := mint(t, workload(1))
				var group sync.WaitGroup
				for range 100 {
					group.Go(func() {
						if got := n.ask(t, raw); (got.Status == 200) == fail {
							t.Errorf("got %+v", got)
						}
					})
				}
				group.Wait()
				if n.calls.Load() != 1 {
					t.Errorf("%d calls", n.calls.Load())
				}
			})
		})
	}
}

func TestACallOutlivesTheClientThatStartedIt(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.answers(func(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
			select {
			case <-time.After(500 * time.Millisecond):
				return given(ask, 1), nil
			case <-ctx.Done():
				return agent.Reply{}, ctx.Err()
			}
		})
		raw := mint(t, workload(1))
		impatient, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		n.ask(t, raw, func(r *http.Request) { *r = *r.WithContext(impatient) })
		if got := n.ask(t, raw); got.AccessKeyID != key(1) || n.calls.Load() != 1 {
			t.Errorf("got %+v after %d calls", got, n.calls.Load())
		}
	})
}

func TestTheTrueReasonComesBeforeTheSDKGivesUp(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.answers(func(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
			<-ctx.Done()
			return agent.Reply{}, ctx.Err()
		})
		start := time.Now()
		got := n.ask(t, mint(t, workload(1)))
		if took := time.Since(start); got.Code != string(problem.AuthUnavailable) || !strings.Contains(got.Message, "850ms") || took > time.Second {
			t.Errorf("got %+v after %s", got, took)
		}
	})
}

func TestCredentialsAreRefreshedAheadOfExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		n.ask(t, raw)
		pause(29 * time.Minute)
		if n.calls.Load() != 1 {
			t.Error("refreshed with 31 minutes left")
		}
		pause(9 * time.Minute) // nobody asks
		if n.calls.Load() != 2 {
			t.Errorf("%d calls with 22 minutes left", n.calls.Load())
		}
		if got := n.ask(t, raw); got.AccessKeyID != key(2) || n.calls.Load() != 2 {
			t.Errorf("got %s after %d calls", got.AccessKeyID, n.calls.Load())
		}
		pause(41 * time.Minute)
		if got := n.ask(t, raw); got.AccessKeyID != key(3) {
			t.Errorf("got %s", got.AccessKeyID)
		}
		if log := n.log.String(); strings.Count(log, `"msg":"refresh"`) != 2 || strings.Count(log, "\n") != 3 {
			t.Errorf("log is %s", log)
		}
	})
}

func TestPodsThatStartedTogetherAreRenewedApart(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		const pods, life = 200, time.Hour
		for i := range pods {
			n.ask(t, mint(t, workload(i)))
		}
		start := time.Now()
		var mu sync.Mutex
		renewed := map[time.Duration]int{}
		n.answers(func(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
			mu.Lock()
			defer mu.Unlock()
			renewed[time.Since(start)]++
			return n.works(ctx, ask)
		})
		pause(life * 2 / 3) // a third is left
		if calls := n.calls.Load(); calls != 2*pods {
			t.Fatalf("%d renewals", calls-pods)
		}
		first, last, most := life, time.Duration(0), 0
		for at, n := range renewed {
			first, last, most = min(first, at), max(last, at), max(most, n)
		}
		if first < life/2 || last > life*5/8 || last-first < life/10 || most > 8 {
			t.Errorf("renewed from %s to %s, %d at once", first, last, most)
		}
	})
}

func TestWithoutNewsCredentialsAreRenewedBeforeTheyAreStale(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.answers(func(_ context.Context, ask agent.Ask) (agent.Reply, error) {
			r := given(ask, int(n.calls.Load()))
			r.Credentials.Expires = time.Now().Add(6 * time.Hour)
			return r, nil
		})
		raw := mint(t, workload(1))
		n.ask(t, raw)
		pause(50 * time.Minute) // of the hour that they may be served without news
		if n.calls.Load() != 2 {
			t.Errorf("%d calls", n.calls.Load())
		}
		n.answers(unavailable)
		pause(20 * time.Minute)
		if got := n.ask(t, raw); got.AccessKeyID != key(2) {
			t.Errorf("got %+v", got)
		}
		pause(time.Hour)
		if got := n.ask(t, raw); got.Status != 503 {
			t.Errorf("stale: %+v", got)
		}
	})
}

func TestCredentialsNobodyAsksForAreNotRefreshed(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.ask(t, mint(t, workload(1)))
		pause(24 * time.Hour)
		if n.calls.Load() != 2 {
			t.Errorf("%d calls, though they were asked for once", n.calls.Load())
		}
		if pods, tokens := n.Remembered(); pods != 0 || tokens != 0 {
			t.Errorf("%d pods and %d tokens are still remembered", pods, tokens)
		}
	})
}

func TestCredentialsAskedForLateAreRefreshedBehindTheAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		n.ask(t, raw)
		pause(41 * time.Minute) // refreshed, and not asked for since
		pause(45 * time.Minute)
		if n.calls.Load() != 2 {
			t.Fatalf("%d calls", n.calls.Load())
		}
		if got := n.ask(t, raw); got.AccessKeyID != key(2) {
			t.Errorf("the answer waited for %s", got.AccessKeyID)
		}
		synctest.Wait()
		if got := n.ask(t, raw); got.AccessKeyID != key(3) || n.calls.Load() != 3 {
			t.Errorf("got %s after %d calls", got.AccessKeyID, n.calls.Load())
		}
	})
}

func TestServedThroughAnOutageUntilExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		n.ask(t, raw)
		first := time.Now()
		n.answers(unavailable)
		for time.Since(first) < time.Hour-10*time.Second {
			if got := n.ask(t, raw); got.AccessKeyID != key(1) {
				t.Fatalf("got %+v after %s", got, time.Since(first))
			}
			pause(9 * time.Second)
		}
		pause(10 * time.Second)
		if got := n.ask(t, raw); got.Code != string(problem.AuthUnavailable) {
			t.Errorf("got %+v after expiry", got)
		}
		if calls := n.calls.Load(); calls < 1500 || calls > 2500 {
			t.Errorf("%d calls in 25 minutes of outage", calls)
		}
	})
}

func TestAnOutageThatEndsIsNoticed(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		n.ask(t, raw)
		n.answers(unavailable)
		pause(45 * time.Minute)
		n.answers(n.works)
		pause(2 * time.Minute)
		calls := int(n.calls.Load())
		if got := n.ask(t, raw); got.AccessKeyID != key(calls) || calls < 3 {
			t.Errorf("got %s after %d calls", got.AccessKeyID, calls)
		}
	})
}

func TestAFinalRefusalTakesTheCredentialsAway(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		n.ask(t, raw)
		n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
			return agent.Reply{}, problem.New(problem.AssociationMissing, "there is none any more")
		})
		pause(41 * time.Minute)
		if got := n.ask(t, raw); got.Code != string(problem.AssociationMissing) {
			t.Errorf("got %+v", got)
		}
	})
}

func TestTheAgentsOwnTroubleTakesNothingFromPods(t *testing.T) {
	for _, code := range []problem.Code{problem.CallerUnproven, problem.TokenExpired, problem.Internal, problem.BaseCredentials, problem.ClusterUnknown, problem.STSThrottled} {
		t.Run(string(code), func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *node) {
				raw := mint(t, workload(1))
				n.ask(t, raw)
				n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
					return agent.Reply{}, problem.New(code, "no")
				})
				pause(55 * time.Minute)
				if got := n.ask(t, raw); got.AccessKeyID != key(1) {
					t.Errorf("got %+v", got)
				}
			})
		})
	}
}

func TestAnExpiredTokenIsRefusedThoughItsPodIsCached(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		old, err := issuer().Mint(workload(1), podid.AudiencePods, time.Now(), 10*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		n.ask(t, old)
		pause(11 * time.Minute)
		if got := n.ask(t, old); got.Code != string(problem.TokenExpired) || !strings.Contains(got.Message, "1m0s ago") {
			t.Errorf("got %+v", got)
		}
		if got := n.ask(t, mint(t, workload(1))); got.AccessKeyID != key(1) {
			t.Errorf("got %+v", got)
		}
	})
}

func TestPodsThatAreRefusedAreForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.answers(unavailable)
		n.ask(t, mint(t, workload(1)))
		if pods, _ := n.Remembered(); pods != 1 {
			t.Errorf("%d pods", pods)
		}
		pause(2 * time.Minute)
		if pods, tokens := n.Remembered(); pods != 0 || tokens != 0 {
			t.Errorf("%d pods, %d tokens", pods, tokens)
		}
	})
}

func TestCredentialsThatHaveExpiredAreNotHandedOn(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
			r := given(agent.Ask{}, 1)
			r.Credentials.Expires = time.Now()
			return r, nil
		})
		if got := n.ask(t, mint(t, workload(1))); got.Code != string(problem.AuthUnavailable) {
			t.Errorf("got %+v", got)
		}
	})
}

func TestCloseEndsCallsInFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.Timeout = time.Hour
		n.answers(func(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
			<-ctx.Done()
			return agent.Reply{}, ctx.Err()
		})
		raw := mint(t, workload(1))
		var group sync.WaitGroup
		group.Go(func() {
			if got := n.ask(t, raw); got.Code != string(problem.AuthUnavailable) || !strings.Contains(got.Message, "stopping") {
				t.Errorf("got %+v", got)
			}
		})
		synctest.Wait()
		n.Close()
		group.Wait()
	})
}
