package auth_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/auth"
	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"

	"github.com/google/go-cmp/cmp"
)

func TestTheReplyIsThatOfEKSAuth(t *testing.T) {
	w := newWorld(t)
	a := w.associate(t)
	r := w.ask(t, w.body(t), header("X-Request-Id", "abc-1"))
	if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("status %d, type %q", r.StatusCode, r.Header.Get("Content-Type"))
	}
	want := map[string]any{
		"subject":  map[string]any{"namespace": "test-namespace", "serviceAccount": "test-sa"},
		"audience": "pods.eks.amazonaws.com",
		"podIdentityAssociation": map[string]any{
			"associationArn": "arn:aws:eks:eu-central-1:111122223333:podidentityassociation/lab/" + a.ID(), "associationId": a.ID(),
		},
		"assumedRoleUser": map[string]any{
			"arn":          "arn:aws:sts::111122223333:assumed-role/EKS-Pod-Identity-Role/eks-lab-reader-" + reader.PodUID,
			"assumeRoleId": "AROAEXAMPLEEXAMPLE33:eks-lab-reader-" + reader.PodUID,
		},
		"credentials": map[string]any{
			"sessionToken": "token-of-the-session", "secretAccessKey": "secret/of+the=session",
			"accessKeyId": "ASIAEXAMPLEEXAMPLE22", "expiration": float64(expires.Unix()),
		},
		"sourceVersion": a.Version,
	}
	if diff := cmp.Diff(want, decode(t, r)); diff != "" {
		t.Error(diff)
	}
	if got := r.Header.Get("X-Podid-Association"); got != a.UID+"/"+a.Version {
		t.Errorf("X-Podid-Association is %q", got)
	}
	if got := r.Header.Get("X-Request-Id"); got != "abc-1" {
		t.Errorf("X-Request-Id is %q", got)
	}
}

func TestFieldsOfNewerCallersAreAccepted(t *testing.T) {
	w := newWorld(t)
	w.associate(t)
	body := strings.TrimSuffix(w.body(t), "}") + `,"eksNodeName":"n","instanceId":"i-1","zone":"z","future":{"a":[1]}}`
	if r := w.ask(t, body); r.StatusCode != http.StatusOK {
		t.Errorf("got %v", decode(t, r))
	}
}

