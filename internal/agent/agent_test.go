package agent_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"

	"github.com/google/go-cmp/cmp"
)

func TestTheAnswerIsWhatSDKsRead(t *testing.T) {
	n := newNode(t)
	got := n.ask(t, mint(t, workload(1)))
	if got.Status != 200 || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Content-Length") == "" {
		t.Errorf("got %d, %v", got.Status, got.Header)
	}
	expires, err := time.Parse("2006-01-02T15:04:05Z", got.Expiration)
	if err != nil || time.Until(expires) < 50*time.Minute {
		t.Errorf("expiration %q", got.Expiration)
	}
	got.Header, got.Expiration = nil, ""
	want := reply{Status: 200, AccessKeyID: key(1), SecretAccessKey: "secret/of+the=session", Token: "token-of-the-session", AccountID: "111122223333"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestErrorsAreWhatSDKsPrint(t *testing.T) {
	n := newNode(t)
	good := mint(t, workload(1))
	n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
		return agent.Reply{}, problem.New(problem.AssociationMissing, "no association for test-namespace/test-sa")
	})
	post := func(method string) func(*http.Request) { return func(r *http.Request) { r.Method = method } }
	at := func(path string) func(*http.Request) { return func(r *http.Request) { r.URL.Path = path } }
	for _, c := range []struct {
		name   string
		raw    string
		change func(*http.Request)
		status int
		code   problem.Code
		says   string
	}{
		{"a refusal of podid-auth", good, nil, 403, problem.AssociationMissing, "o association for test-namespace/test-sa. "},
		{"no token", "", nil, 400, problem.TokenMissing, ""},
		{"no header", "", func(r *http.Request) { r.Header.Del("Authorization") }, 400, problem.TokenMissing, ""},
		{"two headers", good, func(r *http.Request) { r.Header.Add("Authorization", good) }, 400, problem.TokenMalformed, "2 Authorization headers"},
		{"too long", strings.Repeat("a", token.MaxSize+1), nil, 400, problem.TokenMalformed, "longer"},
		{"a scheme", "Bearer " + good, nil, 400, problem.TokenMalformed, ""},
		{"forged", good[:len(good)-6] + "AAAAAA", nil, 400, problem.TokenForged, ""},
		{"post", good, post(http.MethodPost), 405, problem.RequestInvalid, "GET"},
		{"put", good, post(http.MethodPut), 405, problem.RequestInvalid, "GET"},
		{"head", good, post(http.MethodHead), 405, problem.RequestInvalid, "GET"},
		{"another path", good, at("/"), 404, problem.RequestInvalid, "/v1/credentials"},
		{"a longer path", good, at("/v1/credentials/"), 404, problem.RequestInvalid, ""},
		{"the instance metadata path", good, at("/latest/meta-data/"), 404, problem.RequestInvalid, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change == nil {
				c.change = func(*http.Request) {}
			}
			got := n.ask(t, c.raw, c.change)
			if got.Status != c.status || got.Code != string(c.code) || !strings.Contains(got.Message, c.says) || !strings.Contains(got.Message, "Fix: ") {
				t.Errorf("got %+v", got)
			}
			if got.Header.Get("Content-Type") != "application/json" {
				t.Errorf("content type %q", got.Header.Get("Content-Type"))
			}
		})
	}
	for _, line := range strings.Split(n.log.String(), "\n") {
		if strings.Contains(line, "eyJ") {
			t.Errorf("a token is logged: %s", line)
		}
	}
}

func TestTransientErrorsSayWhenToComeBack(t *testing.T) {
	n := newNode(t)
	n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
		return agent.Reply{}, problem.New(problem.STSThrottled, "STS is throttling")
	})
	if got := n.ask(t, mint(t, workload(1))); got.Status != 429 || got.Header.Get("Retry-After") == "" {
		t.Errorf("got %+v", got)
	}
}

func TestWhatIsInsideStaysInside(t *testing.T) {
	n := newNode(t)
	n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
		return agent.Reply{}, errors.New("nil map in secret/place")
	})
	got := n.ask(t, mint(t, workload(1)))
	if got.Status != 500 || got.Code != "internal" || strings.Contains(got.Message, "secret/place") {
		t.Errorf("got %+v", got)
	}
	if !strings.Contains(n.log.String(), "secret/place") {
		t.Errorf("the log does not tell: %s", n.log.String())
	}
}

func TestARepeatedTokenCostsNoSignatureCheckAndNoLogLine(t *testing.T) {
	n := newNode(t)
	raw := mint(t, workload(1))
	for range 5 {
		if got := n.ask(t, raw); got.AccessKeyID != key(1) {
			t.Errorf("got %+v", got)
		}
	}
	if n.verified.Load() != 1 || n.calls.Load() != 1 {
		t.Errorf("%d checks, %d calls", n.verified.Load(), n.calls.Load())
	}
	if log := n.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, workload(1).PodUID) ||
		!strings.Contains(log, key(1)) || strings.Contains(log, "secret/of") || strings.Contains(log, "token-of-the-session") {
		t.Errorf("log is %s", log)
	}
}

