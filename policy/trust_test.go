package policy_test

import (
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
