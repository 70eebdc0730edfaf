package roles_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/problem"
)

// documents are trust policies by role; a role that has none cannot be read, and
// one of gone is missing.
type documents map[podid.RoleARN]string

const gone = "gone"

func (d documents) TrustPolicy(_ context.Context, role podid.RoleARN) (string, error) {
	switch document, ok := d[role]; {
	case !ok:
		return "", errors.New("AccessDenied: not authorized to perform: iam:GetRole")
	case document == gone:
		return "", problem.New(problem.RoleMissing, "role %s does not exist", role)
	default:
		return document, nil
	}
}

// trust makes a trust policy of one Allow statement.
func trust(principal, actions, condition string) string {
	if condition != "" {
		condition = `,"Condition":` + condition
	}
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Sid":"SecretSid","Effect":"Allow","Principal":%s,"Action":%s%s}]}`, principal, actions, condition)
}

const (
	both    = `["sts:AssumeRole","sts:TagSession"]`
	service = `{"Service":"pods.eks.amazonaws.com"}`
	broker  = `{"AWS":"` + brokerARN + `"}`
	others  = `{"AWS":"arn:aws:iam::999988887777:user/somebody-else"}`
)

func TestARefusalNamesWhatRefused(t *testing.T) {
	denied := refusal(403, "AccessDenied", "User: "+brokerARN+" is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::111122223333:role/reader")
	deny := func(condition string) string {
		return strings.Replace(trust(broker, both, ""), `}]}`, `},{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"sts:*","Condition":`+condition+`}]}`, 1)
	}
	for _, test := range []struct {
		name      string
		document  string
		asService bool
		noTags    bool
		code      problem.Code
		says      []string
		logs      string
	}{
		{"no principal", trust(others, both, ""), false, false, problem.TrustPrincipal, []string{"role/reader", "podid trust-policy"},
			`role/reader; trust policy: sts:AssumeRole: statement 1 (SecretSid): Principal wants "AWS:arn:aws:iam::999988887777:user/somebody-else", has "`},
		{"no service principal", trust(others, both, ""), true, false, problem.TrustPrincipal, []string{"pods.eks.amazonaws.com", "podid trust-policy"}, "somebody-else"},
		{"a broker is not the service", trust(service, both, ""), false, false, problem.TrustPrincipal, []string{"outside EKS nobody can be"}, ""},
		{"no sts:TagSession", trust(broker, `"sts:AssumeRole"`, ""), false, false, problem.TrustTagSession, []string{`add "sts:TagSession"`}, ""},
		{"no sts:TagSession for the service", trust(service, `"sts:AssumeRole"`, ""), true, false, problem.TrustTagSession, []string{`add "sts:TagSession"`}, ""},
		{"no sts:AssumeRole", trust(broker, `"sts:TagSession"`, ""), false, false, problem.TrustInvalid, []string{"does not allow sts:AssumeRole"}, ""},
		{"another namespace", trust(broker, both, `{"StringEquals":{"aws:RequestTag/kubernetes-namespace":"billing-secret"}}`), false, false,
			problem.TrustCondition, []string{`aws:RequestTag/kubernetes-namespace is "shop"`}, "billing-secret"},
		{"another cluster", trust(service, both, `{"ArnEquals":{"aws:SourceArn":"arn:aws:eks:us-east-1:111122223333:cluster/secret"}}`), true, false,
			problem.TrustCondition, []string{`aws:SourceArn is "arn:aws:eks:eu-central-1:111122223333:cluster/lab"`}, "cluster/secret"},
		{"a source ARN for a broker", trust(broker, both, `{"ArnEquals":{"aws:SourceArn":"arn:aws:eks:eu-central-1:111122223333:cluster/lab"}}`), false, false,
			problem.TrustCondition, []string{"only when an AWS service calls", "aws:RequestTag/eks-cluster-arn"}, ""},
		{"tags wanted and disabled", trust(broker, both, `{"StringEquals":{"aws:RequestTag/kubernetes-namespace":"shop"}}`), false, true,
			problem.TrustCondition, []string{"session tags are disabled on this association", "set disableSessionTags of the association to false"}, ""},
		{"a tag that podid does not send", trust(broker, both, `{"StringEquals":{"aws:RequestTag/team":"x"}}`), false, false,
			problem.TrustCondition, []string{"none of the session tags", "kubernetes-pod-name"}, ""},
		{"a second factor", trust(broker, both, `{"Bool":{"aws:MultiFactorAuthPresent":"true"}}`), false, false,
			problem.TrustCondition, []string{"second factor", "Fix: remove that condition from the role's trust policy."}, ""},
		{"TLS wanted where there is none", trust(broker, both, `{"Bool":{"aws:SecureTransport":"true"}}`), false, false,
			problem.TrustCondition, []string{"plain HTTP", "https endpoint"}, `statement 1 (SecretSid): Condition Bool aws:SecureTransport wants "true", has "false"`},
		{"something podid does not know", trust(broker, both, `{"StringEquals":{"aws:PrincipalOrgID":"o-secret"}}`), false, false,
			problem.TrustCondition, []string{"no value of aws:PrincipalOrgID that podid knows"}, "o-secret"},
		{"a condition on the broker", trust(`{"AWS":"arn:aws:iam::111122223333:root"}`, both, `{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:user/secret"}}`), false, false,
			problem.TrustCondition, []string{"the session's value of aws:PrincipalArn"}, brokerARN},
		{"a deny", deny(`{"StringEquals":{"aws:RequestTag/kubernetes-namespace":"shop"}}`), false, false, problem.TrustDenied, []string{"a Deny statement"}, "Deny"},
		{"admitted", trust(broker, both, ""), false, false, problem.TrustDenied, []string{"admits the session", "podid's own principal lacks sts:AssumeRole"}, ""},
		{"admitted without tags", trust(broker, `"sts:AssumeRole"`, ""), false, true, problem.TrustDenied, []string{"admits the session"}, ""},
		{"gone", gone, false, false, problem.RoleMissing, []string{"role/reader does not exist"}, ""},
		{"unreadable", "{", false, false, problem.TrustDenied, []string{"STS refuses"}, "parse trust policy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			assumer, _ := world(t, denied)
			assumer.Principal.Service = test.asService
			assumer.Trust = documents{bound.Role: test.document}
			a := bound
			a.DisableSessionTags = test.noTags
			_, err := assumer.Assume(t.Context(), workload, a)
			for _, says := range test.says {
				wantProblem(t, err, test.code, says)
			}
			if !strings.Contains(err.Error(), test.logs) {
				t.Errorf("the log does not say %q: %v", test.logs, err)
			}
			message := problem.Of(err).Message()
			for _, secret := range []string{brokerARN, "somebody-else", "999988887777", "secret", "SecretSid"} {
				if strings.Contains(message, secret) {
					t.Errorf("the pod learns %q: %s", secret, message)
				}
			}
		})
	}
}

