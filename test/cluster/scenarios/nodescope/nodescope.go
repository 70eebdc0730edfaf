// Package nodescope is the scenario that its README tells.
package nodescope

import (
	"context"
	_ "embed"
	"errors"
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

	s.Step("A pod runs on node2")
	s.Bind("cart", "scope")
	victim, thief := s.Pod("victim", "cart", "node2"), s.Pod("thief", "cart", "node1")
	token, err := victim.Token(s.Ctx(), "")
	s.OK(err)

	s.Step("The agent of node1")
	s.Refused(thief, token, problem.NodeMismatch)

	s.Step("Whoever has taken over node1")
	agent, err := s.AgentOf(s.Ctx(), "node1")
	s.OK(err)
	stolen, err := s.AgentToken(s.Ctx(), agent)
	s.OK(err)
	if a, err := s.Exchange(s.Ctx(), stolen, token); err != nil || a.OK() || a.Code != string(problem.NodeMismatch) {
		t.Errorf("%s, %v", a, err)
	}

	s.Step("podid-auth's audit record")
	s.Within(lab.Takes, func(ctx context.Context) error {
		records, err := s.Logs(ctx, "auth")
		if err != nil {
			return err
		}
		for line := range strings.Lines(records) {
			if strings.Contains(line, string(problem.NodeMismatch)) && strings.Contains(line, "node1") && strings.Contains(line, string(victim.UID)) {
				s.Log(line)
				return nil
			}
		}
		return errors.New("no record names node-mismatch, node1 and the pod")
	})

	s.Step("The pod itself")
	s.Served(victim, "")
}
