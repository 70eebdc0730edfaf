package agent_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"
)

func version(uid string, revision uint64) stream.Version {
	return stream.Version{UID: uid, Revision: revision}
}

// newListener is a node whose keys come by the stream.
func newListener(t testing.TB) *node {
	n := newNode(t)
	n.Tokens = nil
	return n
}

func TestWhatWasIssuedBeforeAChangeIsFetchedAnewAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw, idle := mint(t, workload(1)), mint(t, workload(2))
		n.hears(t, changed(1, "a", 7), changed(2, "b", 7))
		n.ask(t, raw)
		n.ask(t, idle)
		n.hears(t, changed(1, "a", 8))
		synctest.Wait() // nobody asks
		if n.calls.Load() != 3 {
			t.Errorf("%d calls", n.calls.Load())
		}
		if got := n.ask(t, raw); got.AccessKeyID != key(3) || n.calls.Load() != 3 {
			t.Errorf("got %s after %d calls", got.AccessKeyID, n.calls.Load())
		}
		if got := n.ask(t, idle); got.AccessKeyID != key(2) {
			t.Errorf("the other pod lost its credentials: %s", got.AccessKeyID)
		}
	})
}

func TestADeletedAssociationTakesTheCredentialsAway(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		n.hears(t, changed(1, "a", 7))
		n.ask(t, raw)
		n.answers(func(_ context.Context, ask agent.Ask) (agent.Reply, error) {
			if ask.Association != version("", 9) {
				t.Errorf("asked for %s", ask.Association)
			}
			return agent.Reply{Association: ask.Association}, problem.New(problem.AssociationMissing, "there is none any more")
		})
		n.hears(t, changed(1, "", 9))
		synctest.Wait()
		if n.calls.Load() != 1 {
			t.Error("podid-auth was asked though nobody did")
		}
		if got := n.ask(t, raw); got.Code != string(problem.AssociationMissing) {
			t.Errorf("got %+v", got)
		}
	})
}

func TestAnAssociationThatComesEndsItsRefusal(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		n.hears(t, changed(1, "", 0))
		n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
			return agent.Reply{}, problem.New(problem.AssociationMissing, "there is none")
		})
		for range 3 {
			if got := n.ask(t, raw); got.Code != string(problem.AssociationMissing) {
				t.Errorf("got %+v", got)
			}
		}
		if n.calls.Load() != 1 {
			t.Errorf("%d calls in one instant", n.calls.Load())
		}
		n.answers(n.works)
		n.hears(t, changed(1, "a", 7))
		synctest.Wait()
		if got := n.ask(t, raw); got.AccessKeyID != key(2) || n.calls.Load() != 2 {
			t.Errorf("got %+v after %d calls", got, n.calls.Load())
		}
	})
}

func TestALaggingReplicaBringsNothingBack(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		n.hears(t, changed(1, "a", 7), changed(1, "a", 9))
		n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
			if n.calls.Load() == 1 {
				return agent.Reply{Credentials: credentials(1), Association: version("a", 7)}, nil
			}
			return agent.Reply{Credentials: credentials(2), Association: version("a", 9)}, nil
		})
		if got := n.ask(t, raw); got.AccessKeyID != key(2) {
			t.Errorf("got %+v", got)
		}
		// Nor does the stream of one, after the agent connected anew, or a line that comes late.
		n.hears(t, listed(map[int]stream.Version{1: version("a", 7)}), changed(1, "a", 8))
		if got := n.ask(t, raw); got.AccessKeyID != key(2) || n.calls.Load() != 2 {
			t.Errorf("got %+v after %d calls", got, n.calls.Load())
		}
		n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
			return agent.Reply{Credentials: credentials(3), Association: version("a", 8)}, nil
		})
		pause(41 * time.Minute) // renewals are thrown away
		if got := n.ask(t, raw); got.AccessKeyID != key(2) {
			t.Errorf("got %+v", got)
		}
		pause(19 * time.Minute)
		if got := n.ask(t, raw); got.Code != string(problem.ReplicaBehind) || got.Status != 503 {
			t.Errorf("got %+v", got)
		}
	})
}

