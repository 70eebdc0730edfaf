package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/problem"
)

const goodReply = `{"subject":{"namespace":"n","serviceAccount":"s"},"audience":"pods.eks.amazonaws.com",
 "podIdentityAssociation":{"associationArn":"a","associationId":"a-1"},
 "assumedRoleUser":{"arn":"arn:aws:sts::111122223333:assumed-role/R/S","assumeRoleId":"AROA:S"},
 "credentials":{"sessionToken":"T","secretAccessKey":"S","accessKeyId":"ASIAEXAMPLEEXAMPLE22","expiration":4102444800.5}}`

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answering is a client of a podid-auth that always answers this.
func answering(status int, exception, body string) *agent.AuthClient {
	return client(func(*http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Header: http.Header{"X-Amzn-Errortype": {exception}, "Location": {"https://evil.example/"}, "Retry-After": {"3"}},
			Body: io.NopCloser(strings.NewReader(body)),
		}, nil
	})
}

func client(f roundTrip) *agent.AuthClient {
	return &agent.AuthClient{
		Endpoint: "https://podid-auth.test", Cluster: "lab",
		Token: func() (string, error) { return "own-token\n", nil },
		HTTP:  &http.Client{Transport: f},
	}
}

func TestTheRequestIsThatOfEKSAuth(t *testing.T) {
	var got *http.Request
	var body []byte
	c := client(func(r *http.Request) (*http.Response, error) {
		got = r
		body, _ = io.ReadAll(r.Body)
		return nil, errors.New("enough")
	})
	c.Endpoint += "/base/"
	_, _ = c.Exchange(t.Context(), agent.Ask{Token: "a.b.c", ID: "0f8fad5b-d9cb-469f-a165-70867728950e"})
	if got.Method != http.MethodPost || got.URL.String() != "https://podid-auth.test/base/clusters/lab/assume-role-for-pod-identity" {
		t.Errorf("%s %s", got.Method, got.URL)
	}
	if got.Header.Get("Authorization") != "Bearer own-token" || got.Header.Get("Content-Type") != "application/json" || len(got.Header.Get("X-Request-Id")) != 36 {
		t.Errorf("headers %v", got.Header)
	}
	if string(body) != `{"token":"a.b.c"}` {
		t.Errorf("body %s", body)
	}
}

func TestTheLogNamesTheCallAsPodidAuthsLogDoes(t *testing.T) {
	for status, body := range map[int]string{200: goodReply, 500: `{"code":"internal","what":"podid could not answer (request ID x)"}`} {
		var sent string
		n := newNode(t)
		n.Exchange = client(func(r *http.Request) (*http.Response, error) {
			sent = r.Header.Get("X-Request-Id")
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}, nil
		})
		if got := n.ask(t, mint(t, workload(1))); got.Status != status {
			t.Errorf("got %+v", got)
		}
		if log := n.log.String(); sent == "" || strings.Count(log, "\n") != 1 || !strings.Contains(log, `"request":"`+sent+`"`) {
			t.Errorf("sent %q, and the log is %s", sent, log)
		}
	}
}