func TestEachRefusalNamesItself(t *testing.T) {
	for _, c := range []struct {
		name      string
		prepare   func(*testing.T, *world)
		body      string // the reader's token if empty
		change    func(*http.Request)
		code      problem.Code
		exception string
		status    int
		says      string
	}{
		{name: "no association", code: problem.AssociationMissing, exception: "ResourceNotFoundException", status: 404,
			says: "aws eks create-pod-identity-association --cluster-name lab --namespace test-namespace --service-account test-sa --role-arn ARN"},
		{name: "empty token", body: `{"token":""}`, code: problem.TokenMissing, exception: "InvalidTokenException", status: 400},
		{name: "no token", body: `{}`, code: problem.TokenMissing, exception: "InvalidTokenException", status: 400},
		{name: "token of the wrong type", body: `{"token":7}`, code: problem.RequestInvalid, exception: "InvalidParameterException", status: 400, says: "field token"},
		{name: "node name of the wrong type", body: `{"token":"a.b.c","eksNodeName":[]}`, code: problem.RequestInvalid, exception: "InvalidParameterException", status: 400, says: "eksNodeName"},
		{name: "no JSON", body: `token=x`, code: problem.RequestInvalid, exception: "InvalidParameterException", status: 400},
		{name: "JSON and more", body: `{"token":"a.b.c"} {}`, code: problem.RequestInvalid, exception: "InvalidParameterException", status: 400},
		{name: "an array", body: `[]`, code: problem.RequestInvalid, exception: "InvalidParameterException", status: 400},
		{name: "too large", body: `{"token":"` + strings.Repeat("a", auth.MaxBody) + `"}`, code: problem.RequestInvalid, exception: "InvalidParameterException", status: 400, says: "32768"},
		{name: "forged", body: tokenBody("a.b.c"), code: problem.TokenMalformed, exception: "InvalidTokenException", status: 400},
		{name: "another cluster", change: path("/clusters/other/assume-role-for-pod-identity"), code: problem.ClusterUnknown, exception: "ResourceNotFoundException", status: 404, says: "other"},
		{name: "pod gone", prepare: func(_ *testing.T, w *world) { delete(w.pods, "test-namespace/reader") },
			code: problem.PodGone, exception: "InvalidTokenException", status: 400},
		{name: "pod of another node", prepare: func(_ *testing.T, w *world) { w.move("test-namespace/reader", "node-2") },
			code: problem.NodeMismatch, exception: "AccessDeniedException", status: 400},
		{name: "pod of no node", prepare: func(_ *testing.T, w *world) { w.move("test-namespace/reader", "") },
			code: problem.NodeMismatch, exception: "AccessDeniedException", status: 400, says: "not scheduled yet"},
		{name: "the role refuses", prepare: failing(problem.New(problem.TrustTagSession, "the role R lacks it")),
			code: problem.TrustTagSession, exception: "AccessDeniedException", status: 400, says: "he role R lacks it. "},
		{name: "STS throttles", prepare: failing(problem.New(problem.STSThrottled, "STS is throttling")),
			code: problem.STSThrottled, exception: "ThrottlingException", status: 429},
		{name: "STS is away", prepare: failing(problem.New(problem.STSUnavailable, "STS is away")),
			code: problem.STSUnavailable, exception: "ServiceUnavailableException", status: 503},
		{name: "a fault inside", prepare: failing(errors.New("nil map in secret/place")),
			code: problem.Internal, exception: "InternalServerException", status: 500},

		{name: "no Authorization", change: func(r *http.Request) { r.Header.Del("Authorization") }, code: problem.CallerUnproven, exception: "AccessDeniedException", status: 400},
		{name: "two Authorizations", change: func(r *http.Request) { r.Header.Add("Authorization", "Bearer x") }, code: problem.CallerUnproven, exception: "AccessDeniedException", status: 400},
		{name: "basic authentication", change: header("Authorization", "Basic YTpi"), code: problem.CallerUnproven, exception: "AccessDeniedException", status: 400},
		{name: "bearer of nothing", change: header("Authorization", "Bearer"), code: problem.CallerUnproven, exception: "AccessDeniedException", status: 400, says: "token-missing"},
		{name: "signed", change: header("Authorization", "AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu-central-1/eks-auth/aws4_request, SignedHeaders=host, Signature=00"),
			code: problem.SigV4AgentsOff, exception: "AccessDeniedException", status: 400, says: "--allow-sigv4-agents"},
		{name: "agent's pod gone", prepare: func(_ *testing.T, w *world) { delete(w.pods, "podid-system/podid-agent-1") },
			code: problem.CallerUnproven, exception: "AccessDeniedException", status: 400, says: "pod-gone"},
		{name: "agent's pod on no node", prepare: func(_ *testing.T, w *world) { w.move("podid-system/podid-agent-1", "") },
			code: problem.CallerUnproven, exception: "AccessDeniedException", status: 400, says: "no node"},
		{name: "no agents admitted", prepare: func(_ *testing.T, w *world) { w.handler.AgentSubject = "" },
			code: problem.CallerUnproven, exception: "AccessDeniedException", status: 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if c.code != problem.AssociationMissing {
				w.associate(t)
			}
			if c.prepare != nil {
				c.prepare(t, w)
			}
			if c.body == "" {
				c.body = w.body(t)
			}
			if c.change == nil {
				c.change = func(*http.Request) {}
			}
			r := w.ask(t, c.body, c.change)
			got := decode(t, r)
			if got["code"] != string(c.code) || r.StatusCode != c.status || r.Header.Get("X-Amzn-Errortype") != c.exception {
				t.Errorf("got %d %s %v", r.StatusCode, r.Header.Get("X-Amzn-Errortype"), got)
			}
			message, _ := got["message"].(string)
			if !strings.Contains(message, c.says) || got["what"] == "" || got["why"] == "" || got["fix"] == "" {
				t.Errorf("got %v", got)
			}
			if strings.Contains(message, "secret/place") {
				t.Error("the message tells what is inside")
			}
			if log := w.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, `"code":"`+string(c.code)+`"`) {
				t.Errorf("log is %s", log)
			}
		})
	}
}

func (w *world) move(pod, node string) {
	p := w.pods[pod]
	p.Node = node
	w.pods[pod] = p
}

func failing(err error) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) {
		w.assume = func(context.Context, podid.Workload, podid.Association) (roles.Session, error) {
			return roles.Session{}, err
		}
	}
}

func TestOnlyTheAgentsServiceAccountIsAnAgent(t *testing.T) {
	w := newWorld(t)
	w.associate(t)
	// A pod that got hold of a token with the agents' audience, as whoever may
	// create tokens can. The cluster is not asked about that pod: it may be gone, and
	// then each such token would be a question to the API server.
	pods := w.handler.Agents.Pods
	w.handler.Agents.Pods = podsFunc(func(namespace, name string) (token.Pod, bool, error) {
		t.Errorf("%s/%s is looked up", namespace, name)
		return token.Pod{}, false, nil
	})
	r := w.ask(t, w.body(t), header("Authorization", "Bearer "+w.mint(t, reader, podid.AudienceAuth)))
	if got := decode(t, r); got["code"] != string(problem.CallerUnproven) {
		t.Errorf("got %v", got)
	}
	w.handler.Agents.Pods = pods
	// The agent's token for another audience is none of podid-auth's.
	r = w.ask(t, w.body(t), header("Authorization", "Bearer "+w.mint(t, agentOn1, podid.AudiencePods)))
	if got := decode(t, r); got["code"] != string(problem.CallerUnproven) || !strings.Contains(got["message"].(string), "token-audience") {
		t.Errorf("got %v", got)
	}
}

