package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/association/memory"
	"github.com/openpodidentity/podid/internal/auth"
	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
)

var cluster = podid.Cluster{Name: "lab", Region: "eu-central-1", Account: "111122223333"}

type podsFunc func(namespace, name string) (token.Pod, bool, error)

func (f podsFunc) Pod(_ context.Context, w podid.Workload) (token.Pod, bool, error) {
	return f(w.Namespace, w.Pod)
}

type rolesFunc func(ctx context.Context, w podid.Workload, a podid.Association) (roles.Session, error)

func (f rolesFunc) Assume(ctx context.Context, w podid.Workload, a podid.Association) (roles.Session, error) {
	return f(ctx, w, a)
}

// lane is the whole way from an SDK to the STS, which is a function.
type lane struct {
	store  *memory.Store
	agent  *agent.Server
	assume rolesFunc
	mu     sync.Mutex // guards calls
	calls  int
	nodes  *auth.Nodes
	log    bytes.Buffer
	file   string // the pod's token
}

func newLane(t *testing.T) *lane {
	t.Helper()
	store, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	l := &lane{store: store, file: filepath.Join(t.TempDir(), "token")}
	l.assume = func(_ context.Context, w podid.Workload, a podid.Association) (roles.Session, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.calls++
		c := credentials(l.calls)
		return roles.Session{Credentials: c, AssumedRole: podid.AssumedRole{
			ARN: "arn:aws:sts::111122223333:assumed-role/" + a.Role.Name() + "/" + podid.SessionName(cluster, w), ID: "AROA:x",
		}}, nil
	}
	own := podid.Workload{
		Issuer: issuerURL, Namespace: "podid-system", ServiceAccount: "podid-agent", ServiceAccountUID: "sa-2",
		Pod: "podid-agent-1", PodUID: "7c9e6679-7425-40de-944b-e07fc1f90ae7", Node: "node-1",
	}
	pods := podsFunc(func(namespace, name string) (token.Pod, bool, error) {
		for _, w := range []podid.Workload{workload(1), own} {
			if w.Namespace == namespace && w.Pod == name {
				return token.Pod{Namespace: namespace, Name: name, UID: w.PodUID, ServiceAccount: w.ServiceAccount, ServiceAccountUID: w.ServiceAccountUID, Node: w.Node}, true, nil
			}
		}
		return token.Pod{}, false, nil
	})
	verifier := func(audience string) *token.Verifier {
		return &token.Verifier{Issuer: issuerURL, Audience: audience, Keys: issuer().Keys}
	}
	l.nodes = &auth.Nodes{
		Cluster: cluster.Name, Issuer: issuerURL, Heard: store.Heard,
		JWKS: func() json.RawMessage { return listed(nil).Snapshot.Keys },
	}
	store.OnChange = l.nodes.Associated
	authServer := httptest.NewUnstartedServer(&auth.Handler{
		Nodes: l.nodes,
		Service: &auth.Service{
			Cluster: cluster, Tokens: &token.Live{Verifier: verifier(podid.AudiencePods), Pods: pods}, Associations: store,
			Roles: rolesFunc(func(ctx context.Context, w podid.Workload, a podid.Association) (roles.Session, error) {
				return l.assume(ctx, w, a)
			}),
		},
		Agents: &token.Live{Verifier: verifier(podid.AudienceAuth), Pods: pods}, AgentSubject: own.Subject(),
	})
	authServer.EnableHTTP2 = true
	authServer.StartTLS()
	t.Cleanup(authServer.Close)
	client := &agent.AuthClient{
		Endpoint: authServer.URL, HTTP: authServer.Client(),
		Token: func() (string, error) { return issuer().Mint(own, podid.AudienceAuth, time.Now(), time.Hour) },
	}
	l.agent = &agent.Server{
		Exchange: client,
		Timeout:  10 * time.Second, // this test is not about time
		Limits:   agent.Limits{Refusal: -1},
		Log:      slog.New(slog.NewJSONHandler(&l.log, nil)),
	}
	t.Cleanup(func() { l.agent.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		l.agent.Follow(ctx, client)
	}()
	t.Cleanup(func() {
		cancel()
		<-followed
	})
	agentServer := httptest.NewServer(l.agent)
	t.Cleanup(agentServer.Close)

	l.write(t, mint(t, workload(1)))
	for _, name := range os.Environ() {
		if name, _, _ := strings.Cut(name, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, v := range injection.Variables(cluster.Region, agentServer.URL+agent.Path, l.file) {
		t.Setenv(v.Name, v.Value)
	}
	return l
}

func (l *lane) write(t *testing.T, raw string) {
	t.Helper()
	if err := os.WriteFile(l.file, []byte(raw), 0o600); err != nil {
		t.Fatal(err)
	}
}

// assumed is how many roles were.
func (l *lane) assumed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

// retrieve asks as an application does that knows nothing of podid.
func retrieve(t *testing.T) (aws.Credentials, error) {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c, err := config.LoadDefaultConfig(t.Context(), config.WithHTTPClient(&http.Client{Transport: transport}), config.WithRetryMaxAttempts(1))
	if err != nil {
		t.Fatal(err)
	}
	return c.Credentials.Retrieve(t.Context())
}

func TestAnUnmodifiedSDKGetsItsRole(t *testing.T) {
	l := newLane(t)
	_, err := l.store.Create(t.Context(), podid.Association{
		Namespace: workload(1).Namespace, ServiceAccount: workload(1).ServiceAccount, Role: "arn:aws:iam::111122223333:role/R",
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := retrieve(t)
	if err != nil {
		t.Fatal(err)
	}
	if got.AccessKeyID != key(1) || got.SecretAccessKey != "secret/of+the=session" || got.SessionToken != "token-of-the-session" ||
		got.AccountID != "111122223333" || !got.CanExpire || time.Until(got.Expires) < 50*time.Minute {
		t.Errorf("got %+v", got)
	}
	l.write(t, mint(t, workload(1))) // the kubelet rotates it
	if got, err = retrieve(t); err != nil || got.AccessKeyID != key(1) || l.assumed() != 1 {
		t.Errorf("got %s, %v after %d calls", got.AccessKeyID, err, l.assumed())
	}
}

func TestTheApplicationsOwnErrorSaysWhyAndHowToMendIt(t *testing.T) {
	l := newLane(t)
	_, err := retrieve(t)
	want := problem.Lookup(problem.AssociationMissing)
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != string(problem.AssociationMissing) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"test-namespace", "test-sa", want.Why[1:], "aws eks create-pod-identity-association"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}

	_, err = l.store.Create(t.Context(), podid.Association{
		Namespace: workload(1).Namespace, ServiceAccount: workload(1).ServiceAccount, Role: "arn:aws:iam::111122223333:role/R",
	})
	if err != nil {
		t.Fatal(err)
	}
	l.assume = func(context.Context, podid.Workload, podid.Association) (roles.Session, error) {
		return roles.Session{}, fmt.Errorf("assume: %w", problem.New(problem.TrustTagSession, "the role R lacks it").Fixed("add it"))
	}
	if _, err = retrieve(t); err == nil || !strings.Contains(err.Error(), "he role R lacks it.") || !strings.Contains(err.Error(), "Fix: add it.") {
		t.Errorf("got %v", err)
	}

	l.write(t, mint(t, workload(2)))
	if _, err = retrieve(t); err == nil || !strings.Contains(err.Error(), "pod-gone") {
		t.Errorf("got %v", err)
	}
	if log := l.log.String(); strings.Count(log, "\n") != 3 || strings.Contains(log, "eyJ") {
		t.Errorf("log is %s", log)
	}
}

// What changes in the cluster takes effect on the node within five seconds; here, at once.
func TestTheStreamOfPodidAuthTakesEffectOnTheNode(t *testing.T) {
	l := newLane(t)
	w := workload(1)
	l.nodes.Pod(token.Pod{Namespace: w.Namespace, Name: w.Pod, UID: w.PodUID, ServiceAccount: w.ServiceAccount, Node: w.Node})
	first, err := l.store.Create(t.Context(), podid.Association{
		Namespace: w.Namespace, ServiceAccount: w.ServiceAccount, Role: "arn:aws:iam::111122223333:role/R",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := retrieve(t); err != nil || got.AccessKeyID != key(1) {
		t.Fatalf("got %+v, %v", got, err)
	}
	until := func(what string, is func(aws.Credentials, error) bool) {
		t.Helper()
		start := time.Now()
		for {
			got, err := retrieve(t)
			if is(got, err) {
				t.Logf("%s: %s", what, time.Since(start))
				return
			}
			if time.Since(start) > 5*time.Second {
				t.Fatalf("%s: %+v, %v", what, got, err)
			}
		}
	}
	refused := func(code problem.Code) func(aws.Credentials, error) bool {
		return func(_ aws.Credentials, err error) bool {
			return err != nil && strings.Contains(err.Error(), string(code))
		}
	}
	if _, err := l.store.Update(t.Context(), first.ID(), func(a *podid.Association) error {
		a.Role = "arn:aws:iam::111122223333:role/S"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	until("another role", func(got aws.Credentials, err error) bool { return err == nil && got.AccessKeyID == key(2) })
	if _, err := l.store.Delete(t.Context(), first.ID()); err != nil {
		t.Fatal(err)
	}
	until("no role", refused(problem.AssociationMissing))
	if _, err := l.store.Create(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	until("a role again", func(got aws.Credentials, err error) bool { return err == nil && got.AccessKeyID == key(3) })
	l.nodes.Gone(w.PodUID)
	until("no pod", refused(problem.PodGone))
	if assumed := l.assumed(); assumed != 3 {
		t.Errorf("%d roles were assumed", assumed)
	}
}
