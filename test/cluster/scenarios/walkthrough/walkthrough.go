// Package walkthrough is the walk-through by the object door.
package walkthrough

import (
	_ "embed"
	"strings"
	"testing"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/cluster/lab"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("A role trusts podid's principal")
	role, err := s.Role(s.Ctx(), "EKS-Pod-Identity-Role")
	s.OK(err)

	s.Step("A PodIdentityAssociation binds it")
	_, err = s.Associate(s.Ctx(), s.Space, "test-sa", role)
	s.OK(err)

	s.Step("A pod of that service account lists the bucket")
	said := list(s, s.Space, "test-sa", 0)
	for _, want := range []string{"I am arn:aws:sts::" + lab.Account + ":assumed-role/EKS-Pod-Identity-Role/eks-lab-list-test-", "readme.txt"} {
		if !strings.Contains(said, want) {
			s.Fatalf("the pod does not say %q: %s", want, said)
		}
	}
	s.Log(said)

	s.Step("Its session carries the six tags")
	document, err := policy.TrustStatement{AWS: s.Principal.ARN, Service: service(s.Principal), Tags: map[string]string{
		podid.TagClusterARN: s.Identity.ARN(), podid.TagClusterName: s.Identity.Name, podid.TagNamespace: s.Space,
		podid.TagServiceAccount: "test-sa", podid.TagPodName: "list-test-sa", podid.TagPodUID: "????????-????-????-????-????????????",
	}}.Document()
	s.OK(err)
	_, err = s.AWS.Role(s.Ctx(), "EKS-Pod-Identity-Role", string(document), lab.Permissions)
	s.OK(err)
	list(s, s.Space, "test-sa", 0)

	s.Step("A pod of the same service account in another namespace")
	other := s.Space + "-other"
	s.Drops(other)
	p, err := s.StartPod(s.Ctx(), lab.PodSpec{Namespace: other, ServiceAccount: "test-sa", Name: "other"})
	s.OK(err)
	if env := p.Spec.Containers[0].Env; len(env) != 1 {
		t.Errorf("it is injected: %v", env)
	}
	p, err = s.StartPod(s.Ctx(), lab.PodSpec{Namespace: other, ServiceAccount: "test-sa", Name: "by-hand", ByHand: true})
	s.OK(err)
	s.Refused(p, "", problem.AssociationMissing)
}

func service(p lab.Principal) string {
	if p.ARN == "" {
		return podid.ServicePrincipal
	}
	return ""
}

// list runs the application once in a pod, and returns what it said.
func list(s *lab.Scenario, namespace, account string, want int32) string {
	s.Helper()
	p, err := s.CreatePod(s.Ctx(), lab.PodSpec{Namespace: namespace, ServiceAccount: account, Name: "list-" + account, Args: []string{"list", lab.Bucket}})
	s.OK(err)
	code, said, err := p.AwaitEnd(s.Ctx())
	s.OK(err)
	if code != want {
		s.Fatalf("exit code %d, not %d: %s", code, want, said)
	}
	s.OK(p.Delete(s.Ctx()))
	s.OK(p.AwaitGone(s.Ctx()))
	return said
}