func TestTheLogNamesThePodWhoseTokenIsRefused(t *testing.T) {
	expired, err := issuer().Mint(workload(1), podid.AudiencePods, time.Now().Add(-2*time.Hour), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := workload(1)
	elsewhere.Node = "node-2"
	good := mint(t, workload(1))
	for code, c := range map[problem.Code]struct {
		raw   string
		named bool
	}{
		problem.TokenExpired: {expired, true}, problem.NodeMismatch: {mint(t, elsewhere), true}, problem.TokenForged: {good[:len(good)-8] + "AAAAAAAA", false},
	} {
		n := newNode(t)
		n.Node = "node-1"
		if got := n.ask(t, c.raw); got.Code != string(code) {
			t.Errorf("%s: got %+v", code, got)
		}
		if log := n.log.String(); strings.Contains(log, `"pod":"reader-1"`) != c.named {
			t.Errorf("%s: the log is %s", code, log)
		}
	}
}

func TestAReplyBecomesCredentials(t *testing.T) {
	reply, err := answering(200, "", goodReply).Exchange(t.Context(), agent.Ask{Token: "a.b.c", ID: "0f8fad5b-d9cb-469f-a165-70867728950e"})
	if err != nil {
		t.Fatal(err)
	}
	got := reply.Credentials
	if got.AccessKeyID != "ASIAEXAMPLEEXAMPLE22" || got.SecretAccessKey != "S" || got.SessionToken != "T" || got.Account != "111122223333" ||
		!got.Expires.Equal(time.Unix(4102444800, 5e8)) {
		t.Errorf("got %+v, expires %s", got, got.Expires)
	}
}

func TestUnusableRepliesAreToldFromRefusals(t *testing.T) {
	change := func(from, to string) string { return strings.Replace(goodReply, from, to, 1) }
	for name, c := range map[string]struct {
		status          int
		exception, body string
	}{
		"no JSON":                        {200, "", "<html>"},
		"empty":                          {200, "", ""},
		"null":                           {200, "", "null"},
		"an array":                       {200, "", "[]"},
		"cut off":                        {200, "", goodReply[:100]},
		"too long":                       {200, "", goodReply + strings.Repeat(" ", 64<<10)},
		"no access key":                  {200, "", change(`"ASIAEXAMPLEEXAMPLE22"`, `""`)},
		"an access key with a line feed": {200, "", change(`EXAMPLE22`, `EXAMPLE\n2`)},
		"no secret":                      {200, "", change(`"S",`, `"",`)},
		"no session token":               {200, "", change(`"T"`, `""`)},
		"no expiration":                  {200, "", change(`,"expiration":4102444800.5`, ``)},
		"expiration null":                {200, "", change(`4102444800.5`, `null`)},
		"expiration a text":              {200, "", change(`4102444800.5`, `"2100-01-01T00:00:00Z"`)},
		"expiration out of range":        {200, "", change(`4102444800.5`, `1e300`)},
		"expiration too great a number":  {200, "", change(`4102444800.5`, `1e3000`)},
		"expiration negative":            {200, "", change(`4102444800.5`, `-1`)},
		"expired":                        {200, "", change(`4102444800.5`, `1000000000`)},
		"an ARN of no session":           {200, "", change(`:sts:`, `:iam:`)},
		"an account that is none":        {200, "", change(`111122223333`, `1`)},
		"a redirect":                     {307, "", ""},
		"another success":                {204, "", ""},
		"a proxy's error":                {502, "", "<html>"},
		"an error without a name":        {400, "", `{"message":"x"}`},
		"an unknown exception":           {400, "OtherException", `{"message":"x"}`},
		"an exception without JSON":      {400, "AccessDeniedException", `x`},
		"an unknown code":                {400, "", `{"code":"made-up","what":"x"}`},
		"a code of the wrong type":       {400, "AccessDeniedException", `{"code":7,"what":"x"}`},
		"a code without what":            {400, "", `{"code":"trust-denied"}`},
	} {
		_, err := answering(c.status, c.exception, c.body).Exchange(t.Context(), agent.Ask{Token: "a.b.c", ID: "0f8fad5b-d9cb-469f-a165-70867728950e"})
		if !problem.Is(err, problem.AuthUnavailable) {
			t.Errorf("%s: got %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "EXAMPLE") {
			t.Errorf("%s: the error quotes the reply: %v", name, err)
		}
	}
}

func TestAProblemOfPodidAuthComesBackAsItWas(t *testing.T) {
	want := problem.New(problem.TrustCondition, "the condition does not hold").Because("it wants %q", "a").Fixed("correct it")
	body, _ := json.Marshal(map[string]string{
		"message": want.Message(), "code": string(want.Code), "what": want.What, "why": want.Why, "fix": want.Fix,
	})
	_, err := answering(400, "AccessDeniedException", string(body)).Exchange(t.Context(), agent.Ask{Token: "a.b.c", ID: "0f8fad5b-d9cb-469f-a165-70867728950e"})
	got := problem.Of(err)
	if got.Code != want.Code || got.What != want.What || got.Why != want.Why || got.Fix != want.Fix {
		t.Errorf("got %+v", got)
	}
}

func TestTextsOfAProblemAreBoundedAndPrintable(t *testing.T) {
	body, _ := json.Marshal(map[string]string{"code": "trust-denied", "what": "a\x1b[31m\n" + strings.Repeat("x", 9000)})
	_, err := answering(400, "", string(body)).Exchange(t.Context(), agent.Ask{Token: "a.b.c", ID: "0f8fad5b-d9cb-469f-a165-70867728950e"})
	if m := problem.Of(err).Message(); strings.ContainsAny(m, "\x1b\n") || len(m) > 3000 || !problem.Is(err, problem.TrustDenied) {
		t.Errorf("got %q", m)
	}
}

func TestErrorsOfAWSAreUnderstood(t *testing.T) {
	for exception, code := range map[string]problem.Code{
		"ResourceNotFoundException":                      problem.AssociationMissing,
		"AccessDeniedException:http://internal.amazon/x": problem.TrustDenied,
		"ExpiredTokenException":                          problem.TokenExpired,
		"InvalidTokenException":                          problem.TokenForged,
		"ThrottlingException":                            problem.TooManyRequests,
		"ServiceUnavailableException":                    problem.AuthUnavailable,
		"InternalServerException":                        problem.AuthUnavailable,
		"InvalidRequestException":                        problem.RequestInvalid,
	} {
		_, err := answering(400, exception, `{"message":"AWS says so"}`).Exchange(t.Context(), agent.Ask{Token: "a.b.c", ID: "0f8fad5b-d9cb-469f-a165-70867728950e"})
		if !problem.Is(err, code) || !strings.Contains(problem.Of(err).Message(), "AWS says so") {
			t.Errorf("%s: got %v", exception, err)
		}
	}
}

// On EKS the agent signs: an error about its key or its role says nothing of the pod.
func TestWhatIsWrongWithTheNodeIsNotBlamedOnThePod(t *testing.T) {
	const denied = "User: arn:aws:sts::111122223333:assumed-role/node/i-1 is not authorized to perform: eks-auth:AssumeRoleForPodIdentity"
	for _, c := range []struct {
		exception, message string
		status             int
		fix                string
	}{
		{"UnrecognizedClientException", "The security token included in the request is invalid.", 403, "the node's role"},
		{"InvalidSignatureException:", "The request signature we calculated does not match", 403, "the node's role"},
		{"InvalidSignatureException", "Signature expired: 20261128T000000Z is now earlier than 20261128T001500Z", 403, "the node's clock"},
		{"InvalidClientTokenId", "The security token included in the request is invalid", 403, "the node's role"},
		{"ExpiredTokenException", "The security token included in the request is expired", 403, "the node's role"},
		{"AccessDeniedException", denied, 400, "eks-auth:AssumeRoleForPodIdentity"},
		{"AccessDeniedException", denied, 403, "eks-auth:AssumeRoleForPodIdentity"},
	} {
		inBubble(t, func(t *testing.T, n *node) {
			raw := mint(t, workload(1))
			first := n.ask(t, raw).AccessKeyID
			body, _ := json.Marshal(map[string]string{"message": c.message})
			n.answers(answering(c.status, c.exception, string(body)).Exchange)
			got := n.ask(t, mint(t, workload(2)))
			if got.Status != 500 || got.Code != string(problem.BaseCredentials) || !strings.Contains(got.Message, c.fix) || strings.Contains(got.Message, "arn:") {
				t.Errorf("%s: got %+v", c.exception, got)
			}
			calls := n.calls.Load()
			pause(50 * time.Minute) // its renewal is refused
			if got := n.ask(t, raw); got.AccessKeyID != first || n.calls.Load() == calls {
				t.Errorf("%s: after %d calls who had credentials got %+v", c.exception, n.calls.Load()-calls, got)
			}
			if !strings.Contains(n.log.String(), c.message) {
				t.Errorf("%s: AWS's message is not in the log: %s", c.exception, n.log.String())
			}
		})
	}
}

func TestTokensGoNowhereElse(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the redirect was followed")
	}))
	defer elsewhere.Close()
	auth := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer auth.Close()
	c := &agent.AuthClient{Endpoint: auth.URL, Cluster: "lab", Token: func() (string, error) { return "t", nil }, HTTP: auth.Client()}
	if _, err := c.Exchange(t.Context(), agent.Ask{Token: "a.b.c", ID: "0f8fad5b-d9cb-469f-a165-70867728950e"}); !problem.Is(err, problem.AuthUnavailable) {
		t.Errorf("got %v", err)
	}
	for _, endpoint := range []string{"http://podid-auth.test", "http://10.0.0.1", "http://localhost.evil.example", "ftp://localhost", "podid-auth", "", "%"} {
		c := client(func(*http.Request) (*http.Response, error) {
			t.Errorf("a token was sent to %s", endpoint)
			return nil, errors.New("no")
		})
		c.Endpoint = endpoint
		if _, err := c.Exchange(t.Context(), agent.Ask{Token: "a.b.c", ID: "0f8fad5b-d9cb-469f-a165-70867728950e"}); !problem.Is(err, problem.AuthUnavailable) {
			t.Errorf("%s: got %v", endpoint, err)
		}
	}
}

