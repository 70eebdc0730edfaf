package roles_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

var (
	cluster  = podid.Cluster{Name: "lab", Region: "eu-central-1", Account: "111122223333"}
	workload = podid.Workload{Namespace: "shop", ServiceAccount: "cart", Pod: "cart-7d9c5b-x2x4z",
		PodUID: "0b7ce1f5-1a0b-4b0e-8a3e-8f4f3c5e9a11", Node: "node-1"}
	bound = podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: "arn:aws:iam::111122223333:role/reader"}
)

const (
	brokerARN   = "arn:aws:iam::111122223333:user/podid-broker"
	sessionName = "eks-lab-cart-7d9c5-0b7ce1f5-1a0b-4b0e-8a3e-8f4f3c5e9a11"
	targetRole  = "arn:aws:iam::444455556666:role/target"
)

// exchange is an STS or IAM endpoint that answers each call with the next of its
// answers (the last one again when they run out) and remembers what was asked.
type exchange struct {
	answers []http.HandlerFunc
	calls   atomic.Int32

	mu      sync.Mutex
	asked   []url.Values
	headers []http.Header
}

func (e *exchange) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	e.mu.Lock()
	e.asked = append(e.asked, form)
	e.headers = append(e.headers, r.Header)
	e.mu.Unlock()
	n := int(e.calls.Add(1)) - 1
	e.answers[min(n, len(e.answers)-1)](w, r)
}

func assumed(account, role string, packed int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><AssumedRoleId>AROA123456789EXAMPLE:%[3]s</AssumedRoleId><Arn>arn:aws:sts::%[1]s:assumed-role/%[2]s/%[3]s</Arn></AssumedRoleUser>
<Credentials><AccessKeyId>ASIA%[1]s</AccessKeyId><SecretAccessKey>secret-%[2]s</SecretAccessKey><SessionToken>session-%[2]s</SessionToken><Expiration>2030-01-02T03:04:05Z</Expiration></Credentials>
<PackedPolicySize>%[4]d</PackedPolicySize></AssumeRoleResult><ResponseMetadata><RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId></ResponseMetadata></AssumeRoleResponse>`,
			account, role, sessionName, packed)
	}
}

func refusal(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId></ErrorResponse>`, code, message)
	}
}

// world is an Assumer whose STS answers so.
func world(t *testing.T, answers ...http.HandlerFunc) (*roles.Assumer, *exchange) {
	t.Helper()
	e := &exchange{answers: answers}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return &roles.Assumer{
		Cluster:   cluster,
		Principal: roles.Principal{ARN: brokerARN},
		AWS: aws.Config{
			Region:       "eu-central-1",
			BaseEndpoint: aws.String(server.URL),
			Credentials:  credentials.NewStaticCredentialsProvider("AKIDBROKER", "broker-secret", ""),
			HTTPClient:   server.Client(),
		},
		Timeout: 30 * time.Second,
	}, e
}

