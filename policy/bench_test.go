package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/policy"
)

func BenchmarkEvaluateTrust(b *testing.B) {
	trust := mustParse(b, policy.Trust, "trust policy of role R", podIdentityTrust)
	req, set := podIdentityRequest(), policy.Set{Resource: []*policy.Policy{trust}}
	b.ReportAllocs()
	for b.Loop() {
		if !policy.Evaluate(req, set).Allowed {
			b.Fatal("denied")
		}
	}
}

// Benchmark50Statements asks a role whose last statement of fifty allows.
func Benchmark50Statements(b *testing.B) {
	var statements []string
	for i := range 50 {
		statements = append(statements, fmt.Sprintf(`{"Sid":"S%d","Effect":"Allow","Action":["s3:Get*","s3:List*"],"Resource":["arn:aws:s3:::bucket-%d","arn:aws:s3:::bucket-%d/${aws:PrincipalTag/kubernetes-namespace}/*"],"Condition":{"StringLike":{"aws:PrincipalTag/kubernetes-namespace":"team-*"}}}`, i, i, i))
	}
	role := mustParse(b, policy.Identity, "policy of role R", `{"Version":"2012-10-17","Statement":[`+strings.Join(statements, ",")+`]}`)
	req := policy.Request{
		Principal: principals["session"], Action: "s3:GetObject", Resource: "arn:aws:s3:::bucket-49/team-a/object",
		Keys: policy.Keys{
			"aws:PrincipalTag/kubernetes-namespace": {"team-a"}, "aws:PrincipalTag/kubernetes-service-account": {"sa"},
			"aws:PrincipalTag/kubernetes-pod-name": {"pod"}, "aws:SourceIp": {"10.0.0.1"}, "aws:SecureTransport": {"true"},
			"aws:CurrentTime": {"2026-05-01T00:00:00Z"}, "aws:userid": {"AROAEXAMPLE:s1"},
		},
	}
	set := policy.Set{Identity: []*policy.Policy{role}}
	b.ReportAllocs()
	for b.Loop() {
		if !policy.Evaluate(req, set).Allowed {
			b.Fatal("denied")
		}
	}
}

func BenchmarkParseTrust(b *testing.B) {
	document := []byte(podIdentityTrust)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.Parse(policy.Trust, "trust", document); err != nil {
			b.Fatal(err)
		}
	}
}
