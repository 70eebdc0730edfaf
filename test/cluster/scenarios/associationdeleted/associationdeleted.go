// Package associationdeleted is the scenario that its README tells.
package associationdeleted

import (
	_ "embed"
	"testing"
	"time"

	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/cluster/lab"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("Pods on both nodes")
	s.Bind("cart", "deleted")
	pods := []*lab.Pod{s.Pod("one", "cart", "node1"), s.Pod("two", "cart", "node2")}
	for _, p := range pods {
		s.Served(p, "")
	}

	s.Step("The association is deleted")
	s.OK(s.Dissociate(s.Ctx(), s.Space, "cart"))

	s.Step("Within 5 s the agents")
	for _, p := range pods {
		s.Logf("%s is refused after %v", p.Name, s.BecomesRefused(p, "", problem.AssociationMissing, lab.Takes).Round(10*time.Millisecond))
	}

	s.Step("They go on refusing")
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); {
		for _, p := range pods {
			s.Refused(p, "", problem.AssociationMissing)
		}
	}

	s.Step("The association is made again")
	s.Bind("cart", "deleted")
	for _, p := range pods {
		s.Logf("%s is served after %v", p.Name, s.BecomesServed(p, lab.Takes).Round(10*time.Millisecond))
	}
}
