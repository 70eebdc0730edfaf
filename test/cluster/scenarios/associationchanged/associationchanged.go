// Package associationchanged is the scenario that its README tells.
package associationchanged

import (
	"context"
	_ "embed"
	"fmt"
	"testing"
	"time"

	"github.com/openpodidentity/podid/test/cluster/lab"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("A pod has credentials of a role")
	s.Bind("cart", "first")
	one, two := s.Pod("one", "cart", "node1"), s.Pod("two", "cart", "node2")
	for _, p := range []*lab.Pod{one, two} {
		if role, err := s.RoleOf(s.Ctx(), p); err != nil || role != "first" {
			t.Fatalf("%s is %q, %v", p.Name, role, err)
		}
	}

	s.Step("The association names another role")
	s.Bind("cart", "second")

	s.Step("Within 5 s the pod")
	for _, p := range []*lab.Pod{one, two} {
		took := s.Within(lab.Takes, func(ctx context.Context) error {
			role, err := s.RoleOf(ctx, p)
			if err == nil && role != "second" {
				err = fmt.Errorf("%s is still %s", p.Name, role)
			}
			return err
		})
		s.Logf("%s is a session of the other role after %v", p.Name, took.Round(10*time.Millisecond))
	}

	s.Step("From then on")
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); {
		for _, p := range []*lab.Pod{one, two} {
			if role, err := s.RoleOf(s.Ctx(), p); err != nil || role != "second" {
				t.Fatalf("%s is %q, %v", p.Name, role, err)
			}
		}
	}
}