// An association that changes faster than podid-auth answers takes nothing from its pods:
// an answer is for who asked before the change, and nobody who asks after it gets one.
func TestAnAnswerThatWasTrueWhenItWasAskedForIsForThoseWhoWaited(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		var mu sync.Mutex
		now, issued := uint64(7), map[string]uint64{}
		latest := func() uint64 {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
		n.answers(func(_ context.Context, ask agent.Ask) (agent.Reply, error) {
			reply := given(ask, int(n.calls.Load()))
			mu.Lock()
			issued[reply.Credentials.AccessKeyID] = ask.Association.Revision
			mu.Unlock()
			time.Sleep(400 * time.Millisecond)
			return reply, nil
		})
		n.hears(t, changed(1, "a", now))
		var asking sync.WaitGroup
		for i := range 300 {
			if i%5 == 0 {
				mu.Lock()
				now++
				mu.Unlock()
				n.hears(t, changed(1, "a", now))
			}
			asking.Go(func() {
				since := latest()
				got := n.ask(t, raw)
				mu.Lock()
				defer mu.Unlock()
				if got.Status != 200 || issued[got.AccessKeyID] < since {
					t.Errorf("%d %s, issued for %d, asked at %d", got.Status, got.Code, issued[got.AccessKeyID], since)
				}
			})
			pause(50 * time.Millisecond)
		}
		asking.Wait()
		if calls := n.calls.Load(); calls > 61 {
			t.Errorf("%d calls for 60 changes", calls)
		}
		pause(time.Second)
		if got := n.ask(t, raw); issued[got.AccessKeyID] != now {
			t.Errorf("%d is kept, and %d was told", issued[got.AccessKeyID], now)
		}
	})
}

// Whether a call under way brings what the news tell is known when it ends.
func TestNewsOfWhatACallBringsCostNoOther(t *testing.T) {
	for name, c := range map[string]struct {
		brings int // the version that the call brings
		calls  int32
	}{
		"it brings that version":   {8, 1},
		"it brings a newer one":    {9, 1},
		"it brings the one before": {7, 2},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *node) {
				raw := mint(t, workload(1))
				n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
					is := 8
					if n.calls.Load() == 1 {
						n.hears(t, changed(1, "a", 8))
						is = c.brings
					}
					return agent.Reply{Credentials: credentials(is), Association: version("a", uint64(is))}, nil
				})
				n.hears(t, changed(1, "a", 7))
				if got := n.ask(t, raw); got.AccessKeyID != key(c.brings) {
					t.Errorf("who asked before the news got %+v", got)
				}
				synctest.Wait() // nobody asks
				calls := n.calls.Load()
				if got := n.ask(t, raw); got.AccessKeyID != key(max(8, c.brings)) || calls != c.calls || n.calls.Load() != calls {
					t.Errorf("who asked after the news got %+v, after %d calls and %d more", got, calls, n.calls.Load()-calls)
				}
			})
		})
	}
}

func TestWhoAsksAfterAChangeWaitsForNoCallFromBefore(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		n.hears(t, changed(1, "a", 7))
		n.answers(func(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
			reply := given(ask, int(n.calls.Load()))
			if ask.Association.Revision == 7 {
				<-ctx.Done()
				return agent.Reply{}, ctx.Err()
			}
			return reply, nil
		})
		var asking sync.WaitGroup
		asking.Go(func() {
			if got := n.ask(t, raw); got.Code != string(problem.AuthUnavailable) {
				t.Errorf("who asked before got %+v", got)
			}
		})
		synctest.Wait()
		n.hears(t, changed(1, "a", 8))
		start := time.Now()
		if got := n.ask(t, raw); got.AccessKeyID != key(2) || time.Since(start) != 0 {
			t.Errorf("got %+v after %s", got, time.Since(start))
		}
		asking.Wait()
		pause(time.Second) // what ends late changes nothing
		if got := n.ask(t, raw); got.AccessKeyID != key(2) || n.calls.Load() != 2 {
			t.Errorf("got %+v after %d calls", got, n.calls.Load())
		}
	})
}

// An answer may be news before the stream tells them, though others asked meanwhile.
func TestWhatACallBringsEndsWhatIsOlder(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
			is := 8
			if n.calls.Load() == 1 {
				time.Sleep(300 * time.Millisecond)
				is = 9
			}
			return agent.Reply{Credentials: credentials(is), Association: version("a", uint64(is))}, nil
		})
		n.hears(t, changed(1, "a", 7))
		var asking sync.WaitGroup
		asking.Go(func() { n.ask(t, raw) })
		pause(100 * time.Millisecond)
		n.hears(t, changed(1, "a", 8))
		if got := n.ask(t, raw); got.AccessKeyID != key(8) {
			t.Errorf("got %+v", got)
		}
		asking.Wait()
		n.hears(t, changed(1, "a", 9))
		if got := n.ask(t, raw); got.AccessKeyID != key(9) || n.calls.Load() != 2 {
			t.Errorf("got %+v after %d calls", got, n.calls.Load())
		}
	})
}

