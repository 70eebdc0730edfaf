package auth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association/memory"
	"github.com/openpodidentity/podid/internal/auth"
	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/internal/token"
)

const issuerURL = "https://kubernetes.default.svc"

var (
	cluster = podid.Cluster{Name: "lab", Region: "eu-central-1", Account: "111122223333"}

	reader = podid.Workload{
		Issuer: issuerURL, Namespace: "test-namespace", ServiceAccount: "test-sa", ServiceAccountUID: "sa-1",
		Pod: "reader", PodUID: "0f8fad5b-d9cb-469f-a165-70867728950e", Node: "node-1",
	}
	agentOn1 = podid.Workload{
		Issuer: issuerURL, Namespace: "podid-system", ServiceAccount: "podid-agent", ServiceAccountUID: "sa-2",
		Pod: "podid-agent-1", PodUID: "7c9e6679-7425-40de-944b-e07fc1f90ae7", Node: "node-1",
	}
	agentOn2 = podid.Workload{
		Issuer: issuerURL, Namespace: "podid-system", ServiceAccount: "podid-agent", ServiceAccountUID: "sa-2",
		Pod: "podid-agent-2", PodUID: "7c9e6679-7425-40de-944b-e07fc1f90ae8", Node: "node-2",
	}
)

// world is the exchange with everything real but the STS.
type world struct {
	issuer  *token.Issuer
	pods    map[string]token.Pod
	store   *memory.Store
	assume  rolesFunc
	handler *auth.Handler
	bearer  string // of the agent on node 1
	log     bytes.Buffer
}

type rolesFunc func(ctx context.Context, w podid.Workload, a podid.Association) (roles.Session, error)

func (f rolesFunc) Assume(ctx context.Context, w podid.Workload, a podid.Association) (roles.Session, error) {
	return f(ctx, w, a)
}

type podsFunc func(namespace, name string) (token.Pod, bool, error)

func (f podsFunc) Pod(_ context.Context, w podid.Workload) (token.Pod, bool, error) {
	return f(w.Namespace, w.Pod)
}

var expires = time.Now().Add(time.Hour).UTC().Truncate(time.Second)

func session(w podid.Workload, a podid.Association) roles.Session {
	return roles.Session{
		Credentials: podid.Credentials{
			AccessKeyID: "ASIAEXAMPLEEXAMPLE22", SecretAccessKey: "secret/of+the=session", SessionToken: "token-of-the-session",
			Expires: expires, Account: a.Role.Account(),
		},
		AssumedRole: podid.AssumedRole{
			ARN: "arn:aws:sts::" + a.Role.Account() + ":assumed-role/" + a.Role.Name() + "/" + podid.SessionName(cluster, w),
			ID:  "AROAEXAMPLEEXAMPLE33:" + podid.SessionName(cluster, w),
		},
		PackedSize: 37,
	}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	issuer, err := token.NewIssuer(issuerURL)
	if err != nil {
		t.Fatal(err)
	}
	store, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{issuer: issuer, store: store, pods: map[string]token.Pod{}}
	for _, p := range []podid.Workload{reader, agentOn1, agentOn2} {
		w.pods[p.Namespace+"/"+p.Pod] = token.Pod{
			Namespace: p.Namespace, Name: p.Pod, UID: p.PodUID,
			ServiceAccount: p.ServiceAccount, ServiceAccountUID: p.ServiceAccountUID, Node: p.Node,
		}
	}
	pods := podsFunc(func(namespace, name string) (token.Pod, bool, error) {
		p, ok := w.pods[namespace+"/"+name]
		return p, ok, nil
	})
	live := func(audience string) *token.Live {
		return &token.Live{Verifier: &token.Verifier{Issuer: issuerURL, Audience: audience, Keys: issuer.Keys}, Pods: pods}
	}
	w.bearer = "Bearer " + w.mint(t, agentOn1, podid.AudienceAuth)
	w.assume = func(_ context.Context, p podid.Workload, a podid.Association) (roles.Session, error) {
		return session(p, a), nil
	}
	w.handler = &auth.Handler{
		Service: &auth.Service{
			Cluster: cluster, Tokens: live(podid.AudiencePods), Associations: store,
			Roles: rolesFunc(func(ctx context.Context, p podid.Workload, a podid.Association) (roles.Session, error) {
				return w.assume(ctx, p, a)
			}),
		},
		Agents: live(podid.AudienceAuth), AgentSubject: agentOn1.Subject(),
		Log: slog.New(slog.NewJSONHandler(&w.log, nil)),
	}
	return w
}

func (w *world) associate(t testing.TB) podid.Association {
	t.Helper()
	a, err := w.store.Create(t.Context(), podid.Association{
		Namespace: reader.Namespace, ServiceAccount: reader.ServiceAccount, Role: "arn:aws:iam::111122223333:role/EKS-Pod-Identity-Role",
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *world) mint(t testing.TB, p podid.Workload, audience string) string {
	t.Helper()
	raw, err := w.issuer.Mint(p, audience, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// ask posts body as the agent of node 1 does, with changes to the request.
func (w *world) ask(t testing.TB, body string, changes ...func(*http.Request)) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/clusters/lab/assume-role-for-pod-identity", strings.NewReader(body))
	r.Header.Set("Authorization", w.bearer)
	for _, change := range changes {
		change(r)
	}
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, r)
	return recorder.Result()
}

func (w *world) body(t testing.TB) string {
	t.Helper()
	return tokenBody(w.mint(t, reader, podid.AudiencePods))
}

func tokenBody(raw string) string {
	b, _ := json.Marshal(map[string]string{"token": raw})
	return string(b)
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func path(p string) func(*http.Request) { return func(r *http.Request) { r.URL.Path = p } }

func decode(t testing.TB, r *http.Response) map[string]any {
	t.Helper()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}
