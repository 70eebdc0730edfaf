// Package clockskew is the scenario that its README tells.
package clockskew

import (
	_ "embed"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/cluster/lab"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)
	t.Cleanup(func() { s.AWS.Skew(0) })
	s.Bind("cart", "skewed")
	// Every pod is new to the agent, so podid-auth has to ask STS.
	served := func(name string) {
		t.Helper()
		a := s.Served(s.Pod(name, "cart", "node1"), "")
		t.Logf("%s: until %v", name, a.Expires)
	}

	s.Step("AWS's clock is four minutes ahead")
	s.AWS.Skew(4 * time.Minute)
	served("ahead")

	s.Step("It is four minutes behind")
	s.AWS.Skew(-4 * time.Minute)
	served("behind")

	s.Step("It is twenty minutes ahead")
	s.AWS.Skew(20 * time.Minute)
	before := s.AWS.Calls("AssumeRole")
	served("far")
	if n := s.AWS.Calls("AssumeRole") - before; n != 2 {
		t.Errorf("%d calls of AssumeRole: one is refused, and one has the right time", n)
	}

	s.Step("A token that the API server")
	p := s.Pod("early", "cart", "node1")
	ahead := func(by time.Duration) string {
		t.Helper()
		account, err := s.Client.CoreV1().ServiceAccounts(s.Space).Get(s.Ctx(), "cart", meta.GetOptions{})
		s.OK(err)
		token, err := s.Forge(podid.Workload{
			Namespace: s.Space, ServiceAccount: "cart", ServiceAccountUID: string(account.UID),
			Pod: p.Name, PodUID: string(p.UID), Node: "node1",
		}, podid.AudiencePods, time.Now().Add(by), time.Hour)
		s.OK(err)
		return token
	}
	s.Refused(p, ahead(time.Minute), problem.TokenNotYetValid)
	s.AWS.Skew(0)
	s.Served(p, ahead(5*time.Second))

	s.Step("AWS's clock is right again")
	s.AWS.Skew(0)
	served("right")
}
