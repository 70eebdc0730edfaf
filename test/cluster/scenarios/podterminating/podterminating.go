// Package podterminating is the scenario that its README tells.
package podterminating

import (
	_ "embed"
	"testing"
	"time"

	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/cluster/lab"

	core "k8s.io/api/core/v1"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("A pod with a grace")
	s.Bind("cart", "terminating")
	p, err := s.StartPod(s.Ctx(), lab.PodSpec{
		Namespace: s.Space, ServiceAccount: "cart", Name: "flushes", Node: "node1", Grace: 60,
		Edit: func(pod *core.Pod) {
			pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, core.EnvVar{Name: "APPLICATION_GRACE", Value: "20s"})
		},
	})
	s.OK(err)
	other := s.Pod("other", "cart", "node1")
	s.Served(p, "")
	token, err := p.Token(s.Ctx(), "")
	s.OK(err)

	s.Step("It is deleted")
	s.OK(p.Delete(s.Ctx()))
	deleted := time.Now()

	s.Step("For ten seconds")
	for time.Since(deleted) < 10*time.Second {
		s.Served(p, "")
		time.Sleep(250 * time.Millisecond) // between questions
	}
	s.Bind("cart", "terminating-still")
	s.BecomesServed(p, lab.Takes)
	if role, err := s.RoleOf(s.Ctx(), p); err != nil || role != "terminating-still" {
		t.Errorf("it is %q, %v", role, err)
	}

	s.Step("It is gone")
	s.OK(p.AwaitGone(s.Ctx()))
	s.Logf("refused after %v", s.BecomesRefused(other, token, problem.PodGone, lab.Takes).Round(10*time.Millisecond))
}