func TestAnUnreachablePodidAuthIsNoRefusal(t *testing.T) {
	refused := client(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
	own := client(nil)
	own.Token = func() (string, error) { return "", errors.New("no such file") }
	for _, c := range []*agent.AuthClient{refused, own} {
		if _, err := c.Exchange(t.Context(), agent.Ask{Token: "a.b.c", ID: "0f8fad5b-d9cb-469f-a165-70867728950e"}); !problem.Is(err, problem.AuthUnavailable) {
			t.Errorf("got %v", err)
		}
	}
}

func TestASlowPodidAuthIsNamed(t *testing.T) {
	issuer()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.Exchange = client(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		if got := n.ask(t, mint(t, workload(1))); got.Code != string(problem.AuthUnavailable) || !strings.Contains(got.Message, "did not answer within 850ms") {
			t.Errorf("got %+v", got)
		}
		n.Close()
	})
}

// On EKS there is no podid-auth to look at.
func TestOnEKSItIsEKSAuthThatIsNamed(t *testing.T) {
	issuer()
	for name, c := range map[string]*agent.AuthClient{
		"unreachable":  client(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }),
		"slow":         client(func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }),
		"garbage":      answering(200, "", "[]"),
		"no exception": answering(502, "", "Bad Gateway"),
		"broken":       answering(500, "InternalServerException", `{"message":"AWS says so"}`),
		"expired":      answering(200, "", strings.Replace(goodReply, "4102444800.5", "1", 1)),
		"no address":   {Endpoint: "http://example.com", Cluster: "lab"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				n.Upstream, c.Upstream = agent.EKSAuth, agent.EKSAuth
				n.Exchange = c
				got := n.ask(t, mint(t, workload(1)))
				if got.Code != string(problem.AuthUnavailable) || !strings.Contains(got.Message, "EKS Auth") || strings.Contains(got.Message, "podid-auth") {
					t.Errorf("got %+v", got)
				}
				n.Close()
			})
		})
	}
}

