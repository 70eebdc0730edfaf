package roles_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/localaws"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// local is a local AWS with what a person does to it by `aws iam`.
type local struct {
	t   *testing.T
	aws *localaws.AWS
	url string
}

func newLocal(t *testing.T) local {
	t.Helper()
	a, err := localaws.New(localaws.Config{Account: cluster.Account, Region: cluster.Region})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return local{t, a, server.URL}
}

func (l local) config(c podid.Credentials) aws.Config {
	return aws.Config{Region: cluster.Region, BaseEndpoint: &l.url,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)}
}

func (l local) iam() *iam.Client { return iam.NewFromConfig(l.config(l.aws.Admin())) }

// role makes a role, or changes its trust policy if it exists.
func (l local) role(name, trust, permissions string) {
	l.t.Helper()
	ctx := l.t.Context()
	_, err := l.iam().CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	if err != nil {
		_, err = l.iam().UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &name, PolicyDocument: &trust})
	}
	if err == nil && permissions != "" {
		_, err = l.iam().PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("p"), PolicyDocument: &permissions})
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// broker makes a user that may assume every role, and an assumer with its key.
func (l local) broker() *roles.Assumer {
	l.t.Helper()
	ctx := l.t.Context()
	name := aws.String("podid-broker")
	if _, err := l.iam().CreateUser(ctx, &iam.CreateUserInput{UserName: name}); err != nil {
		l.t.Fatal(err)
	}
	key, err := l.iam().CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
	if err != nil {
		l.t.Fatal(err)
	}
	return l.assumer(roles.Principal{ARN: brokerARN},
		podid.Credentials{AccessKeyID: *key.AccessKey.AccessKeyId, SecretAccessKey: *key.AccessKey.SecretAccessKey})
}

func (l local) service() *roles.Assumer {
	return l.assumer(roles.Principal{Service: true}, l.aws.Service())
}

func (l local) assumer(p roles.Principal, c podid.Credentials) *roles.Assumer {
	return &roles.Assumer{Cluster: cluster, Principal: p, AWS: l.config(c), Trust: roles.IAM{AWS: l.config(l.aws.Admin())}, Timeout: 30 * time.Second}
}

// onlyHere are conditions that hold for this workload of this cluster alone.
const onlyHere = `{"StringEquals":{"aws:RequestTag/eks-cluster-arn":"arn:aws:eks:eu-central-1:111122223333:cluster/lab",
"aws:RequestTag/eks-cluster-name":"lab","aws:RequestTag/kubernetes-namespace":"shop","aws:RequestTag/kubernetes-service-account":"cart",
"aws:RequestTag/kubernetes-pod-name":"cart-7d9c5b-x2x4z","aws:RequestTag/kubernetes-pod-uid":"0b7ce1f5-1a0b-4b0e-8a3e-8f4f3c5e9a11"}%s}`

// list is a permission that the session's tags decide.
const list = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::${aws:PrincipalTag/kubernetes-namespace}"}]}`

func (l local) bucket(name string) {
	l.t.Helper()
	client := s3.NewFromConfig(l.config(l.aws.Admin()), func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := client.CreateBucket(l.t.Context(), &s3.CreateBucketInput{Bucket: &name,
		CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: s3types.BucketLocationConstraint(cluster.Region)}}); err != nil {
		l.t.Fatal(err)
	}
}

func (l local) lists(session roles.Session, bucket string) error {
	client := s3.NewFromConfig(l.config(session.Credentials), func(o *s3.Options) { o.UsePathStyle = true })
	_, err := client.ListObjectsV2(l.t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
	return err
}

func TestTheLocalAWSGivesTheSessionItsTags(t *testing.T) {
	l := newLocal(t)
	l.bucket("shop")
	l.bucket("bank")
	for name, mode := range map[string]struct {
		assumer *roles.Assumer
		trust   string
	}{
		"service": {l.service(), trust(service, both, strings.Replace(onlyHere, "%s",
			`,"ArnEquals":{"aws:SourceArn":"arn:aws:eks:eu-central-1:111122223333:cluster/lab"}`, 1))},
		"broker": {l.broker(), trust(broker, both, strings.Replace(onlyHere, "%s", "", 1))},
	} {
		t.Run(name, func(t *testing.T) {
			l.role("reader", mode.trust, list)
			if err := mode.assumer.Check(t.Context(), bound.Role); err != nil {
				t.Errorf("check: %v", err)
			}
			session, err := mode.assumer.Assume(t.Context(), workload, bound)
			if err != nil {
				t.Fatal(err)
			}
			me, err := sts.NewFromConfig(l.config(session.Credentials)).GetCallerIdentity(t.Context(), nil)
			if want := "arn:aws:sts::111122223333:assumed-role/reader/" + sessionName; err != nil || *me.Arn != want || session.AssumedRole.ARN != want {
				t.Errorf("%v, %v, %s, want %s", me, err, session.AssumedRole.ARN, want)
			}
			if session.PackedSize == 0 || session.NearLimit() {
				t.Errorf("packed size %d %%", session.PackedSize)
			}
			if err := l.lists(session, "shop"); err != nil {
				t.Errorf("the bucket of its namespace: %v", err)
			}
			if err := l.lists(session, "bank"); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
				t.Errorf("the bucket of another: %v", err)
			}
		})
	}
}