func TestAReplicaThatIsBehindIsAskedAgainSoon(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
			return agent.Reply{}, problem.New(problem.ReplicaBehind, "it is behind")
		})
		if got := n.ask(t, raw); got.Code != string(problem.ReplicaBehind) {
			t.Errorf("got %+v", got)
		}
		n.answers(n.works)
		pause(100 * time.Millisecond)
		if got := n.ask(t, raw); got.Status != 200 {
			t.Errorf("got %+v", got)
		}
		// One that goes on being behind is not asked all the time.
		n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
			return agent.Reply{}, problem.New(problem.ReplicaBehind, "it is behind")
		})
		n.hears(t, changed(1, "a", 9))
		calls := n.calls.Load()
		for range 600 {
			pause(100 * time.Millisecond)
			n.ask(t, raw)
		}
		if made := n.calls.Load() - calls; made > 15 {
			t.Errorf("%d calls in a minute", made)
		}
	})
}

func TestAnAnswerIsAsGoodAsNews(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
			return agent.Reply{Credentials: credentials(1), Association: version("a", 9)}, nil
		})
		n.ask(t, raw)
		n.hears(t, listed(map[int]stream.Version{1: version("a", 7)}))
		if got := n.ask(t, raw); got.AccessKeyID != key(1) || n.calls.Load() != 1 {
			t.Errorf("got %+v after %d calls", got, n.calls.Load())
		}
	})
}

func TestAPodThatHasEndedIsRefusedWithoutACall(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		n.hears(t, changed(1, "a", 7))
		n.ask(t, raw)
		n.hears(t, ended(1), ended(2))
		for _, raw := range []string{raw, mint(t, workload(1)), mint(t, workload(2))} {
			if got := n.ask(t, raw); got.Code != string(problem.PodGone) || got.Status != 403 {
				t.Errorf("got %+v", got)
			}
		}
		// A snapshot of a replica that lags does not bring it back to life.
		n.hears(t, listed(map[int]stream.Version{1: version("a", 7)}), changed(1, "a", 8))
		if got := n.ask(t, raw); got.Code != string(problem.PodGone) || n.calls.Load() != 1 {
			t.Errorf("got %+v after %d calls", got, n.calls.Load())
		}
		pause(2 * time.Hour)
		if pods, tokens := n.Remembered(); pods != 0 || tokens != 0 {
			t.Errorf("%d pods and %d tokens are still remembered", pods, tokens)
		}
	})
}

func TestOfAPodThatHasEndedNoTokenIsKept(t *testing.T) {
	n := newNode(t)
	n.ask(t, mint(t, workload(1)))
	tokens := func() int {
		left, err := n.Bequeath()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(left), `"Token":"e`) // a JWT begins so
	}
	if kept := tokens(); kept != 1 {
		t.Fatalf("%d tokens are kept", kept)
	}
	n.hears(t, ended(1))
	n.ask(t, mint(t, workload(1))) // another one of the same pod
	if kept := tokens(); kept != 0 {
		t.Errorf("%d tokens are kept", kept)
	}
}

func TestAPodThatEndsWhileItsCallIsUnderWayGetsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.answers(func(_ context.Context, ask agent.Ask) (agent.Reply, error) {
			n.hears(t, ended(1))
			return given(ask, 1), nil
		})
		if got := n.ask(t, mint(t, workload(1))); got.Code != string(problem.PodGone) {
			t.Errorf("got %+v", got)
		}
	})
}

func TestPodidAuthIsAskedAboutPodsThatTheStreamDoesNotList(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		n.hears(t, listed(nil))
		if got := n.ask(t, raw); got.AccessKeyID != key(1) {
			t.Errorf("a pod that is newer than the stream is refused: %+v", got)
		}
		n.hears(t, listed(nil))
		if got := n.ask(t, raw); got.AccessKeyID != key(2) {
			t.Errorf("a pod that may have ended in between is served: %+v", got)
		}
	})
}

func TestPodsThatTheStreamListsAreKept(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.hears(t, listed(map[int]stream.Version{1: version("a", 7)}))
		n.ask(t, mint(t, workload(1)))
		pause(24 * time.Hour)
		if pods, tokens := n.Remembered(); pods != 1 || tokens != 0 {
			t.Errorf("%d pods and %d tokens are remembered", pods, tokens)
		}
		n.hears(t, listed(nil))
		pause(2 * time.Minute)
		if pods, _ := n.Remembered(); pods != 0 {
			t.Errorf("%d pods are remembered", pods)
		}
	})
}

