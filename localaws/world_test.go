package localaws_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/localaws"
)

const account = "111122223333"

// world is a local AWS that serves on loopback, with a clock of its own: the
// SDKs sign with the real one, so it may be off by less than 15 minutes.
type world struct {
	t   testing.TB
	aws *localaws.AWS
	url string
	off *atomic.Int64 // of the clock, in nanoseconds
}

func newWorld(t testing.TB, c localaws.Config) world {
	t.Helper()
	w := world{t: t, off: new(atomic.Int64)}
	c.Now = func() time.Time { return time.Now().Add(time.Duration(w.off.Load())) }
	var err error
	if w.aws, err = localaws.New(c); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(w.aws)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func openJournal(t testing.TB, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// whole reads every answer to its end before the SDK gets it. The SDK closes the
// request's body as soon as it has an answer; if net/http only then looks whether
// that body has ended, it is told so by an error (smithy-go's WriteTo returns
// io.EOF) and closes the connection that the answer is being read from.
type whole struct{}

func (whole) Do(r *http.Request) (*http.Response, error) {
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, err
}

// config is an SDK configuration that signs with c.
func (w world) config(c podid.Credentials) aws.Config {
	return aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: &w.url,
		Credentials:  credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
		HTTPClient:   whole{},
	}
}

func (w world) iam() *iam.Client                      { return iam.NewFromConfig(w.config(w.aws.Admin())) }
func (w world) iamAs(c podid.Credentials) *iam.Client { return iam.NewFromConfig(w.config(c)) }
func (w world) stsAs(c podid.Credentials) *sts.Client { return sts.NewFromConfig(w.config(c)) }
func (w world) stsAsService(arn, account string) *sts.Client {
	return sts.NewFromConfig(w.config(w.aws.Service()), withSource(arn, account))
}

func (w world) s3As(c podid.Credentials) *s3.Client {
	return s3.NewFromConfig(w.config(c), func(o *s3.Options) { o.UsePathStyle = true })
}

// role makes a role with a trust policy and, unless empty, an inline policy.
func (w world) role(name, trust, permissions string) string {
	w.t.Helper()
	made, err := w.iam().CreateRole(context.Background(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	if err != nil {
		w.t.Fatal(err)
	}
	if permissions != "" {
		w.allowRole(name, permissions)
	}
	return *made.Role.Arn
}

func (w world) allowRole(name, permissions string) {
	w.t.Helper()
	_, err := w.iam().PutRolePolicy(context.Background(), &iam.PutRolePolicyInput{
		RoleName: &name, PolicyName: aws.String("permissions"), PolicyDocument: &permissions,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// user makes a user with an access key and, unless empty, an inline policy.
func (w world) user(name, permissions string) podid.Credentials {
	w.t.Helper()
	ctx := context.Background()
	if _, err := w.iam().CreateUser(ctx, &iam.CreateUserInput{UserName: &name}); err != nil {
		w.t.Fatal(err)
	}
	if permissions != "" {
		_, err := w.iam().PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("permissions"), PolicyDocument: &permissions})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	k, err := w.iam().CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		w.t.Fatal(err)
	}
	return podid.Credentials{AccessKeyID: *k.AccessKey.AccessKeyId, SecretAccessKey: *k.AccessKey.SecretAccessKey}
}

// withSource sends what the service principal acts for, in headers that are signed.
func withSource(arn, account string) func(*sts.Options) {
	return func(o *sts.Options) {
		o.APIOptions = append(o.APIOptions, func(s *middleware.Stack) error {
			return s.Build.Add(middleware.BuildMiddlewareFunc("source", func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
				r := in.Request.(*smithyhttp.Request)
				if arn != "" {
					r.Header.Set("X-Amz-Source-Arn", arn)
				}
				if account != "" {
					r.Header.Set("X-Amz-Source-Account", account)
				}
				return next.HandleBuild(ctx, in)
			}), middleware.After)
		})
	}
}

func sessionOf(c *ststypes.Credentials) podid.Credentials {
	return podid.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken, Expires: *c.Expiration}
}

// assume returns the session's credentials.
func (w world) assume(c *sts.Client, in sts.AssumeRoleInput) podid.Credentials {
	w.t.Helper()
	if in.RoleSessionName == nil {
		in.RoleSessionName = aws.String("session")
	}
	out, err := c.AssumeRole(context.Background(), &in)
	if err != nil {
		w.t.Fatal(err)
	}
	return sessionOf(out.Credentials)
}

// wantError demands an error of this code whose message contains every text.
func wantError(t testing.TB, err error, code string, texts ...string) {
	t.Helper()
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() != code {
		t.Errorf("error is %v, want %s", err, code)
		return
	}
	for _, text := range texts {
		if !strings.Contains(e.ErrorMessage(), text) {
			t.Errorf("message is\n  %s\nwithout\n  %s", e.ErrorMessage(), text)
		}
	}
}

func trust(principal, actions string, condition ...string) string {
	s := `{"Version":"2012-10-17","Statement":[{"Sid":"Trust","Effect":"Allow","Principal":` + principal + `,"Action":` + actions
	if len(condition) > 0 {
		s += `,"Condition":` + condition[0]
	}
	return s + `}]}`
}

func allow(action, resource string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"` + action + `","Resource":"` + resource + `"}]}`
}

const (
	podsPrincipal = `{"Service":"pods.eks.amazonaws.com"}`
	assumeAndTag  = `["sts:AssumeRole","sts:TagSession"]`
)

func userPrincipal(name string) string {
	return `{"AWS":"arn:aws:iam::` + account + `:user/` + name + `"}`
}

func rolePrincipal(name string) string {
	return `{"AWS":"arn:aws:iam::` + account + `:role/` + name + `"}`
}
