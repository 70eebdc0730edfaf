// Package signingkeyremoved is the scenario that its README tells.
package signingkeyremoved

import (
	"context"
	_ "embed"
	"fmt"
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

	s.Step("A pod has credentials")
	s.Bind("cart", "keys")
	p := s.Pod("first", "cart", "node1")
	s.Served(p, "")
	old, err := p.Token(s.Ctx(), "")
	s.OK(err)

	s.Step("The API server signs with a second key")
	s.OK(s.RotateSigningKey(true))
	restart(s)
	s.Served(p, "")
	for _, workload := range []string{"deployment/podid-auth", "deployment/podid-webhook", "daemonset/podid-agent"} {
		s.OK(s.Restart(s.Ctx(), workload))
	}
	s.Served(p, "")

	s.Step("The API server signs with a third key")
	s.OK(s.RotateSigningKey(true))
	s.ForgetSigningKeys(2)
	restart(s)

	s.Step("A new pod has a token")
	third := s.Pod("third", "cart", "node1")
	t.Logf("served after %v", s.BecomesServed(third, 30*time.Second).Round(10*time.Millisecond))

	s.Step("The first pod's token is refused")
	t.Logf("the agent refuses it after %v", s.BecomesRefused(third, old, problem.TokenKeyUnknown, 30*time.Second).Round(10*time.Millisecond))
	agent, err := s.AgentOf(s.Ctx(), "node1")
	s.OK(err)
	bearer, err := s.AgentToken(s.Ctx(), agent)
	s.OK(err)
	s.Within(lab.Takes, func(ctx context.Context) error {
		a, err := s.Exchange(ctx, bearer, old)
		if err == nil && a.Code != string(problem.TokenKeyUnknown) {
			err = fmt.Errorf("podid-auth: %s", a)
		}
		return err
	})
}

func restart(s *lab.Scenario) {
	s.Helper()
	s.StopAPIServer()
	s.OK(s.StartAPIServer(s.Ctx()))
}