func TestTokensAreVerifiedWithTheKeysOfTheStream(t *testing.T) {
	issuer()
	synctest.Test(t, func(t *testing.T) {
		n := newListener(t)
		raw := mint(t, workload(1))
		if got := n.ask(t, raw); got.Code != string(problem.AuthUnavailable) || got.Status != 503 {
			t.Errorf("got %+v", got)
		}
		go func() {
			time.Sleep(300 * time.Millisecond)
			n.hears(t, listed(nil))
		}()
		if got := n.ask(t, raw); got.AccessKeyID != key(1) {
			t.Errorf("a request that came before the stream was refused: %+v", got)
		}
		n.Close()
	})
}

func TestAWithdrawnKeyEvictsWhatItVerified(t *testing.T) {
	issuer()
	other, err := token.NewIssuer(issuerURL)
	if err != nil {
		t.Fatal(err)
	}
	jwks := func(issuers ...*token.Issuer) stream.Message {
		set := issuer().KeySet()
		set.Keys = nil
		for _, i := range issuers {
			set.Keys = append(set.Keys, i.KeySet().Keys...)
		}
		text, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		return stream.Message{Keys: text}
	}
	synctest.Test(t, func(t *testing.T) {
		n := newListener(t)
		n.hears(t, listed(nil), jwks(issuer(), other))
		old := mint(t, workload(1))
		recent, err := other.Mint(workload(2), "pods.eks.amazonaws.com", time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		n.ask(t, old)
		n.ask(t, recent)
		n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
			return agent.Reply{}, problem.New(problem.TokenKeyUnknown, "no such key")
		})
		n.hears(t, jwks(other))
		if got := n.ask(t, old); got.Code != string(problem.TokenKeyUnknown) {
			t.Errorf("got %+v", got)
		}
		if got := n.ask(t, recent); got.AccessKeyID != key(2) {
			t.Errorf("got %+v", got)
		}
		n.Close()
	})
}

func TestAnUnknownKeyIsAskedForOnce(t *testing.T) {
	issuer()
	other, err := token.NewIssuer(issuerURL)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		n := newListener(t)
		n.hears(t, listed(nil))
		raw, err := other.Mint(workload(1), "pods.eks.amazonaws.com", time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
			return agent.Reply{}, problem.New(problem.TokenKeyUnknown, "no such key")
		})
		for range 20 {
			if got := n.ask(t, raw); got.Code != string(problem.TokenKeyUnknown) || got.Status != 400 {
				t.Errorf("got %+v", got)
			}
		}
		if n.calls.Load() != 1 {
			t.Errorf("podid-auth was asked %d times", n.calls.Load())
		}
		pause(time.Minute)
		n.answers(func(_ context.Context, ask agent.Ask) (agent.Reply, error) {
			if n.calls.Load() == 2 { // it looks, finds the key, and tells all agents
				text, _ := json.Marshal(other.KeySet())
				n.hears(t, stream.Message{Keys: text})
			}
			return given(ask, 1), nil
		})
		if got := n.ask(t, raw); got.Status != 200 {
			t.Errorf("got %+v", got)
		}
		n.Close()
	})
}

func TestTokensOfOtherNodesAreRefusedWithoutACall(t *testing.T) {
	n := newNode(t)
	n.Node = "node-1"
	w := workload(1)
	w.Node = "node-2"
	if got := n.ask(t, mint(t, w)); got.Code != string(problem.NodeMismatch) || n.calls.Load() != 0 {
		t.Errorf("got %+v after %d calls", got, n.calls.Load())
	}
	for _, node := range []string{"node-1", ""} { // Kubernetes may leave it out
		w := workload(2)
		w.Node = node
		if got := n.ask(t, mint(t, w)); got.Status != 200 {
			t.Errorf("got %+v", got)
		}
	}
}

func TestWithoutNewsNothingIsServedForLongerThanTheStalenessAllowed(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.MaxStaleness = 10 * time.Minute
		raw := mint(t, workload(1))
		n.ask(t, raw)
		n.answers(unavailable)
		pause(9 * time.Minute)
		n.hears(t, stream.Message{Ping: 1})
		pause(9 * time.Minute)
		if got := n.ask(t, raw); got.AccessKeyID != key(1) {
			t.Errorf("got %+v", got)
		}
		pause(2 * time.Minute)
		if got := n.ask(t, raw); got.Code != string(problem.AuthUnavailable) {
			t.Errorf("got %+v", got)
		}
	})
}
