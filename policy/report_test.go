package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/policy"
)

// STS asks for sts:TagSession beside sts:AssumeRole where tags go along: whoever
// mends one of them alone is refused again.
func TestOneAnswerMendsAllThatACallNeeds(t *testing.T) {
	const (
		trusting = `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/app"},"Action":`
		allowing = `{"Effect":"Allow","Resource":"arn:aws:iam::111122223333:role/target","Action":`
		both     = `["sts:AssumeRole","sts:TagSession"]}`
		assume   = `"sts:AssumeRole"}`
		none     = `"sts:SetSourceIdentity"}`
		get      = `"sts:GetSessionToken"}`
	)
	for _, test := range []struct {
		name, trust, identity string
		decision              string
		fix                   []string // of the statements' Actions
		says                  string
	}{
		{"neither anywhere", trusting + none, allowing + get, policy.ImplicitDeny, []string{
			`add "sts:AssumeRole" and "sts:TagSession" to the Action of statement 1 of trust`,
		}, "The same call needs sts:TagSession, for its session tags, which is refused as well."},
		{"tags nowhere", trusting + assume, allowing + assume, policy.ImplicitDeny, []string{
			`add "sts:TagSession" to the Action of statement 1 of trust`,
		}, "sts:AssumeRole is allowed, but the same call needs sts:TagSession, for its session tags."},
		{"another principal", `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/x"},"Action":` + assume, allowing + both, policy.ImplicitDeny, []string{
			`add {"AWS":"arn:aws:iam::111122223333:role/app"} to the Principal of statement 1 of trust`,
			`add "sts:TagSession" to the Action of statement 1 of trust`,
		}, "The same call needs sts:TagSession"},
		{"a service only", `{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:*"}`, allowing + both, policy.ImplicitDeny, []string{
			`add a statement such as {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/app"},"Action":["sts:AssumeRole","sts:TagSession"]} to trust`,
		}, "The same call needs sts:TagSession"},
		{"both", trusting + both, allowing + both, policy.Allowed, nil, "Yes."},
	} {
		set := policy.Set{
			Resource: []*policy.Policy{mustParse(t, policy.Trust, "trust", `{"Version":"2012-10-17","Statement":[`+test.trust+`]}`)},
			Identity: []*policy.Policy{mustParse(t, policy.Identity, "identity", `{"Version":"2012-10-17","Statement":[`+test.identity+`]}`)},
		}
		var decisions []policy.Decision
		for _, action := range []string{"sts:AssumeRole", "sts:TagSession"} {
			decisions = append(decisions, policy.Evaluate(policy.Request{
				Principal: principals["session"], Action: action, Resource: "arn:aws:iam::111122223333:role/target",
				Keys: policy.Keys{"aws:RequestTag/kubernetes-namespace": {"shop"}},
			}, set))
		}
		r := policy.ReportCall(decisions...)
		var fix []string
		for _, ch := range r.Changes {
			fix = append(fix, ch.Text)
		}
		if r.Decision != test.decision || !slices.Equal(fix, test.fix) || !strings.Contains(r.Explanation, test.says) {
			t.Errorf("%s: %s\n%q\nwant %q and %q", test.name, r.Explanation, fix, test.fix, test.says)
		}
	}
}
