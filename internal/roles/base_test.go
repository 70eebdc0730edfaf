package roles_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// anything is the permission of whoever assumes roles, and more.
const anything = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

// environment holds c, and nothing else of AWS's.
func environment(t *testing.T, c podid.Credentials) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_ACCESS_KEY_ID", c.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", c.SecretAccessKey)
	t.Setenv("AWS_SESSION_TOKEN", c.SessionToken)
}

// user makes a user that may do anything, and its key.
func (l local) user(name string) podid.Credentials {
	l.t.Helper()
	ctx := l.t.Context()
	if _, err := l.iam().CreateUser(ctx, &iam.CreateUserInput{UserName: &name}); err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.iam().PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"), PolicyDocument: aws.String(anything)}); err != nil {
		l.t.Fatal(err)
	}
	key, err := l.iam().CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		l.t.Fatal(err)
	}
	return podid.Credentials{AccessKeyID: *key.AccessKey.AccessKeyId, SecretAccessKey: *key.AccessKey.SecretAccessKey}
}

func TestBaseCredentialsComeFromWhereTheSDKLooks(t *testing.T) {
	l := newLocal(t)
	user := l.user("base")
	base := roles.Base{Cluster: cluster, STSEndpoint: l.url, Duration: 6 * time.Hour}
	environment(t, user)
	a, err := base.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a.Principal != (roles.Principal{ARN: "arn:aws:iam::111122223333:user/base"}) || a.Duration != 6*time.Hour || a.Trust == nil {
		t.Errorf("%+v, %s", a.Principal, a.Duration)
	}

	// As a role session STS gives an hour at most, and the session's ARN has no path.
	name := "broker"
	if _, err := l.iam().CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, Path: aws.String("/team/"),
		AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/base"},"Action":"sts:AssumeRole"}]}`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.iam().PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("p"), PolicyDocument: aws.String(anything)}); err != nil {
		t.Fatal(err)
	}
	session, err := sts.NewFromConfig(l.config(user)).AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::111122223333:role/team/broker"), RoleSessionName: aws.String("podid")})
	if err != nil {
		t.Fatal(err)
	}
	c := session.Credentials
	environment(t, podid.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken})
	if a, err = base.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a.Principal.ARN != "arn:aws:iam::111122223333:role/team/broker" || a.Duration != time.Hour {
		t.Errorf("%+v, %s", a.Principal, a.Duration)
	}

	service := base
	service.Service = true
	environment(t, l.aws.Service())
	if a, err = service.Open(t.Context()); err != nil || a.Principal != (roles.Principal{Service: true}) {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestMissingBaseCredentialsAreToldFromAnSTSThatIsAway(t *testing.T) {
	l := newLocal(t)
	base := roles.Base{Cluster: cluster, STSEndpoint: l.url}
	open := func(c podid.Credentials) (*roles.Assumer, *problem.Problem) {
		environment(t, c)
		a, err := base.Open(t.Context())
		return a, problem.Of(err)
	}
	// The node's instance role does not count: this would find it.
	imds := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the instance metadata service was asked") }))
	defer imds.Close()
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.URL)
	none := func() *problem.Problem {
		environment(t, podid.Credentials{})
		t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.URL)
		_, err := base.Open(t.Context())
		return problem.Of(err)
	}
	if p := none(); p == nil || p.Code != problem.BaseCredentials || !strings.Contains(p.Message(), "iHaveBlockedIMDS") {
		t.Errorf("without any: %v", p)
	}
	if _, p := open(podid.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wrong"}); p == nil || p.Code != problem.BaseCredentials {
		t.Errorf("a key that STS does not know: %v", p)
	}
	base.STSEndpoint = "http://127.0.0.1:1"
	if _, p := open(l.user("away")); p == nil || p.Code != problem.STSUnavailable {
		t.Errorf("STS is away: %v", p)
	}
	// Storage that speaks STS knows AssumeRole alone.
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`<ErrorResponse><Error><Code>InvalidAction</Code><Message>no</Message></Error></ErrorResponse>`))
	}))
	defer storage.Close()
	base.STSEndpoint = storage.URL
	if a, p := open(l.user("storage")); p != nil || a.Principal != (roles.Principal{}) || a.Trust != nil {
		t.Errorf("an STS without GetCallerIdentity: %v", p)
	}
}