func TestARefusedTargetNamesWhatRefused(t *testing.T) {
	const session = `{"AWS":"arn:aws:iam::111122223333:role/reader"}`
	denied := refusal(403, "AccessDenied", "User: x is not authorized to perform: sts:AssumeRole on resource: "+targetRole)
	for _, test := range []struct {
		name, document string
		code           problem.Code
		says           string
		fix            string
	}{
		{"no principal", trust(others, both, ""), problem.TargetRoleDenied, "does not name the association's role",
			"name role " + string(bound.Role)},
		{"no sts:TagSession", trust(session, `"sts:AssumeRole"`, ""), problem.TargetRoleDenied, "does not allow sts:TagSession",
			`add "sts:TagSession"`},
		{"another external ID", trust(session, both, `{"StringEquals":{"sts:ExternalId":"x/secret"}}`), problem.TargetRoleDenied,
			`sts:ExternalId is "eu-central-1/111122223333/lab/shop/cart"`, "the association's externalId"},
		{"an inherited tag", trust(session, both, `{"StringEquals":{"aws:PrincipalTag/kubernetes-namespace":"secret"}}`), problem.TargetRoleDenied,
			`aws:PrincipalTag/kubernetes-namespace is "shop"`, "correct the condition in the target role's trust policy"},
		{"a service's own key", trust(session, both, `{"StringEquals":{"aws:SourceAccount":"111122223333"}}`), problem.TargetRoleDenied,
			"only when an AWS service calls", "remove that condition"},
		{"a deny", strings.Replace(trust(session, both, ""), "Allow", "Deny", 1), problem.TargetRoleDenied, "a Deny statement",
			"narrow the Deny statement in the target role's"},
		{"admitted", trust(session, both, `{"StringEquals":{"sts:ExternalId":"eu-central-1/111122223333/lab/shop/cart"}}`), problem.TargetRoleDenied,
			"role's own policies do not allow it sts:AssumeRole and sts:TagSession", "in a policy of the association's role"},
		{"gone", gone, problem.RoleMissing, "targetRoleArn", "create the target role"},
	} {
		t.Run(test.name, func(t *testing.T) {
			assumer, _ := world(t, assumed("111122223333", "reader", 0), denied)
			assumer.Trust = documents{targetRole: test.document}
			a := bound
			a.Target = targetRole
			_, err := assumer.Assume(t.Context(), workload, a)
			wantProblem(t, err, test.code, test.says)
			if fix := problem.Of(err).Fix; !strings.Contains(fix, test.fix) || strings.Contains(fix, "both actions") {
				t.Errorf("the fix is %q", fix)
			}
			if message := problem.Of(err).Message(); strings.Contains(message, "secret") || strings.Contains(message, "somebody-else") {
				t.Errorf("the pod learns too much: %s", message)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name, document string
		principal      roles.Principal
		code           problem.Code // "" for nil
	}{
		{"the service", trust(service, both, ""), roles.Principal{Service: true}, ""},
		{"the service, conditions aside", trust(service, both, `{"StringEquals":{"aws:RequestTag/kubernetes-namespace":"x"}}`), roles.Principal{Service: true}, ""},
		{"the service without sts:TagSession", trust(service, `"sts:AssumeRole"`, ""), roles.Principal{Service: true}, problem.TrustInvalid},
		{"another service", trust(`{"Service":"ec2.amazonaws.com"}`, both, ""), roles.Principal{Service: true}, problem.TrustInvalid},
		{"a broker's user", trust(broker, both, ""), roles.Principal{ARN: brokerARN}, ""},
		{"a broker's account", trust(`{"AWS":"111122223333"}`, `"sts:*"`, ""), roles.Principal{ARN: brokerARN}, ""},
		{"a broker's role", trust(`{"AWS":"arn:aws:iam::111122223333:role/team/broker"}`, both, ""), roles.Principal{ARN: "arn:aws:iam::111122223333:role/team/broker"}, ""},
		{"a broker's root", trust(`{"AWS":"arn:aws:iam::111122223333:root"}`, both, ""), roles.Principal{ARN: "arn:aws:iam::111122223333:root"}, ""},
		{"the service, for a broker", trust(service, both, ""), roles.Principal{ARN: brokerARN}, problem.TrustInvalid},
		{"another user", trust(others, both, ""), roles.Principal{ARN: brokerARN}, problem.TrustInvalid},
		{"a role that is gone", gone, roles.Principal{Service: true}, problem.RoleMissing},
		{"a policy we cannot read", "{", roles.Principal{Service: true}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			assumer := &roles.Assumer{Cluster: cluster, Principal: test.principal, Trust: documents{bound.Role: test.document}}
			switch err := assumer.Check(t.Context(), bound.Role); {
			case test.code == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.code != "" && !problem.Is(err, test.code):
				t.Errorf("error %v, want %s", err, test.code)
			}
			if err := assumer.Check(t.Context(), "arn:aws:iam::111122223333:role/unreadable"); err != nil {
				t.Errorf("could not tell, and refused: %v", err)
			}
		})
	}
	if err := (&roles.Assumer{}).Check(t.Context(), bound.Role); err != nil {
		t.Errorf("nobody to ask, and refused: %v", err)
	}
}

func role(arn, document string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, `<GetRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetRoleResult><Role><Path>/</Path><RoleName>reader</RoleName><RoleId>AROA</RoleId><Arn>%s</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate><AssumeRolePolicyDocument>%s</AssumeRolePolicyDocument></Role></GetRoleResult></GetRoleResponse>`, arn, document)
	}
}