func TestTheSessionSaysWhichPodItIs(t *testing.T) {
	assumer, sts := world(t, assumed("111122223333", "reader", 12))
	session, err := assumer.Assume(t.Context(), workload, bound)
	if err != nil {
		t.Fatal(err)
	}
	want := roles.Session{
		Credentials: podid.Credentials{AccessKeyID: "ASIA111122223333", SecretAccessKey: "secret-reader", SessionToken: "session-reader",
			Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), Account: "111122223333"},
		AssumedRole: podid.AssumedRole{ARN: "arn:aws:sts::111122223333:assumed-role/reader/" + sessionName, ID: "AROA123456789EXAMPLE:" + sessionName},
		PackedSize:  12,
	}
	if diff := cmp.Diff(want, session); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
	asked := url.Values{
		"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {string(bound.Role)},
		"RoleSessionName": {sessionName}, "DurationSeconds": {"3600"},
		"Tags.member.1.Key": {"eks-cluster-arn"}, "Tags.member.1.Value": {"arn:aws:eks:eu-central-1:111122223333:cluster/lab"},
		"Tags.member.2.Key": {"eks-cluster-name"}, "Tags.member.2.Value": {"lab"},
		"Tags.member.3.Key": {"kubernetes-namespace"}, "Tags.member.3.Value": {"shop"},
		"Tags.member.4.Key": {"kubernetes-service-account"}, "Tags.member.4.Value": {"cart"},
		"Tags.member.5.Key": {"kubernetes-pod-name"}, "Tags.member.5.Value": {"cart-7d9c5b-x2x4z"},
		"Tags.member.6.Key": {"kubernetes-pod-uid"}, "Tags.member.6.Value": {"0b7ce1f5-1a0b-4b0e-8a3e-8f4f3c5e9a11"},
		"TransitiveTagKeys.member.1": {"eks-cluster-arn"}, "TransitiveTagKeys.member.2": {"eks-cluster-name"},
		"TransitiveTagKeys.member.3": {"kubernetes-namespace"}, "TransitiveTagKeys.member.4": {"kubernetes-service-account"},
		"TransitiveTagKeys.member.5": {"kubernetes-pod-name"}, "TransitiveTagKeys.member.6": {"kubernetes-pod-uid"},
	}
	if diff := cmp.Diff([]url.Values{asked}, sts.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if h := sts.headers[0]; h.Get("X-Amz-Source-Arn") != "" {
		t.Errorf("a broker claims to be an AWS service: %v", h)
	}
}

func TestDisabledTagsAndASessionPolicyReachSTS(t *testing.T) {
	assumer, sts := world(t, assumed("111122223333", "reader", 0))
	a := bound
	a.DisableSessionTags, a.Policy = true, `{"Version":"2012-10-17","Statement":[]}`
	if _, err := assumer.Assume(t.Context(), workload, a); err != nil {
		t.Fatal(err)
	}
	for key := range sts.asked[0] {
		if strings.Contains(key, "Tag") {
			t.Errorf("%s was sent", key)
		}
	}
	if sts.asked[0].Get("Policy") != a.Policy {
		t.Errorf("policy %q", sts.asked[0].Get("Policy"))
	}
}

func TestTheServiceNamesTheClusterAsItsSourceUnderSignature(t *testing.T) {
	assumer, sts := world(t, assumed("111122223333", "reader", 0))
	assumer.Principal = roles.Principal{Service: true}
	a := bound
	a.Target = targetRole
	if _, err := assumer.Assume(t.Context(), workload, a); err != nil {
		t.Fatal(err)
	}
	h := sts.headers[0]
	if h.Get("X-Amz-Source-Arn") != cluster.ARN() || h.Get("X-Amz-Source-Account") != cluster.Account {
		t.Errorf("source ARN %q, account %q", h.Get("X-Amz-Source-Arn"), h.Get("X-Amz-Source-Account"))
	}
	_, rest, _ := strings.Cut(h.Get("Authorization"), "SignedHeaders=")
	signed, _, _ := strings.Cut(rest, ",")
	for _, name := range []string{"x-amz-source-arn", "x-amz-source-account"} {
		if !slices.Contains(strings.Split(signed, ";"), name) {
			t.Errorf("%s is not signed: %s", name, signed)
		}
	}
	// The second call is the role's session's, not the service's.
	if h := sts.headers[1]; h.Get("X-Amz-Source-Arn") != "" {
		t.Errorf("the role's session claims to be a service: %v", h)
	}
}

