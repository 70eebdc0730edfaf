package localaws_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/internal/sigv4"
	"github.com/openpodidentity/podid/localaws"
	"github.com/openpodidentity/podid/problem"
)

// sign signs r, whose body is body, for a service.
func sign(t testing.TB, c podid.Credentials, r *http.Request, body, service string) {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	credentials := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
	hash := hex.EncodeToString(sum[:])
	if service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", hash)
	}
	err := v4.NewSigner().SignHTTP(context.Background(), credentials, r, hash, service, "us-east-1", time.Now(), func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = service == "s3"
	})
	if err != nil {
		t.Fatal(err)
	}
}

// post sends a signed form and returns the answer.
func (w world) post(c podid.Credentials, service, form string) (int, string) {
	w.t.Helper()
	r, err := http.NewRequest(http.MethodPost, w.url+"/", strings.NewReader(form))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	sign(w.t, c, r, form, service)
	return w.send(r)
}

func (w world) send(r *http.Request) (int, string) {
	w.t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

var implemented = map[string]bool{}

func init() {
	for name := range strings.FieldsSeq(`
		AssumeRole GetCallerIdentity GetSessionToken GetAccessKeyInfo
		CreateRole GetRole ListRoles UpdateRole UpdateRoleDescription UpdateAssumeRolePolicy DeleteRole
		PutRolePolicy GetRolePolicy DeleteRolePolicy ListRolePolicies AttachRolePolicy DetachRolePolicy ListAttachedRolePolicies
		TagRole UntagRole ListRoleTags PutRolePermissionsBoundary DeleteRolePermissionsBoundary ListInstanceProfilesForRole
		CreateUser GetUser ListUsers UpdateUser DeleteUser
		PutUserPolicy GetUserPolicy DeleteUserPolicy ListUserPolicies AttachUserPolicy DetachUserPolicy ListAttachedUserPolicies
		TagUser UntagUser ListUserTags PutUserPermissionsBoundary DeleteUserPermissionsBoundary
		CreateAccessKey ListAccessKeys UpdateAccessKey DeleteAccessKey GetAccessKeyLastUsed
		CreatePolicy GetPolicy GetPolicyVersion ListPolicies ListPolicyVersions DeletePolicy
		TagPolicy UntagPolicy ListPolicyTags ListEntitiesForPolicy`) {
		implemented[name] = true
	}
}

// Every operation that the SDK knows is either implemented, and then says what
// it misses in a call without parameters, or refused by name.
func TestEveryOperationIsImplementedOrRefusedByName(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	for service, client := range map[string]reflect.Type{"iam": reflect.TypeFor[*iam.Client](), "sts": reflect.TypeFor[*sts.Client]()} {
		n := 0
		for m := range client.Methods() {
			if m.Type.NumIn() != 4 || m.Type.NumOut() != 2 { // receiver, context, input, options
				continue
			}
			n++
			status, body := w.post(w.aws.Admin(), service, "Action="+m.Name)
			refused := status == http.StatusNotImplemented && strings.Contains(body, "<Code>NotImplemented</Code>") && strings.Contains(body, m.Name+" of ")
			if implemented[m.Name] == (status == http.StatusNotImplemented) || !implemented[m.Name] && !refused {
				t.Errorf("%s: %d %s", m.Name, status, body)
			}
		}
		if n < 10 {
			t.Errorf("only %d operations of %s", n, service)
		}
	}
}

func TestUnknownParametersAreRefusedByName(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	w.role("role", trust(podsPrincipal, assumeAndTag), "")
	for _, form := range []string{
		"Action=GetRole&RoleName=role&Colour=red",
		"Action=DeleteRole&RoleName=role&Force=true",
		"Action=ListRoles&MaxItems=1&Colour=red",
		"Action=TagRole&RoleName=role&Tags.member.1.Key=a&Tags.member.1.Value=b&Tags.member.1.Colour=red",
	} {
		status, body := w.post(w.aws.Admin(), "iam", form)
		if status != http.StatusNotImplemented || !strings.Contains(body, "Colour") && !strings.Contains(body, "Force") {
			t.Errorf("%s: %d %s", form, status, body)
		}
	}
	if _, err := w.iam().GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("role")}); err != nil {
		t.Error(err)
	}
	status, body := w.post(w.aws.Admin(), "sts", "Action=GetCallerIdentity&Version=2010-05-08")
	if status != http.StatusBadRequest || !strings.Contains(body, "NoSuchVersion") {
		t.Errorf("%d %s", status, body)
	}
}