func TestTheLocalAWSsRefusalsAreExplained(t *testing.T) {
	l := newLocal(t)
	for _, mode := range []struct {
		name      string
		assumer   *roles.Assumer
		principal string
	}{{"service", l.service(), service}, {"broker", l.broker(), broker}} {
		for _, test := range []struct {
			name, trust string
			code        problem.Code
			says        string
		}{
			{"principal", trust(`{"Service":"ec2.amazonaws.com"}`, both, ""), problem.TrustPrincipal, "podid trust-policy"},
			{"tag session", trust(mode.principal, `"sts:AssumeRole"`, ""), problem.TrustTagSession, "sts:TagSession"},
			{"condition", trust(mode.principal, both, `{"StringEquals":{"aws:RequestTag/kubernetes-namespace":"bank"}}`), problem.TrustCondition, `is "shop"`},
		} {
			t.Run(mode.name+" "+test.name, func(t *testing.T) {
				l.role("reader", test.trust, "")
				_, err := mode.assumer.Assume(t.Context(), workload, bound)
				wantProblem(t, err, test.code, test.says)
			})
		}
		gone := bound
		gone.Role = "arn:aws:iam::111122223333:role/gone"
		_, err := mode.assumer.Assume(t.Context(), workload, gone)
		wantProblem(t, err, problem.RoleMissing, "role/gone does not exist")
		if err := mode.assumer.Check(t.Context(), gone.Role); !problem.Is(err, problem.RoleMissing) {
			t.Errorf("check: %v", err)
		}
		l.role("reader", trust(mode.principal, `"sts:AssumeRole"`, ""), "")
		if err := mode.assumer.Check(t.Context(), bound.Role); !problem.Is(err, problem.TrustInvalid) {
			t.Errorf("check: %v", err)
		}
		disabled := bound
		disabled.DisableSessionTags = true
		if _, err := mode.assumer.Assume(t.Context(), workload, disabled); err != nil {
			t.Errorf("%s without session tags: %v", mode.name, err)
		}
	}
	_, err := l.assumer(roles.Principal{ARN: brokerARN}, podid.Credentials{AccessKeyID: "AKIAUNKNOWN", SecretAccessKey: "x"}).Assume(t.Context(), workload, bound)
	wantProblem(t, err, problem.BaseCredentials, "InvalidClientTokenId")
}

func TestASessionLongerThanTheRoleAllowsIsRefusedByName(t *testing.T) {
	l := newLocal(t)
	assumer := l.broker()
	assumer.Duration = 2 * time.Hour
	l.role("reader", trust(broker, both, ""), "")
	_, err := assumer.Assume(t.Context(), workload, bound)
	wantProblem(t, err, problem.DurationTooLong, "MaxSessionDuration")
}

func TestTheLocalAWSHandsTheTagsDownToTheTargetRole(t *testing.T) {
	l := newLocal(t)
	l.bucket("shop")
	l.bucket("bank")
	const target = "arn:aws:iam::111122223333:role/target"
	const chain = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],"Resource":"` + target + `"}]}`
	const everything = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`
	const external = `{"StringEquals":{"sts:ExternalId":"eu-central-1/111122223333/lab/shop/cart"}}`
	const reader = `{"AWS":"arn:aws:iam::111122223333:role/reader"}`
	assumer := l.service()
	a := bound
	a.Target = target
	l.role("reader", trust(service, both, ""), chain)

	_, err := assumer.Assume(t.Context(), workload, a)
	wantProblem(t, err, problem.RoleMissing, "target role "+target)
	l.role("target", trust(service, both, ""), list)
	_, err = assumer.Assume(t.Context(), workload, a)
	wantProblem(t, err, problem.TargetRoleDenied, "does not name the association's role")
	l.role("target", trust(reader, both, strings.Replace(external, "cart", "till", 1)), "")
	_, err = assumer.Assume(t.Context(), workload, a)
	wantProblem(t, err, problem.TargetRoleDenied, "sts:ExternalId is")
	l.role("target", trust(reader, `"sts:AssumeRole"`, external), "")
	_, err = assumer.Assume(t.Context(), workload, a)
	wantProblem(t, err, problem.TargetRoleDenied, "sts:TagSession")

	l.role("target", trust(reader, both, external), "")
	session, err := assumer.Assume(t.Context(), workload, a)
	if err != nil {
		t.Fatal(err)
	}
	if want := "arn:aws:sts::111122223333:assumed-role/target/" + sessionName; session.AssumedRole.ARN != want {
		t.Errorf("session of %s, want %s", session.AssumedRole.ARN, want)
	}
	if left := time.Until(session.Credentials.Expires); left > time.Hour {
		t.Errorf("a chained session of %v", left)
	}
	if err := l.lists(session, "shop"); err != nil {
		t.Errorf("the bucket of its namespace: %v", err)
	}
	if err := l.lists(session, "bank"); err == nil {
		t.Error("the tags are not handed down: it lists another namespace's bucket")
	}

	// The session policy narrows the target role.
	l.role("target", trust(reader, both, external), everything)
	a.DisableSessionTags, a.Policy = true, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::bank"}]}`
	session, err = assumer.Assume(t.Context(), workload, a)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.lists(session, "bank"); err != nil {
		t.Errorf("what the session policy allows: %v", err)
	}
	if err := l.lists(session, "shop"); err == nil {
		t.Error("the session policy does not narrow the target role")
	}
}
