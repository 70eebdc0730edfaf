// Package podended is the scenario that its README tells.
package podended

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

	s.Step("A pod has credentials")
	s.Bind("cart", "ended")
	p, other := s.Pod("one", "cart", "node1"), s.Pod("other", "cart", "node1")
	token, err := p.Token(s.Ctx(), "")
	s.OK(err)
	s.Served(other, token)

	s.Step("The pod is deleted")
	s.OK(p.Delete(s.Ctx()))

	s.Step("Within 5 s the agent refuses")
	s.Logf("refused after %v", s.BecomesRefused(other, token, problem.PodGone, lab.Takes).Round(10*time.Millisecond))

	s.Step("The token of a pod that ran to its end")
	job, err := s.CreatePod(s.Ctx(), lab.PodSpec{Namespace: s.Space, ServiceAccount: "cart", Name: "job", Node: "node1", Args: []string{"list", lab.Bucket}})
	s.OK(err)
	token, err = job.Token(s.Ctx(), "")
	s.OK(err)
	if code, said, err := job.AwaitEnd(s.Ctx()); err != nil || code != 0 {
		t.Fatalf("%v: %s", err, said)
	}
	s.Logf("refused after %v", s.BecomesRefused(other, token, problem.PodGone, lab.Takes).Round(10*time.Millisecond))
	agent, err := s.AgentOf(s.Ctx(), "node1")
	s.OK(err)
	bearer, err := s.AgentToken(s.Ctx(), agent)
	s.OK(err)
	if a, err := s.Exchange(s.Ctx(), bearer, token); err != nil || a.Code != string(problem.PodFinished) {
		t.Errorf("podid-auth: %s, %v", a, err)
	}
}