func TestRotatedTokenOfTheSamePodIsAHit(t *testing.T) {
	n := newNode(t)
	for range 10 { // more than are remembered
		if got := n.ask(t, mint(t, workload(1))); got.AccessKeyID != key(1) {
			t.Errorf("got %+v", got)
		}
	}
	if n.verified.Load() != 10 || n.calls.Load() != 1 {
		t.Errorf("%d checks, %d calls", n.verified.Load(), n.calls.Load())
	}
	if pods, tokens := n.Remembered(); pods != 1 || tokens != 4 {
		t.Errorf("%d pods and %d tokens are remembered", pods, tokens)
	}
}

func TestCredentialsEndByTheClockThoughNoTimerFires(t *testing.T) {
	n := newNode(t)
	raw := mint(t, workload(1))
	var ahead atomic.Int64
	n.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	n.ask(t, raw)
	ahead.Store(int64(time.Hour - 500*time.Millisecond))
	n.answers(unavailable)
	if got := n.ask(t, raw); got.Code != string(problem.AuthUnavailable) {
		t.Errorf("got %+v", got)
	}
}

func TestEveryFactOfAWorkloadTellsItFromOthers(t *testing.T) {
	n := newNode(t)
	ws := []podid.Workload{workload(1), workload(2)}
	for _, change := range []func(*podid.Workload){
		func(w *podid.Workload) { w.ServiceAccountUID = "sa-2" },
		func(w *podid.Workload) { w.Node = "node-2" },
		func(w *podid.Workload) { w.Namespace = "other" },
		func(w *podid.Workload) { w.ServiceAccount = "other" },
		func(w *podid.Workload) { w.Pod = "other" },
	} {
		w := workload(1)
		change(&w)
		ws = append(ws, w)
	}
	for i, w := range ws {
		if got := n.ask(t, mint(t, w)); got.AccessKeyID != key(i+1) {
			t.Errorf("%+v got the credentials of another: %+v", w, got)
		}
	}
}

func TestAForgedTokenFindsNothingInTheCache(t *testing.T) {
	n := newNode(t)
	raw := mint(t, workload(1))
	n.ask(t, raw)
	parts := strings.Split(raw, ".")
	for _, forged := range []string{raw + "A", parts[0] + "." + parts[1] + ".", raw[:len(raw)-10]} {
		if got := n.ask(t, forged); got.Status != 400 || got.AccessKeyID != "" {
			t.Errorf("got %+v", got)
		}
	}
}

// Whoever asks after a change was told to the agent never gets what was before it,
// whatever was under way meanwhile.
func TestNothingOfBeforeAChangeIsServedAfterIt(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) { // a busy machine lets no call time out
		n.Log = nil
		n.Limits.Rate, n.Limits.Burst = 1_000_000, 1_000_000
		var is, told atomic.Int64 // the association's version, and the last one the agent heard of
		n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
			version := is.Load()
			runtime.Gosched()
			return agent.Reply{Credentials: credentials(int(version)), Association: stream.Version{UID: "a", Revision: uint64(version)}}, nil
		})
		var readers sync.WaitGroup
		for range 4 {
			tokens := []string{mint(t, workload(1)), mint(t, workload(1)), mint(t, workload(2))}
			readers.Go(func() {
				for i := 0; told.Load() < 300; i++ {
					least := told.Load()
					got := n.ask(t, tokens[i%len(tokens)])
					if got.Code == string(problem.ReplicaBehind) {
						continue // changed three times while it was asked for
					}
					if got.Status != 200 || got.AccessKeyID < key(int(least)) {
						t.Errorf("after change %d: %+v", least, got)
						return
					}
				}
			})
		}
		for i := range int64(300) {
			is.Store(i + 1)
			n.hears(t, changed(1, "a", uint64(i+1)), changed(2, "a", uint64(i+1)))
			told.Store(i + 1)
			runtime.Gosched()
		}
		readers.Wait()
	})
}

func TestTheCacheIsBounded(t *testing.T) {
	n := newNode(t)
	n.Log = nil
	n.Limits.Pods = 200
	n.Tokens = tokensFunc(func(_ context.Context, raw string) (token.Token, error) {
		w := workload(1)
		w.PodUID = raw
		return token.Token{Workload: w, Expires: time.Now().Add(time.Hour)}, nil
	})
	for i := range 500 {
		if got := n.ask(t, workload(i).PodUID); got.Status != 200 {
			t.Fatalf("got %+v", got)
		}
		n.hears(t, changed(1000+i, "a", 1))
	}
	if pods, tokens := n.Remembered(); pods != 200 || tokens > 200 {
		t.Errorf("%d pods, %d tokens", pods, tokens)
	}
}

func TestAStoppedAgentSaysSo(t *testing.T) {
	n := newNode(t)
	raw := mint(t, workload(1))
	n.Close()
	if got := n.ask(t, raw); got.Code != string(problem.AuthUnavailable) || got.Status != 503 {
		t.Errorf("got %+v", got)
	}
}

func TestEveryCodeHasAStatusOfItsKind(t *testing.T) {
	if diff := cmp.Diff(problem.Codes(), slices.Sorted(maps.Keys(agent.Statuses))); diff != "" {
		t.Error(diff)
	}
	for code, status := range agent.Statuses {
		ok := false
		switch problem.Lookup(code).Kind {
		case problem.Refused:
			// 404: the SDK for Java puts a text of its own in place of ours.
			ok = status >= 400 && status < 500 && status != 429 && status != 404
		case problem.Transient:
			ok = status == 429 || status == 503
		case problem.Broken:
			ok = status == 500
		}
		if !ok {
			t.Errorf("%s is answered with %d", code, status)
		}
	}
}
