package sandbox_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/sandbox"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

func TestAPodsTokenIsNoAgentsToken(t *testing.T) {
	w := start(t, sandbox.Config{})
	bind(t, w)
	proof := token(t, w, run(t, w, "cart-0"))
	agents, err := w.Pods.Token(run(t, w, "cart-1").UID, podid.AudienceAuth, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		bearer, raw string
	}{
		"a pod's token as the agent's":                       {proof, proof},
		"a token of the agent's audience of another account": {agents, proof},
		"no token at all":                                    {"", proof},
	} {
		r := exchangeRequest(t, w, c.raw)
		r.Header.Set("Authorization", "Bearer "+c.bearer)
		if status, code := exchange(t, r); status != http.StatusBadRequest || code != string(problem.CallerUnproven) {
			t.Errorf("%s: %d %s", name, status, code)
		}
	}
	if got := ask(t, w, agents); got.Code != string(problem.TokenAudience) {
		t.Errorf("the agent answers a token for podid-auth with %+v", got)
	}
}

func TestATokenDiesWithItsPodThoughAnotherTakesTheName(t *testing.T) {
	w := start(t, sandbox.Config{})
	bind(t, w)
	first := run(t, w, "cart-0")
	old := token(t, w, first)
	before := ask(t, w, old)
	if err := w.Pods.End(first.UID); err != nil {
		t.Fatal(err)
	}
	second := token(t, w, run(t, w, "cart-0"))
	if got := ask(t, w, second); got.AccessKeyID == "" || got.AccessKeyID == before.AccessKeyID {
		t.Errorf("the new pod got %+v", got)
	}
	if got := ask(t, w, old); got.Code != string(problem.PodGone) {
		t.Errorf("the old pod's token got %+v", got)
	}
}

// With signed callers admitted, a pod that got hold of another's token must not
// pass node scope by signing with its own session.
func TestAPodIsNoSignedAgent(t *testing.T) {
	w := start(t, sandbox.Config{AllowSigV4Agents: true})
	bind(t, w)
	thief, victim := token(t, w, run(t, w, "cart-0")), token(t, w, run(t, w, "cart-1"))
	session := ask(t, w, thief)
	admin := w.AWS.Admin()
	for name, c := range map[string]struct {
		key    aws.Credentials
		status int
		code   string
	}{
		"an administrator": {aws.Credentials{AccessKeyID: admin.AccessKeyID, SecretAccessKey: admin.SecretAccessKey}, http.StatusOK, ""},
		"a pod": {aws.Credentials{AccessKeyID: session.AccessKeyID, SecretAccessKey: session.SecretAccessKey, SessionToken: session.Token},
			http.StatusBadRequest, string(problem.PermissionDenied)},
	} {
		r := exchangeRequest(t, w, victim)
		body := sha256.Sum256([]byte(requestBody(victim)))
		if err := v4.NewSigner().SignHTTP(t.Context(), c.key, r, hex.EncodeToString(body[:]), "eks-auth", w.Cluster.Region, time.Now()); err != nil {
			t.Fatal(err)
		}
		if status, code := exchange(t, r); status != c.status || code != c.code {
			t.Errorf("%s: %d %q", name, status, code)
		}
	}
}

func requestBody(raw string) string { return `{"token":"` + raw + `"}` }

func exchangeRequest(t *testing.T, w *sandbox.World, raw string) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.Endpoint+"/clusters/local/assume-role-for-pod-identity", strings.NewReader(requestBody(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func exchange(t *testing.T, r *http.Request) (status int, code string) {
	t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var told struct {
		Code string `json:"code"`
	}
	if err := json.Unmarshal(body, &told); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return response.StatusCode, told.Code
}

func TestAPanicIsToldInTheLog(t *testing.T) {
	var log strings.Builder
	w := start(t, sandbox.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/some/path", nil)
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("the connection is not cut")
		}
		if !strings.Contains(log.String(), "index out of range") || !strings.Contains(log.String(), "path=/some/path") {
			t.Errorf("the log holds %q", log.String())
		}
	}()
	w.TellPanics(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		var none []int
		_ = none[len(none)]
	})).ServeHTTP(httptest.NewRecorder(), r)
}