func TestUnsignedRequestsAreToldSoInTheirProtocol(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	for _, test := range []struct{ method, host, path, body, want string }{
		{"POST", "", "/", "Action=GetCallerIdentity", "<Code>MissingAuthenticationToken</Code>"},
		{"POST", "iam.amazonaws.com", "/", "Action=ListRoles", "https://iam.amazonaws.com/doc/2010-05-08/"},
		{"GET", "", "/?Action=ListRoles", "", "<Code>MissingAuthenticationToken</Code>"},
		{"POST", "", "/", "Action=AssumeRoleWithWebIdentity&WebIdentityToken=x", "AssumeRoleWithWebIdentity of STS is not implemented"},
		{"GET", "", "/bucket/key", "", "<Error><Code>AccessDenied</Code>"},
		{"GET", "bucket.s3.eu-central-1.amazonaws.com", "/", "", "<Error><Code>AccessDenied</Code>"},
		{"GET", "", "/clusters/local/pod-identity-associations", "", `"message"`},
		{"POST", "", "/clusters/local/assume-role-for-pod-identity", "{}", "EKS Auth of this local AWS is not implemented"},
		{"GET", "", "/", "", "export AWS_ENDPOINT_URL=http://"},
	} {
		r, err := http.NewRequest(test.method, w.url+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		if test.host != "" {
			r.Host = test.host
		}
		if test.body != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if test.body == "{}" {
			r.Header.Set("Content-Type", "application/json")
		}
		status, body := w.send(r)
		if !strings.Contains(body, test.want) || (status < 400) != strings.Contains(test.want, "export") {
			t.Errorf("%s %s%s: %d %s", test.method, test.host, test.path, status, body)
		}
	}
}

func TestUnknownServicesAreRefusedByName(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	status, body := w.post(w.aws.Admin(), "autoscaling", "Action=DescribeAutoScalingGroups&Version=2011-01-01")
	if status != http.StatusNotImplemented || !strings.Contains(body, "<Code>NotImplemented") || !strings.Contains(body, "autoscaling") {
		t.Errorf("%d %s", status, body)
	}
	r, _ := http.NewRequest(http.MethodPost, w.url+"/", strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810.ListTables")
	sign(t, w.aws.Admin(), r, "{}", "dynamodb")
	status, body = w.send(r)
	if status != http.StatusNotImplemented || !strings.Contains(body, `"__type":"NotImplementedException"`) || !strings.Contains(body, "dynamodb") {
		t.Errorf("%d %s", status, body)
	}
}

// given is a handler like the production ones: it verifies through Authorize,
// reads the body, and asks again.
type given struct {
	mu   sync.Mutex
	aws  *localaws.AWS
	body string
	who  localaws.Caller
}

func (g *given) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var err error
	if g.who, err = g.aws.Authorize(r, "arn:aws:eks:us-east-1:111122223333:cluster/local", "eks:CreatePodIdentityAssociation"); err == nil {
		body, _ := io.ReadAll(r.Body)
		g.body = string(body)
		err = g.aws.PassRole(r, "arn:aws:iam::111122223333:role/pod")
	}
	if err != nil {
		awswire.WriteJSONError(w, "", err)
		return
	}
	awswire.WriteJSON(w, http.StatusOK, map[string]any{"association": map[string]any{"associationId": "a-1"}})
}

func TestGivenHandlersAreGuardedByAuthorize(t *testing.T) {
	g := &given{}
	w := newWorld(t, localaws.Config{EKS: g})
	g.aws = w.aws
	create := func(c podid.Credentials) error {
		_, err := eks.NewFromConfig(w.config(c)).CreatePodIdentityAssociation(t.Context(), &eks.CreatePodIdentityAssociationInput{
			ClusterName: aws.String("local"), Namespace: aws.String("shop"), ServiceAccount: aws.String("web"), RoleArn: aws.String("arn:aws:iam::111122223333:role/pod"),
		})
		return err
	}
	if err := create(w.aws.Admin()); err != nil {
		t.Fatal(err)
	}
	if g.who.ARN != "arn:aws:iam::111122223333:user/admin" || g.who.Account != account || !strings.Contains(g.body, `"namespace":"shop"`) {
		t.Errorf("caller %+v sent %s", g.who, g.body)
	}
	bob := w.user("bob", allow("eks:*", "*"))
	err := create(bob)
	wantError(t, err, "AccessDeniedException", "User: arn:aws:iam::111122223333:user/bob is not authorized to perform: iam:PassRole on resource: arn:aws:iam::111122223333:role/pod because no identity-based policy allows the iam:PassRole action. Fix:")
	if _, ok := errors.AsType[*ekstypes.AccessDeniedException](err); !ok {
		t.Errorf("error is %v, not typed", err)
	}
	_, err = w.iam().PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: aws.String("bob"), PolicyName: aws.String("pass"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":"pods.eks.amazonaws.com"}}}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	if err := create(bob); err != nil {
		t.Error(err)
	}
	wantError(t, create(w.user("eve", "")), "AccessDeniedException", "eks:CreatePodIdentityAssociation")
	forged := w.aws.Admin()
	forged.SecretAccessKey = bob.SecretAccessKey
	wantError(t, create(forged), "InvalidSignatureException")
	wantError(t, create(w.aws.Service()), "AccessDeniedException")
}

// The tags that count are those of the very role, not of one of its name.
func TestPassRoleReadsTheTagsOfTheRoleThatIsPassed(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	role := w.role("red", trust(podsPrincipal, assumeAndTag), "")
	if _, err := w.iam().TagRole(t.Context(), &iam.TagRoleInput{RoleName: aws.String("red"), Tags: iamTags("team", "red")}); err != nil {
		t.Fatal(err)
	}
	bob := w.user("bob", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:ResourceTag/team":"red"}}}]}`)
	pass := func(role string) error {
		r := httptest.NewRequest(http.MethodPost, "http://eks.us-east-1.amazonaws.com/clusters/local/pod-identity-associations", strings.NewReader("{}"))
		sign(t, bob, r, "{}", "eks")
		return w.aws.PassRole(r, podid.RoleARN(role))
	}
	if err := pass(role); err != nil {
		t.Error(err)
	}
	for _, other := range []string{"arn:aws:iam::999999999999:role/red", "arn:aws:iam::111122223333:role/path/red", "junk"} {
		if pass(other) == nil {
			t.Errorf("%s may be passed", other)
		}
	}
}

func TestLookupServesAVerifierOfAnotherHandler(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	v := sigv4.Verifier{Lookup: w.aws.Lookup}
	role := w.role("role", trust(userPrincipal("admin"), assumeAndTag), "")
	session := w.assume(w.stsAs(w.aws.Admin()), sts.AssumeRoleInput{RoleArn: &role})
	for _, c := range []podid.Credentials{w.aws.Admin(), w.aws.Service(), session} {
		r := httptest.NewRequest(http.MethodPost, "http://eks-auth.us-east-1.api.aws/clusters/local/assume-role-for-pod-identity", strings.NewReader("{}"))
		sign(t, c, r, "{}", "eks-auth")
		if got, err := v.Verify(r); err != nil || got.AccessKeyID != c.AccessKeyID {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if _, err := w.aws.Lookup(t.Context(), "AKIAIOSFODNN7EXAMPLE", ""); !errors.Is(err, sigv4.ErrUnknownKey) {
		t.Errorf("error is %v", err)
	}
}

func TestTrustPolicyOfARole(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	document := trust(podsPrincipal, assumeAndTag)
	role := w.role("role", document, "")
	if got, err := w.aws.TrustPolicy(t.Context(), podid.RoleARN(role)); got != document || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	for _, missing := range []podid.RoleARN{"arn:aws:iam::111122223333:role/none", "arn:aws:iam::111122223333:role/path/role", "arn:aws:iam::999999999999:role/role", "junk"} {
		if _, err := w.aws.TrustPolicy(t.Context(), missing); !problem.Is(err, problem.RoleMissing) {
			t.Errorf("%s: %v", missing, err)
		}
	}
}

// Each condition holds for a request of the SDK over plain HTTP from loopback.
func TestConditionKeysOfARequest(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	bob := w.user("bob", "")
	if _, err := w.iam().TagUser(t.Context(), &iam.TagUserInput{UserName: aws.String("bob"), Tags: iamTags("team", "red")}); err != nil {
		t.Fatal(err)
	}
	user, err := w.iam().GetUser(t.Context(), &iam.GetUserInput{UserName: aws.String("bob")})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	for _, condition := range []string{
		`"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}`,
		`"Bool":{"aws:SecureTransport":"false"}`,
		`"DateGreaterThan":{"aws:CurrentTime":"` + now.Add(-time.Minute).Format(time.RFC3339) + `"}`,
		`"DateLessThan":{"aws:CurrentTime":"` + now.Add(time.Minute).Format(time.RFC3339) + `"}`,
		`"NumericGreaterThan":{"aws:EpochTime":"1700000000"}`,
		`"StringLike":{"aws:UserAgent":"aws-sdk-go-v2/*"}`,
		`"StringEquals":{"aws:RequestedRegion":"us-east-1"}`,
		`"StringEquals":{"aws:PrincipalAccount":"111122223333","aws:ResourceAccount":"111122223333"}`,
		`"StringEquals":{"aws:PrincipalType":"User","aws:username":"bob","aws:userid":"` + *user.User.UserId + `"}`,
		`"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:user/bob"}`,
		`"StringEquals":{"aws:PrincipalTag/team":"red","aws:ResourceTag/team":"red","iam:ResourceTag/team":"red"}`,
		`"Bool":{"aws:PrincipalIsAWSService":"false","aws:ViaAWSService":"false"}`,
		`"Null":{"aws:TokenIssueTime":"true","aws:SourceArn":"true","aws:SourceAccount":"true","aws:MultiFactorAuthPresent":"true"}`,
	} {
		_, err := w.iam().PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: aws.String("bob"), PolicyName: aws.String("p"), PolicyDocument: aws.String(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:GetUser","Resource":"*","Condition":{` + condition + `}}]}`)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.iamAs(bob).GetUser(t.Context(), &iam.GetUserInput{}); err != nil {
			t.Errorf("%s: %v", condition, err)
		}
	}
	role := w.role("role", trust(userPrincipal("admin"), assumeAndTag), `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:GetRole","Resource":"*","Condition":{
		"StringEquals":{"aws:PrincipalType":"AssumedRole"},"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/role"},
		"StringLike":{"aws:userid":"AROA*:session"},"DateGreaterThan":{"aws:TokenIssueTime":"`+now.Add(-time.Minute).Format(time.RFC3339)+`"},"Null":{"aws:username":"true"}}}]}`)
	session := w.assume(w.stsAs(w.aws.Admin()), sts.AssumeRoleInput{RoleArn: &role})
	if _, err := w.iamAs(session).GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("role")}); err != nil {
		t.Error(err)
	}
}

// FuzzSignedRequests sends whatever an administrator might sign: an answer must
// come, and nothing may panic.
func FuzzSignedRequests(f *testing.F) {
	for _, seed := range []struct{ method, path, contentType, body, service string }{
		{"POST", "/", "application/x-www-form-urlencoded", "Action=CreateRole&RoleName=r&AssumeRolePolicyDocument=%7B%7D", "iam"},
		{"POST", "/", "application/x-www-form-urlencoded", "Action=TagRole&RoleName=r&Tags.member.1.Key=a&Tags.member.1.Value=b", "iam"},
		{"POST", "/", "application/x-www-form-urlencoded", "Action=AssumeRole&RoleArn=arn:aws:iam::111122223333:role/fuzzed&RoleSessionName=ss&Tags.member.1.Key=a&Tags.member.1.Value=b&PolicyArns.member.1.arn=arn:aws:iam::aws:policy/PowerUserAccess", "sts"},
		{"POST", "/", "application/x-www-form-urlencoded", "Action=AssumeRole&RoleArn=arn:aws:iam::111122223333:role/fuzzed&RoleSessionName=ss&Policy=%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%5D%7D", "sts"},
		{"GET", "/?Action=ListRoles&Marker=eA&MaxItems=1", "", "", "iam"},
		{"GET", "/?Action=GetUser&UserName=", "", "", "iam"},
		{"PUT", "/bucket", "", "", "s3"},
		{"GET", "/bucket?list-type=2&prefix=a", "", "", "s3"},
		{"PUT", "/bucket/key", "text/plain", "hello", "s3"},
		{"POST", "/bucket?delete", "application/xml", "<Delete><Object><Key>a</Key></Object></Delete>", "s3"},
		{"POST", "/clusters/local/pod-identity-associations", "application/json", "{}", "eks"},
		{"POST", "/", "application/x-amz-json-1.0", "{}", "dynamodb"},
	} {
		f.Add(seed.method, seed.path, seed.contentType, seed.body, seed.service)
	}
	w := newWorld(f, localaws.Config{})
	w.role("fuzzed", trust(userPrincipal("admin"), assumeAndTag), allow("s3:*", "*"))
	admin := w.aws.Admin()
	f.Fuzz(func(t *testing.T, method, path, contentType, body, service string) {
		r, err := http.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
		if err != nil || !strings.HasPrefix(path, "/") {
			return // no request that could reach a server
		}
		r.Header.Set("Content-Type", contentType)
		sign(t, admin, r, body, service)
		r.RemoteAddr = "127.0.0.1:1"
		answer := httptest.NewRecorder()
		w.aws.ServeHTTP(answer, r)
		if answer.Code >= 500 && answer.Code != http.StatusNotImplemented {
			t.Errorf("%s %s %q: %d %s", method, path, body, answer.Code, answer.Body)
		}
	})
}