func TestTheRoleAssumesTheTargetRole(t *testing.T) {
	assumer, sts := world(t, assumed("111122223333", "reader", 85), assumed("444455556666", "target", 20))
	assumer.Duration = 6 * time.Hour
	a := bound
	a.Target, a.Policy, a.DisableSessionTags = targetRole, `{"Version":"2012-10-17","Statement":[]}`, false
	session, err := assumer.Assume(t.Context(), workload, a)
	if err != nil {
		t.Fatal(err)
	}
	if session.Credentials.AccessKeyID != "ASIA444455556666" || session.Credentials.Account != "444455556666" || session.PackedSize != 85 || !session.NearLimit() {
		t.Errorf("session %+v, account %s", session, session.Credentials.Account)
	}
	if len(sts.asked) != 2 {
		t.Fatalf("%d calls, want 2", len(sts.asked))
	}
	first, second := sts.asked[0], sts.asked[1]
	if first.Get("Policy") != "" || first.Get("ExternalId") != "" || first.Get("DurationSeconds") != "900" {
		t.Errorf("first call: %v", first)
	}
	want := url.Values{"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {targetRole}, "RoleSessionName": {sessionName},
		"DurationSeconds": {"3540"}, "ExternalId": {"eu-central-1/111122223333/lab/shop/cart"}, "Policy": {a.Policy}}
	if diff := cmp.Diff(want, second); diff != "" {
		t.Errorf("second call (-want +got):\n%s", diff)
	}
	if h := sts.headers[1]; !strings.Contains(h.Get("Authorization"), "Credential=ASIA111122223333/") || h.Get("X-Amz-Security-Token") != "session-reader" {
		t.Errorf("the second call is not signed by the role's session: %v", h)
	}
}