func FuzzAuthReply(f *testing.F) {
	f.Add(200, "", goodReply)
	f.Add(200, "", `{"credentials":{"expiration":"1"}}`)
	f.Add(200, "", `{"credentials":null,"assumedRoleUser":[]}`)
	f.Add(400, "AccessDeniedException", `{"message":"no"}`)
	f.Add(404, "ResourceNotFoundException:x", `{"message":"no","code":"association-missing","what":"w","why":"y","fix":"f"}`)
	f.Add(503, "", `{"code":"internal","what":"\u001b"}`)
	f.Add(302, "", "")
	f.Fuzz(func(t *testing.T, status int, exception, body string) {
		reply, err := answering(status, exception, body).Exchange(context.Background(), agent.Ask{Token: "a.b.c"})
		if err != nil {
			p, ok := errors.AsType[*problem.Problem](err)
			if !ok || !problem.Known(p.Code) || len(p.Message()) > 8000 || strings.ContainsAny(p.Message(), "\x1b\n\r\x00") {
				t.Errorf("error %q", err)
			}
			return
		}
		if c := reply.Credentials; status != 200 || c.AccessKeyID == "" || c.SecretAccessKey == "" || c.SessionToken == "" || len(c.Account) != 12 || !c.Expires.After(time.Now()) {
			t.Errorf("%d %q became %+v", status, body, reply)
		}
	})
}
