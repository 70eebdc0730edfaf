package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/internal/token"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const issuerURL = "https://kubernetes.default.svc"

// issuer is one for all: its key takes long to make.
var issuer = sync.OnceValue(func() *token.Issuer {
	i, err := token.NewIssuer(issuerURL)
	if err != nil {
		panic(err)
	}
	return i
})

func workload(n int) podid.Workload {
	return podid.Workload{
		Issuer: issuerURL, Namespace: "test-namespace", ServiceAccount: "test-sa", ServiceAccountUID: "sa-1",
		Pod: fmt.Sprint("reader-", n), PodUID: fmt.Sprintf("0f8fad5b-d9cb-469f-a165-%012d", n), Node: "node-1",
	}
}

func mint(t testing.TB, w podid.Workload) string {
	t.Helper()
	raw, err := issuer().Mint(w, podid.AudiencePods, time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// node is an agent whose podid-auth is a function.
type node struct {
	*agent.Server
	log      bytes.Buffer
	calls    atomic.Int32 // of exchange
	verified atomic.Int32 // signatures checked
	upstream atomic.Value // of exchangeFunc
}

// answers makes f podid-auth.
func (n *node) answers(f exchangeFunc) { n.upstream.Store(f) }

type exchangeFunc func(ctx context.Context, ask agent.Ask) (agent.Reply, error)

func (f exchangeFunc) Exchange(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
	return f(ctx, ask)
}

type tokensFunc func(ctx context.Context, raw string) (token.Token, error)

func (f tokensFunc) Verify(ctx context.Context, raw string) (token.Token, error) { return f(ctx, raw) }

// newNode makes an agent; the n-th call gives the n-th credentials, for an hour.
func newNode(t testing.TB) *node {
	n := &node{}
	verifier := &token.Verifier{Issuer: issuerURL, Audience: podid.AudiencePods, Keys: issuer().Keys}
	n.answers(n.works)
	n.Server = &agent.Server{
		Tokens: tokensFunc(func(ctx context.Context, raw string) (token.Token, error) {
			n.verified.Add(1)
			return verifier.Verify(ctx, raw)
		}),
		Exchange: exchangeFunc(func(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
			n.calls.Add(1)
			return n.upstream.Load().(exchangeFunc)(ctx, ask)
		}),
		Log: slog.New(slog.NewJSONHandler(&n.log, nil)),
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// works gives the credentials of the call it is.
func (n *node) works(_ context.Context, ask agent.Ask) (agent.Reply, error) {
	return given(ask, int(n.calls.Load())), nil
}

// given is an answer for the version that the agent has heard of.
func given(ask agent.Ask, n int) agent.Reply {
	return agent.Reply{Credentials: credentials(n), Association: ask.Association}
}

func credentials(n int) podid.Credentials {
	return podid.Credentials{
		AccessKeyID: fmt.Sprintf("ASIAEXAMPLE%09d", n), SecretAccessKey: "secret/of+the=session", SessionToken: "token-of-the-session",
		Expires: time.Now().Add(time.Hour), Account: "111122223333",
	}
}

// hears tells the agent what podid-auth's stream says.
func (n *node) hears(t testing.TB, messages ...stream.Message) {
	t.Helper()
	for _, m := range messages {
		if err := n.Hear(m); err != nil {
			t.Error(err)
		}
	}
}

// changed says that the association of the n-th workload's pod is another.
func changed(n int, uid string, revision uint64) stream.Message {
	return stream.Message{Pod: workload(n).PodUID, Association: &stream.Version{UID: uid, Revision: revision}}
}

func ended(n int) stream.Message { return stream.Message{PodEnded: workload(n).PodUID} }

// listed is a snapshot of pods with the versions of their associations.
func listed(pods map[int]stream.Version) stream.Message {
	keys, err := json.Marshal(issuer().KeySet())
	if err != nil {
		panic(err)
	}
	s := &stream.Snapshot{Cluster: "lab", Issuer: issuerURL, Keys: keys, Pods: map[string]stream.Pod{}}
	for n, version := range pods {
		s.Pods[workload(n).PodUID] = stream.Pod{Association: version}
	}
	return stream.Message{Snapshot: s}
}

// reply is what the SDK sees.
type reply struct {
	Status  int
	Header  http.Header
	Code    string
	Message string

	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	AccountID       string `json:"AccountId"`
	Expiration      string
}

func (n *node) ask(t testing.TB, raw string, changes ...func(*http.Request)) reply {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://169.254.170.23"+agent.Path, nil)
	r.Header.Set("Authorization", raw)
	for _, change := range changes {
		change(r)
	}
	recorder := httptest.NewRecorder()
	n.ServeHTTP(recorder, r)
	got := reply{Status: recorder.Code, Header: recorder.Header()}
	if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil && recorder.Body.Len() > 0 {
		t.Fatalf("%s: %v", recorder.Body, err)
	}
	return got
}

// key is the access key ID of the n-th call.
func key(n int) string { return fmt.Sprintf("ASIAEXAMPLE%09d", n) }
