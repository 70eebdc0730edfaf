package sandbox_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/sandbox"
	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// ownNamespace is a policy whose answers rest on tags, prefixes and the way to S3.
const ownNamespace = `{"Version":"2012-10-17","Statement":[
 {"Sid":"Own","Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::orders/${aws:PrincipalTag/kubernetes-namespace}/*"},
 {"Sid":"Pod","Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::orders/pod/${aws:PrincipalTag/kubernetes-pod-uid}"},
 {"Sid":"Tag","Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::orders/bank/*","Condition":{"StringEquals":{"s3:ExistingObjectTag/open":"yes"}}},
 {"Sid":"TLS","Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::orders/tls","Condition":{"Bool":{"aws:SecureTransport":"true"}}},
 {"Sid":"No","Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::*/secret"}]}`

func TestTheAnswerIsWhatThePodMeets(t *testing.T) {
	for _, principal := range []sandbox.Principal{sandbox.ServicePrincipal, sandbox.BrokerUser, sandbox.BrokerRole} {
		t.Run(string(principal), func(t *testing.T) {
			w := start(t, sandbox.Config{Principal: principal})
			bind(t, w)
			put(t, w, "cart", ownNamespace)
			pod := run(t, w, "cart-0")
			mine := ask(t, w, token(t, w, pod))
			key := w.AWS.Admin()
			owner := bucket(w, key.AccessKeyID, key.SecretAccessKey, "")
			client := bucket(w, mine.AccessKeyID, mine.SecretAccessKey, mine.Token)
			if _, err := owner.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("orders")}); err != nil {
				t.Fatal(err)
			}
			answers := map[bool]int{}
			for key, tags := range map[string]string{
				"shop/1": "", "shop/secret": "", "bank/1": "", "bank/2": "open=yes", "bank/3": "open=no", "tls": "",
				"pod/" + pod.UID: "", "pod/other": "",
			} {
				put := &s3.PutObjectInput{Bucket: aws.String("orders"), Key: &key, Body: strings.NewReader(key)}
				if tags != "" {
					put.Tagging = &tags
				}
				if _, err := owner.PutObject(t.Context(), put); err != nil {
					t.Fatal(err)
				}
				_, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("orders"), Key: &key})
				api, denied := errors.AsType[smithy.APIError](err)
				if denied && api.ErrorCode() != "AccessDenied" {
					t.Fatal(err)
				}
				said := decide(t, w, "s3:GetObject", "arn:aws:s3:::orders/"+key)
				if (said.Decision.Decision == policy.Allowed) == denied {
					t.Errorf("%s: S3 says %v, and the answer is %s", key, err, said.Decision.Explanation)
				}
				if denied && !strings.Contains(api.ErrorMessage(), said.Decision.Because) {
					t.Errorf("%s: S3 says %q, and the answer is because %q", key, api.ErrorMessage(), said.Decision.Because)
				}
				answers[denied]++
			}
			if answers[true] != 5 || answers[false] != 3 {
				t.Errorf("%d of the requests were denied and %d not", answers[true], answers[false])
			}
		})
	}
}

func TestThereIsNoAnswerWithoutCredentials(t *testing.T) {
	w := start(t, sandbox.Config{})
	if a := decide(t, w, "s3:GetObject", "arn:aws:s3:::orders/1"); a.Decision != nil || a.Problem.Code != problem.AssociationMissing {
		t.Errorf("without an association the answer is %+v", a)
	}
	bind(t, w)
	document := `{"Version":"2012-10-17","Statement":[{"Sid":"T","Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	if _, err := admin(w).UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("cart"), PolicyDocument: &document}); err != nil {
		t.Fatal(err)
	}
	a := decide(t, w, "s3:GetObject", "arn:aws:s3:::orders/1")
	if a.Decision != nil || a.Problem.Code != problem.TrustTagSession || !strings.Contains(a.Problem.STS, `statement 1 (Sid "T")`) || a.Pod.Role != role || a.Pod.Credentials {
		t.Errorf("without sts:TagSession the answer is %+v, %+v", a.Pod, a.Problem)
	}
	_, err := w.Connection().Decide(t.Context(), sandbox.Question{Namespace: "Shop", ServiceAccount: "cart", Action: "s3:GetObject", Resource: "*"})
	if !problem.Is(err, problem.RequestInvalid) {
		t.Errorf("for what is no namespace the answer is %v", err)
	}
	_, err = w.Connection().Decide(t.Context(), sandbox.Question{Principal: "arn:aws:iam::444455556666:user/a", Action: "s3:GetObject", Resource: "*"})
	if !problem.Is(err, problem.RequestInvalid) {
		t.Errorf("for a user of another account the answer is %v", err)
	}
}

func TestARefusedTargetRoleNamesAllThatTheCallNeeds(t *testing.T) {
	for action, want := range map[string]struct{ action, fix, says string }{
		"sts:SetSourceIdentity": {"sts:AssumeRole", `add "sts:AssumeRole" and "sts:TagSession" to the Action of statement 1`, ""},
		"sts:AssumeRole":        {"sts:TagSession", `add "sts:TagSession" to the Action of statement 1`, "sts:AssumeRole is allowed, but the same call needs sts:TagSession"},
	} {
		t.Run(action, func(t *testing.T) {
			w := start(t, sandbox.Config{})
			association := bind(t, w)
			const target = "arn:aws:iam::111122223333:role/target"
			trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + role + `"},"Action":"` + action + `"}]}`
			if _, err := admin(w).CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("target"), AssumeRolePolicyDocument: &trust}); err != nil {
				t.Fatal(err)
			}
			d := decide(t, w, "sts:AssumeRole", target).Decision
			if d == nil || d.Decision != policy.ImplicitDeny || d.Action != want.action || !strings.Contains(d.Fix, want.fix) || !strings.Contains(d.Explanation, want.says) {
				t.Errorf("the answer is %+v", d)
			}
			if _, err := w.Associations.Update(t.Context(), association.ID(), func(a *podid.Association) error {
				a.Target = target
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			p := decide(t, w, "s3:GetObject", "*").Problem
			if p == nil || !strings.Contains(p.STS, "not authorized to perform: "+want.action+" on") || !strings.Contains(p.STS, want.fix) {
				t.Errorf("the problem is %+v", p)
			}
		})
	}
}

