package policy_test

import (
	"strings"
	"testing"

	"github.com/openpodidentity/podid/policy"
)

const podIdentityTrust = `{
  "Version": "2012-10-17",
  "Statement": [{
    "Sid": "AllowEksAuthToAssumeRoleForPodIdentity",
    "Effect": "Allow",
    "Principal": {"Service": "pods.eks.amazonaws.com"},
    "Action": ["sts:AssumeRole", "sts:TagSession"],
    "Condition": {
      "StringEquals": {
        "aws:SourceAccount": "111122223333",
        "aws:RequestTag/kubernetes-namespace": "test-namespace",
        "aws:RequestTag/kubernetes-service-account": "test-sa"
      },
      "ArnEquals": {"aws:SourceArn": "arn:aws:eks:eu-central-1:111122223333:cluster/prod"}
    }
  }]
}`

func podIdentityRequest() policy.Request {
	return policy.Request{
		Principal:       policy.Principal{Kind: policy.Service, ARN: "pods.eks.amazonaws.com"},
		Action:          "sts:AssumeRole",
		Resource:        "arn:aws:iam::111122223333:role/EKS-Pod-Identity-Role",
		ResourceAccount: "111122223333",
		Keys: policy.Keys{
			"aws:SourceAccount":                         {"111122223333"},
			"aws:SourceArn":                             {"arn:aws:eks:eu-central-1:111122223333:cluster/prod"},
			"aws:RequestTag/eks-cluster-arn":            {"arn:aws:eks:eu-central-1:111122223333:cluster/prod"},
			"aws:RequestTag/eks-cluster-name":           {"prod"},
			"aws:RequestTag/kubernetes-namespace":       {"test-namespace"},
			"aws:RequestTag/kubernetes-service-account": {"test-sa"},
			"aws:RequestTag/kubernetes-pod-name":        {"test-pod"},
			"aws:RequestTag/kubernetes-pod-uid":         {"8a4d1f0e-2a3b-4c5d-9e8f-001122334455"},
			"aws:TagKeys":                               {"eks-cluster-arn", "eks-cluster-name", "kubernetes-namespace", "kubernetes-service-account", "kubernetes-pod-name", "kubernetes-pod-uid"},
			"sts:RoleSessionName":                       {"eks-prod-test-pod-8a4d1f0e-2a3b-4c5d-9e8f-001122334455"},
		},
	}
}