func caller(account string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>arn:aws:iam::%[1]s:user/x</Arn><UserId>AIDA</UserId><Account>%[1]s</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`, account)
	}
}

func TestIAMReadsTheRolesOwnTrustPolicy(t *testing.T) {
	noEntity := refusal(404, "NoSuchEntity", "The role with name reader cannot be found.")
	for _, test := range []struct {
		name    string
		answers []http.HandlerFunc
		want    string
		missing bool
	}{
		{"encoded", []http.HandlerFunc{role(string(bound.Role), "%7B%22Version%22%3A%20%222012-10-17%22%2C%22x%22%3A%22a%2Bb%22%7D")}, `{"Version": "2012-10-17","x":"a+b"}`, false},
		{"no such role", []http.HandlerFunc{noEntity, caller("111122223333")}, "", true},
		{"no such role, but in another account", []http.HandlerFunc{noEntity, caller("444455556666")}, "", false},
		{"no such role, and who asks is not known", []http.HandlerFunc{noEntity, refusal(403, "AccessDenied", "no")}, "", false},
		{"of another path", []http.HandlerFunc{role("arn:aws:iam::111122223333:role/team/reader", "%7B%7D")}, "", true},
		{"of another account", []http.HandlerFunc{role("arn:aws:iam::444455556666:role/reader", "%7B%7D")}, "", false},
		{"no permission", []http.HandlerFunc{refusal(403, "AccessDenied", "not authorized to perform: iam:GetRole")}, "", false},
		{"badly encoded", []http.HandlerFunc{role(string(bound.Role), "%7")}, "", false},
		{"no role in it", []http.HandlerFunc{caller("111122223333")}, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			assumer, _ := world(t, test.answers...)
			document, err := roles.IAM{AWS: assumer.AWS}.TrustPolicy(t.Context(), bound.Role)
			if document != test.want || (err == nil) != (test.want != "") || problem.Is(err, problem.RoleMissing) != test.missing {
				t.Errorf("%q, %v", document, err)
			}
		})
	}
}
