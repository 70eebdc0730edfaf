// Package principals is the scenario that its README tells.
package principals

import (
	_ "embed"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/cluster/lab"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)
	service := s.Principal
	become := func(as lab.Principal) {
		t.Helper()
		if said, err := s.Install(s.Ctx(), as); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
	}
	t.Cleanup(func() { s.Principal = service })
	document := service.Trust(s.Identity)

	s.Step("podid is given the access key of a user")
	user, err := s.AWS.BrokerUser(s.Ctx())
	s.OK(err)
	become(user)
	s.Bind("user", "trusts-a-user")
	s.BecomesServed(s.Pod("user", "user", "node1"), lab.Takes)

	s.Step("podid is given a configuration file")
	role, err := s.AWS.BrokerRole(s.Ctx())
	s.OK(err)
	become(role)
	s.Bind("role", "trusts-a-role")
	s.BecomesServed(s.Pod("role", "role", "node1"), lab.Takes)

	s.Step("A role that trusts the service alone")
	_, err = s.AWS.Role(s.Ctx(), "trusts-the-service", document, lab.Permissions)
	s.OK(err)
	_, err = s.Associate(s.Ctx(), s.Space, "service", lab.ARN("trusts-the-service"))
	s.OK(err)
	p := s.Pod("service", "service", "node1")
	a := s.Refused(p, "", problem.TrustPrincipal)
	t.Log(a.Error)
	if !strings.Contains(a.Error, "outside EKS nobody can be") {
		t.Error("the error does not say that nobody can be the service")
	}

	s.Step("podid is the service again")
	become(service)
	s.BecomesServed(p, 2*lab.Takes)
}