func TestSTSAnswersBecomeProblems(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	text := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	breakOff := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, "<AssumeRoleResponse>")
	}
	const denied = "User: " + brokerARN + " is not authorized to perform: %s on resource: arn:aws:iam::111122223333:role/reader"
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		code   problem.Code
		says   string
		calls  int32
	}{
		{"denied", refusal(403, "AccessDenied", fmt.Sprintf(denied, "sts:AssumeRole")), problem.TrustDenied, "role/reader", 1},
		{"tags denied", refusal(403, "AccessDenied", fmt.Sprintf(denied, "sts:TagSession")), problem.TrustTagSession, "sts:TagSession", 1},
		{"too large", refusal(400, "PackedPolicyTooLarge", "Packed size of session tags consumes 101% of allotted space."), problem.SessionTagsTooLarge, "disableSessionTags", 1},
		{"bad policy", refusal(400, "MalformedPolicyDocument", "Syntax errors in policy."), problem.SessionPolicyInvalid, "session policy", 1},
		{"over MaxSessionDuration", refusal(400, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."), problem.DurationTooLong, "MaxSessionDuration", 1},
		{"over an hour in a chain", refusal(400, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"), problem.DurationTooLong, "an hour or less", 1},
		{"throttled", refusal(400, "Throttling", "Rate exceeded"), problem.STSThrottled, "throttling", 1},
		{"a bare 429", text(429, ""), problem.STSThrottled, "throttling", 1},
		{"expired", refusal(403, "ExpiredToken", "The security token included in the request is expired"), problem.BaseCredentials, "expired", 1},
		{"unknown key", refusal(403, "InvalidClientTokenId", "The security token included in the request is invalid."), problem.BaseCredentials, "InvalidClientTokenId", 1},
		{"wrong secret", refusal(403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided."), problem.BaseCredentials, "SignatureDoesNotMatch", 1},
		{"wrong clock", refusal(403, "SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z"), problem.BaseCredentials, "clock", 1},
		{"region off", refusal(403, "RegionDisabledException", "STS is not activated in this region for account:111122223333."), problem.BaseCredentials, "eu-central-1", 1},
		{"internal failure", refusal(500, "InternalFailure", "try again"), problem.STSUnavailable, "does not answer", 2},
		{"unavailable", text(503, "no healthy upstream"), problem.STSUnavailable, "STS", 2},
		{"not STS", text(200, "<html>Welcome to nginx!</html>"), problem.STSUnavailable, "STS", 1},
		{"not XML", text(200, "\x00\x01\x02"), problem.STSUnavailable, "cannot read", 1},
		{"no credentials in it", text(200, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult></AssumeRoleResult></AssumeRoleResponse>`), problem.STSUnavailable, "cannot read", 1},
		{"broken off", breakOff, problem.STSUnavailable, "STS", 0},
		{"no answer", hang, problem.STSUnavailable, "in time", 0},
		{"a chain of tags", refusal(400, "InvalidParameterValue", "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session."), problem.BaseCredentials, "transitive session tag", 1},
		{"something new", refusal(400, "NewException", "who knows"), problem.Internal, "NewException", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			assumer, sts := world(t, test.answer)
			if test.name == "no answer" {
				assumer.Timeout = 50 * time.Millisecond
			}
			session, err := assumer.Assume(t.Context(), workload, bound)
			wantProblem(t, err, test.code, test.says)
			if session != (roles.Session{}) {
				t.Errorf("a session all the same: %+v", session)
			}
			if n := sts.calls.Load(); test.calls != 0 && n != test.calls {
				t.Errorf("%d calls, want %d", n, test.calls)
			}
			if message := problem.Of(err).Message(); strings.Contains(message, brokerARN) {
				t.Errorf("the pod learns podid's own principal: %s", message)
			}
		})
	}
}

func TestAPassingFaultIsTriedASecondTime(t *testing.T) {
	assumer, sts := world(t, refusal(503, "ServiceUnavailable", "soon"), assumed("111122223333", "reader", 0))
	if _, err := assumer.Assume(t.Context(), workload, bound); err != nil || sts.calls.Load() != 2 {
		t.Errorf("%d calls: %v", sts.calls.Load(), err)
	}
}

func TestNobodyListensAtTheEndpoint(t *testing.T) {
	assumer, _ := world(t, nil)
	assumer.AWS.BaseEndpoint = aws.String("http://127.0.0.1:1")
	_, err := assumer.Assume(t.Context(), workload, bound)
	wantProblem(t, err, problem.STSUnavailable, "endpoint")
}

func TestWithoutBaseCredentialsSTSIsNotAsked(t *testing.T) {
	for name, provider := range map[string]aws.CredentialsProvider{
		"none": nil,
		"fails": aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, errors.New("no EC2 IMDS role found")
		}),
	} {
		assumer, sts := world(t, assumed("111122223333", "reader", 0))
		assumer.AWS.Credentials = provider
		_, err := assumer.Assume(t.Context(), workload, bound)
		wantProblem(t, err, problem.BaseCredentials, "no credentials of its own")
		wantProblem(t, err, problem.BaseCredentials, "configure base credentials")
		if sts.calls.Load() != 0 {
			t.Errorf("%s: STS was asked", name)
		}
	}
}

func TestACancelledCallerIsNotSTSsFault(t *testing.T) {
	assumer, _ := world(t, assumed("111122223333", "reader", 0))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := assumer.Assume(ctx, workload, bound)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestARefusedSecondCallIsTheTargetRoles(t *testing.T) {
	const denied = "User: arn:aws:sts::111122223333:assumed-role/reader/x is not authorized to perform: %s on resource: " + targetRole
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		code   problem.Code
		says   string
	}{
		{"denied", refusal(403, "AccessDenied", fmt.Sprintf(denied, "sts:AssumeRole")), problem.TargetRoleDenied, "sts:ExternalId"},
		{"no permission", refusal(403, "AccessDenied", fmt.Sprintf(denied, "sts:AssumeRole")+" because no identity-based policy allows the sts:AssumeRole action"), problem.TargetRoleDenied, "no policy of the association's role"},
		{"tags", refusal(403, "AccessDenied", fmt.Sprintf(denied, "sts:TagSession")), problem.TargetRoleDenied, "sts:TagSession is not allowed"},
		{"not known yet", refusal(403, "InvalidClientTokenId", "The security token included in the request is invalid."), problem.STSUnavailable, "takes a moment"},
		{"bad policy", refusal(400, "MalformedPolicyDocument", "no"), problem.SessionPolicyInvalid, "role/target"},
		{"throttled", refusal(400, "Throttling", "Rate exceeded"), problem.STSThrottled, ""},
		{"not an answer", refusal(500, "InternalFailure", "x"), problem.STSUnavailable, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			assumer, _ := world(t, assumed("111122223333", "reader", 0), test.answer)
			a := bound
			a.Target = targetRole
			_, err := assumer.Assume(t.Context(), workload, a)
			wantProblem(t, err, test.code, test.says)
		})
	}
}

func wantProblem(t *testing.T, err error, code problem.Code, says string) {
	t.Helper()
	if !problem.Is(err, code) || !strings.Contains(strings.ToLower(problem.Of(err).Message()), strings.ToLower(says)) {
		t.Errorf("error %v\nwant %s that says %q", err, code, says)
	}
}