func mustParse(t testing.TB, kind policy.Type, name, document string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse(kind, name, []byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestThePodIdentityTrustPolicyAdmitsItsService(t *testing.T) {
	trust := mustParse(t, policy.Trust, "trust policy of role R", podIdentityTrust)
	d := policy.Evaluate(podIdentityRequest(), policy.Set{Resource: []*policy.Policy{trust}})
	if !d.Allowed {
		t.Fatalf("denied: %+v", d.Reasons())
	}
}

func TestTheTrustDecisionAllocatesLittle(t *testing.T) {
	trust := mustParse(t, policy.Trust, "trust policy of role R", podIdentityTrust)
	req, set := podIdentityRequest(), policy.Set{Resource: []*policy.Policy{trust}}
	if n := testing.AllocsPerRun(100, func() { policy.Evaluate(req, set) }); n > 10 {
		t.Errorf("%v allocations", n)
	}
}

func TestARefusedTrustNamesTheMostUsefulCause(t *testing.T) {
	statement := func(effect, principal, action, condition string) string {
		return `{"Effect":"` + effect + `","Principal":` + principal + `,"Action":` + action + `,"Condition":` + condition + `}`
	}
	const (
		service = `{"Service":"pods.eks.amazonaws.com"}`
		ec2     = `{"Service":"ec2.amazonaws.com"}`
		both    = `["sts:AssumeRole","sts:TagSession"]`
		one     = `"sts:AssumeRole"`
		always  = `{}`
		ns      = `{"StringEquals":{"aws:RequestTag/kubernetes-namespace":"prod"}}`
		nsAndSA = `{"StringEquals":{"aws:RequestTag/kubernetes-namespace":"prod","aws:RequestTag/kubernetes-service-account":"x"}}`
		source  = `{"ArnEquals":{"aws:SourceArn":"arn:aws:eks:eu-central-1:111122223333:cluster/other"}}`
	)
	for name, c := range map[string]struct {
		statements []string
		want       policy.TrustOutcome
		action     string
		index      int
		key, text  string
	}{
		"allowed":                     {[]string{statement("Allow", service, both, always)}, policy.TrustAllowed, "", 0, "", ""},
		"allowed by two statements":   {[]string{statement("Allow", service, one, always), statement("Allow", service, `"sts:TagSession"`, always)}, policy.TrustAllowed, "", 0, "", ""},
		"nothing at all":              {nil, policy.TrustPrincipal, "sts:AssumeRole", 0, "", ""},
		"another principal":           {[]string{statement("Allow", ec2, both, always)}, policy.TrustPrincipal, "sts:AssumeRole", 0, "", `its Principal is "Service:ec2.amazonaws.com", not pods.eks.amazonaws.com`},
		"no sts:TagSession":           {[]string{statement("Allow", ec2, both, always), statement("Allow", service, one, always)}, policy.TrustAction, "sts:TagSession", 1, "", `its Action is "sts:AssumeRole", not "sts:TagSession" (a session with tags needs both)`},
		"no action that helps":        {[]string{statement("Allow", service, `"sts:AssumeRoleWithWebIdentity"`, always)}, policy.TrustAction, "sts:AssumeRole", 0, "", ""},
		"a condition":                 {[]string{statement("Allow", service, both, ns)}, policy.TrustCondition, "sts:AssumeRole", 0, "aws:RequestTag/kubernetes-namespace", `its condition StringEquals on aws:RequestTag/kubernetes-namespace wants "prod", and the request has "test-namespace"`},
		"a condition on one action":   {[]string{statement("Allow", service, one, always), statement("Allow", service, `"sts:TagSession"`, ns)}, policy.TrustCondition, "sts:TagSession", 1, "aws:RequestTag/kubernetes-namespace", ""},
		"the nearest of conditions":   {[]string{statement("Allow", service, both, nsAndSA), statement("Allow", service, both, source)}, policy.TrustCondition, "sts:AssumeRole", 1, "aws:SourceArn", ""},
		"no tag and a condition":      {[]string{statement("Allow", service, one, ns)}, policy.TrustAction, "sts:TagSession", 0, "", ""},
		"denied":                      {[]string{statement("Allow", service, both, always), statement("Deny", `{"AWS":"*"}`, `"sts:TagSession"`, always)}, policy.TrustDenied, "sts:TagSession", 1, "", ""},
		"a deny that does not apply":  {[]string{statement("Allow", service, both, always), statement("Deny", `{"AWS":"*"}`, both, ns)}, policy.TrustAllowed, "", 0, "", ""},
		"denied before not named":     {[]string{statement("Deny", `{"AWS":"*"}`, both, always)}, policy.TrustDenied, "sts:AssumeRole", 0, "", ""},
		"everyone under a condition":  {[]string{statement("Allow", `{"AWS":"*"}`, both, ns), statement("Allow", ec2, both, always)}, policy.TrustCondition, "sts:AssumeRole", 0, "aws:RequestTag/kubernetes-namespace", ""},
		"named in a condition's case": {[]string{statement("Allow", service, both, `{"StringLike":{"aws:requesttag/Kubernetes-Namespace":"test-*"}}`)}, policy.TrustAllowed, "", 0, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := mustParse(t, policy.Trust, "trust policy", `{"Version":"2012-10-17","Statement":[`+strings.Join(c.statements, ",")+`]}`)
			got := policy.ExplainTrust(p, podIdentityRequest(), "sts:AssumeRole", "sts:TagSession")
			if got.Outcome != c.want || got.Action != c.action || max(got.Reason.Number-1, 0) != c.index || got.Reason.Key != c.key {
				t.Errorf("%+v", got)
			}
			if c.text != "" && got.Reason.Mismatch() != c.text {
				t.Errorf("says %q, want %q", got.Reason.Mismatch(), c.text)
			}
		})
	}
}

// An outcome of ExplainTrust and the decision of Evaluate never contradict each other.
func TestExplainTrustAgreesWithEvaluate(t *testing.T) {
	for name, c := range readCorpus(t)["trust"].Cases {
		t.Run(c.Name, func(t *testing.T) {
			req, set := c.question(t)
			verdict := policy.ExplainTrust(set.Resource[0], req, req.Action)
			decision := policy.Evaluate(req, policy.Set{Resource: set.Resource, Identity: []*policy.Policy{
				mustParse(t, policy.Identity, "all", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`),
			}})
			if decision.Allowed != (verdict.Outcome == policy.TrustAllowed) {
				t.Errorf("%d: Evaluate says %v, ExplainTrust %+v", name, decision.Allowed, verdict)
			}
		})
	}
}

func TestARefusedFederatedSessionNamesTheMostUsefulCause(t *testing.T) {
	const (
		host     = "oidc.eks.eu-central-1.amazonaws.com/id/A"
		provider = "arn:aws:iam::111122223333:oidc-provider/" + host
		saml     = "arn:aws:iam::111122223333:saml-provider/corp"
		web      = "sts:AssumeRoleWithWebIdentity"
	)
	oidc := policy.Request{
		Principal: policy.Principal{Kind: policy.Federated, ARN: provider}, Resource: "arn:aws:iam::111122223333:role/R", ResourceAccount: account,
		Keys: policy.Keys{host + ":sub": {"system:serviceaccount:ns:sa"}, host + ":aud": {"sts.amazonaws.com"}},
	}
	corp := oidc
	corp.Principal.ARN, corp.Keys = saml, policy.Keys{"SAML:aud": {"https://signin.aws.amazon.com/saml"}, "aws:RequestTag/team": {"blue"}, "aws:TagKeys": {"team"}}
	chained := policy.Request{
		Principal: principals["session"], Resource: oidc.Resource, ResourceAccount: account, Keys: policy.Keys{"sts:SourceIdentity": {"alice"}},
	}
	statement := func(federated, actions, condition string) string {
		return `{"Effect":"Allow","Principal":{"Federated":"` + federated + `"},"Action":` + actions + `,"Condition":` + condition + `}`
	}
	subject := func(operator, sub string) string { return `{"` + operator + `":{"` + host + `:sub":"` + sub + `"}}` }
	role := func(actions, condition string) string {
		return `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/app"},"Action":` + actions + `,"Condition":` + condition + `}`
	}
	for name, c := range map[string]struct {
		req       policy.Request
		actions   []string
		statement string
		want      policy.TrustOutcome
		action    string
		text      string
	}{
		"a token":               {oidc, []string{web}, statement(provider, `"`+web+`"`, subject("StringEquals", "system:serviceaccount:ns:sa")), policy.TrustAllowed, "", ""},
		"another subject":       {oidc, []string{web}, statement(provider, `"`+web+`"`, subject("StringEquals", "system:serviceaccount:ns:other")), policy.TrustCondition, web, "and the request has"},
		"a wildcard":            {oidc, []string{web}, statement(provider, `"`+web+`"`, subject("StringEquals", "system:serviceaccount:ns:*")), policy.TrustCondition, web, "to StringEquals a wildcard is a plain character"},
		"a wildcard that works": {oidc, []string{web}, statement(provider, `"`+web+`"`, subject("StringLike", "system:serviceaccount:ns:*")), policy.TrustAllowed, "", ""},
		"another cluster's":     {oidc, []string{web}, statement(provider+"B", `"`+web+`"`, `{}`), policy.TrustPrincipal, web, "its Principal is"},
		"the action of others":  {oidc, []string{web}, statement(provider, `"sts:AssumeRole"`, `{}`), policy.TrustAction, web, `not "sts:AssumeRoleWithWebIdentity"`},
		"the subject's key of another provider": {oidc, []string{web}, statement(provider, `"`+web+`"`, `{"StringEquals":{"oidc.eks.eu-central-1.amazonaws.com/id/B:sub":"system:serviceaccount:ns:sa"}}`),
			policy.TrustCondition, web, "the request does not have that key"},
		"SAML":                     {corp, []string{"sts:AssumeRoleWithSAML"}, statement(saml, `"sts:AssumeRoleWithSAML"`, `{"StringEquals":{"SAML:aud":"https://signin.aws.amazon.com/saml"}}`), policy.TrustAllowed, "", ""},
		"SAML with tags":           {corp, []string{"sts:AssumeRoleWithSAML", "sts:TagSession"}, statement(saml, `"sts:AssumeRoleWithSAML"`, `{}`), policy.TrustAction, "sts:TagSession", ""},
		"SAML from China":          {corp, []string{"sts:AssumeRoleWithSAML"}, statement(saml, `"sts:AssumeRoleWithSAML"`, `{"StringEquals":{"SAML:aud":"https://signin.amazonaws.cn/saml"}}`), policy.TrustCondition, "sts:AssumeRoleWithSAML", ""},
		"a source identity":        {chained, []string{"sts:AssumeRole", "sts:SetSourceIdentity"}, role(`["sts:AssumeRole","sts:SetSourceIdentity"]`, `{"StringLike":{"sts:SourceIdentity":"a*"}}`), policy.TrustAllowed, "", ""},
		"no sts:SetSourceIdentity": {chained, []string{"sts:AssumeRole", "sts:SetSourceIdentity"}, role(`"sts:AssumeRole"`, `{}`), policy.TrustAction, "sts:SetSourceIdentity", ""},
		"another source identity":  {chained, []string{"sts:AssumeRole", "sts:SetSourceIdentity"}, role(`["sts:AssumeRole","sts:SetSourceIdentity"]`, `{"StringEquals":{"sts:SourceIdentity":"bob"}}`), policy.TrustCondition, "sts:AssumeRole", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := mustParse(t, policy.Trust, "trust policy", `{"Version":"2012-10-17","Statement":[`+c.statement+`]}`)
			got := policy.ExplainTrust(p, c.req, c.actions...)
			if got.Outcome != c.want || got.Action != c.action || !strings.Contains(got.Reason.Mismatch(), c.text) {
				t.Errorf("%q %+v", got.Reason.Mismatch(), got)
			}
		})
	}
}