func TestAskingLeavesNoTrace(t *testing.T) {
	for _, principal := range []sandbox.Principal{sandbox.ServicePrincipal, sandbox.BrokerUser} {
		t.Run(string(principal), func(t *testing.T) {
			w := start(t, sandbox.Config{Principal: principal})
			association := bind(t, w)
			put(t, w, "cart", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],"Resource":"*"}]}`)
			trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + role + `"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`
			if _, err := admin(w).CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("target"), AssumeRolePolicyDocument: &trust}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Associations.Update(t.Context(), association.ID(), func(a *podid.Association) error {
				a.Target = "arn:aws:iam::111122223333:role/target"
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			before := len(w.Pods.List())
			if a := decide(t, w, "s3:GetObject", "arn:aws:s3:::orders/1"); a.Decision == nil || !strings.Contains(a.Decision.Principal, "assumed-role/target/") {
				t.Fatalf("the answer is %+v", a)
			}
			for _, name := range []string{"cart", "target"} {
				out, err := admin(w).GetRole(t.Context(), &iam.GetRoleInput{RoleName: &name})
				if err != nil {
					t.Fatal(err)
				}
				if used := out.Role.RoleLastUsed; used != nil && used.LastUsedDate != nil {
					t.Errorf("role %s was used at %s", name, used.LastUsedDate)
				}
			}
			if principal == sandbox.BrokerUser {
				keys, err := admin(w).ListAccessKeys(t.Context(), &iam.ListAccessKeysInput{UserName: aws.String("podid-broker")})
				if err != nil {
					t.Fatal(err)
				}
				out, err := admin(w).GetAccessKeyLastUsed(t.Context(), &iam.GetAccessKeyLastUsedInput{AccessKeyId: keys.AccessKeyMetadata[0].AccessKeyId})
				if err != nil {
					t.Fatal(err)
				}
				if used := out.AccessKeyLastUsed.LastUsedDate; used != nil {
					t.Errorf("the broker's key was used at %s", used)
				}
			}
			if after := len(w.Pods.List()); after != before {
				t.Errorf("there are %d pods, and were %d", after, before)
			}
			key := w.AWS.Admin()
			if _, err := bucket(w, key.AccessKeyID, key.SecretAccessKey, "").ListBuckets(t.Context(), nil); err != nil {
				t.Errorf("afterwards the world answers %v", err)
			}
		})
	}
}

// TestAnAnswerCrossesTheControlAPIWhole compares the wire with the call.
func TestAnAnswerCrossesTheControlAPIWhole(t *testing.T) {
	w := start(t, sandbox.Config{})
	bind(t, w)
	put(t, w, "cart", ownNamespace)
	a := decide(t, w, "s3:GetObject", "arn:aws:s3:::orders/other")
	plain := a.Decision
	if n := len(plain.Statements); n != 5 {
		t.Fatalf("%d statements came", n)
	}
	if s := plain.Statements[4]; s.Number != 5 || s.Line != 6 || s.Column != 2 || s.Type != policy.Identity || s.Sid != "No" || s.Mismatch() == "" {
		t.Errorf("the last statement came as %+v", s)
	}
	names, err := w.Connection().ServiceAccounts(t.Context())
	if err != nil || len(names) != 1 || names[0] != "shop/cart" {
		t.Errorf("the service accounts are %q, %v", names, err)
	}
}

func TestABrokerIsOfTheRegionsPartition(t *testing.T) {
	for _, principal := range []sandbox.Principal{sandbox.BrokerUser, sandbox.BrokerRole} {
		w := start(t, sandbox.Config{Principal: principal, Region: "cn-north-1"})
		if got := w.Principal(); !strings.HasPrefix(got, "arn:aws-cn:iam::") {
			t.Errorf("the %s is %s", principal, got)
		}
	}
}

func decide(t *testing.T, w *sandbox.World, action, resource string) sandbox.Answer {
	t.Helper()
	a, err := w.Connection().Decide(t.Context(), sandbox.Question{Namespace: "shop", ServiceAccount: "cart", Action: action, Resource: resource})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func put(t *testing.T, w *sandbox.World, role, document string) {
	t.Helper()
	if _, err := admin(w).PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &role, PolicyName: aws.String("p"), PolicyDocument: &document}); err != nil {
		t.Fatal(err)
	}
}

func bucket(w *sandbox.World, id, secret, token string) *s3.Client {
	return s3.New(s3.Options{
		Region: w.Cluster.Region, BaseEndpoint: &w.Endpoint, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, token),
		HTTPClient:  http.DefaultClient,
	})
}