func TestTheAgentsNodeIsThatOfItsLivePod(t *testing.T) {
	w := newWorld(t)
	w.associate(t)
	claimed := agentOn2
	claimed.Node = "node-1" // a claim; the pod runs on node-2
	r := w.ask(t, w.body(t), header("Authorization", "Bearer "+w.mint(t, claimed, podid.AudienceAuth)))
	if got := decode(t, r); got["code"] != string(problem.NodeMismatch) {
		t.Errorf("got %v", got)
	}
}

func TestUnknownPlacesAnswerInJSON(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		change func(*http.Request)
		status int
	}{
		{path("/"), 404},
		{path("/clusters/lab"), 404},
		{path("/clusters//assume-role-for-pod-identity"), 404},
		{path("/clusters/a/b/assume-role-for-pod-identity"), 404},
		{path("/clusters/lab/assume-role-for-pod-identity/"), 404},
		{func(r *http.Request) { r.Method = http.MethodGet }, 405},
		{func(r *http.Request) { r.Method = http.MethodPut }, 405},
	} {
		r := w.ask(t, "{}", c.change)
		if got := decode(t, r); r.StatusCode != c.status || got["message"] == "" || r.Header.Get("X-Amzn-Errortype") == "" {
			t.Errorf("got %d %v", r.StatusCode, got)
		}
	}
}

func TestAFailedExchangeTellsTheStepsThatSucceeded(t *testing.T) {
	w := newWorld(t)
	a := w.associate(t)
	failing(problem.New(problem.TrustDenied, "no"))(t, w)
	g, err := w.handler.Service.Exchange(t.Context(), auth.Caller{Node: "node-1"}, w.mint(t, reader, podid.AudiencePods))
	if !problem.Is(err, problem.TrustDenied) || g.Token.Workload != reader || g.Association.UID != a.UID || g.Session != (roles.Session{}) {
		t.Errorf("got %+v, %v", g, err)
	}
	g, err = w.handler.Service.Exchange(t.Context(), auth.Caller{Node: "node-2"}, w.mint(t, reader, podid.AudiencePods))
	if !problem.Is(err, problem.NodeMismatch) || g.Token.Workload != reader || g.Association.UID != "" {
		t.Errorf("got %+v, %v", g, err)
	}
	g, err = w.handler.Service.Exchange(t.Context(), auth.Caller{Node: "node-1"}, "x")
	if !problem.Is(err, problem.TokenMalformed) || g == nil || g.Token != (token.Token{}) {
		t.Errorf("got %+v, %v", g, err)
	}
}

func TestACallerThatProvedNothingGetsNothing(t *testing.T) {
	w := newWorld(t)
	w.associate(t)
	w.move("test-namespace/reader", "")
	if _, err := w.handler.Service.Exchange(t.Context(), auth.Caller{}, w.mint(t, reader, podid.AudiencePods)); !problem.Is(err, problem.NodeMismatch) {
		t.Errorf("got %v", err)
	}
}

func TestOneLineARequestAndNoSecretInIt(t *testing.T) {
	w := newWorld(t)
	a := w.associate(t)
	body := w.body(t)
	w.ask(t, body)
	log := w.log.String()
	if strings.Count(log, "\n") != 1 {
		t.Errorf("log is %s", log)
	}
	for _, want := range []string{a.ID(), string(a.Role), "ASIAEXAMPLEEXAMPLE22", `"packed_size":37`, reader.PodUID, `"caller_node":"node-1"`, "took", "request"} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %s: %s", want, log)
		}
	}
	for _, secret := range []string{"secret/of", "token-of-the-session", body[10:60], "eyJ"} {
		if strings.Contains(log, secret) {
			t.Errorf("log holds %s: %s", secret, log)
		}
	}
}

func TestRequestIDsFitForALogAreKept(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"", strings.Repeat("a", 65), "a\"b", "a b", "ü"} {
		if got := w.ask(t, "{}", header("X-Request-Id", id)).Header.Get("X-Request-Id"); got == id || len(got) != 36 {
			t.Errorf("%q became %q", id, got)
		}
	}
}

func TestWhatOnlyTheLogExplainsSaysWhereInIt(t *testing.T) {
	w := newWorld(t)
	w.associate(t)
	failing(errors.New("nil map"))(t, w)
	got := decode(t, w.ask(t, w.body(t), header("X-Request-Id", "abc-1")))
	for _, text := range []string{"what", "message"} {
		if !strings.Contains(fmt.Sprint(got[text]), "(request ID abc-1)") {
			t.Errorf("%s is %v", text, got[text])
		}
	}
	if !strings.Contains(w.log.String(), `"request":"abc-1"`) {
		t.Errorf("log is %s", &w.log)
	}
	failing(problem.New(problem.RoleMissing, "no role"))(t, w)
	if got := decode(t, w.ask(t, w.body(t))); strings.Contains(fmt.Sprint(got), "request ID") {
		t.Errorf("a refusal that explains itself sends to the log: %v", got)
	}
}

func TestAnExchangeEndsInTime(t *testing.T) {
	w := newWorld(t)
	w.associate(t)
	for code, err := range map[problem.Code]func(error) error{
		problem.STSUnavailable:  func(err error) error { return problem.New(problem.STSUnavailable, "STS did not answer").From(err) },
		problem.AuthUnavailable: func(err error) error { return err },
	} {
		w.assume = func(ctx context.Context, _ podid.Workload, _ podid.Association) (roles.Session, error) {
			<-ctx.Done()
			return roles.Session{}, err(ctx.Err())
		}
		synctest.Test(t, func(t *testing.T) {
			w.bearer = "Bearer " + w.mint(t, agentOn1, podid.AudienceAuth) // by the bubble's clock
			start := time.Now()
			got := decode(t, w.ask(t, w.body(t)))
			if took := time.Since(start); got["code"] != string(code) || took != 800*time.Millisecond {
				t.Errorf("got %v after %s", got, took)
			}
			if code == problem.AuthUnavailable && !strings.Contains(fmt.Sprint(got["why"]), "at most 800ms; STS or the store") {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestEveryCodeHasAnExceptionOfItsKind(t *testing.T) {
	names := []string{"ThrottlingException", "InvalidRequestException", "InvalidParameterException", "AccessDeniedException",
		"InvalidTokenException", "ExpiredTokenException", "ResourceNotFoundException", "InternalServerException", "ServiceUnavailableException"}
	table := auth.Exceptions()
	if diff := cmp.Diff(problem.Codes(), slices.Sorted(maps.Keys(table))); diff != "" {
		t.Error(diff)
	}
	for code, e := range table {
		if !slices.Contains(names, e.Name) {
			t.Errorf("%s: %s is no exception of EKS Auth", code, e.Name)
		}
		ok := false
		switch problem.Lookup(code).Kind {
		case problem.Refused:
			ok = e.Status >= 400 && e.Status < 500 && e.Status != 429
		case problem.Transient:
			ok = e.Status == 429 || e.Status == 503
		case problem.Broken:
			ok = e.Status == 500
		}
		if !ok {
			t.Errorf("%s is answered with %d", code, e.Status)
		}
	}
}

func FuzzAuthRequest(f *testing.F) {
	w := newWorld(f)
	w.handler.Log = nil
	w.associate(f)
	good := w.body(f)
	for _, seed := range []string{good, `{"token":"a.b.c"}`, `{"token":null}`, `{"token":{}}`, `null`, ``, `{`, `[]`, `"x"`,
		`{"TOKEN":"a.b.c"}`, `{"token":"a","token":"b"}`, `{"token":"\ud800"}`, strings.Repeat(`[`, 20000)} {
		f.Add("/clusters/lab/assume-role-for-pod-identity", seed)
	}
	f.Add("/clusters/%2e%2e/assume-role-for-pod-identity", good)
	f.Add("/clusters/ü\n/assume-role-for-pod-identity", good)
	f.Fuzz(func(t *testing.T, p, body string) {
		r := w.ask(t, body, path(p))
		got := decode(t, r)
		switch {
		case r.StatusCode == http.StatusOK:
			if got["credentials"] == nil || !strings.Contains(body, "eyJ") {
				t.Errorf("200 for %q: %v", body, got)
			}
		case r.StatusCode < 400 || r.StatusCode >= 500 || got["message"] == "" || r.Header.Get("X-Amzn-Errortype") == "":
			t.Errorf("%d for %q: %v", r.StatusCode, body, got)
		}
	})
}

func BenchmarkExchange(b *testing.B) {
	w := newWorld(b)
	w.associate(b)
	raw := w.mint(b, reader, podid.AudiencePods)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.handler.Service.Exchange(b.Context(), auth.Caller{Node: "node-1"}, raw); err != nil {
			b.Fatal(err)
		}
	}
}
