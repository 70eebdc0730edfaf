// Package forgedagent is the scenario that its README tells.
package forgedagent

import (
	"context"
	_ "embed"
	"fmt"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/cluster/lab"

	authentication "k8s.io/api/authentication/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed README.md
var readme string

const agents = "podid-agent"

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("A pod runs, and somebody")
	s.Bind("cart", "forged")
	p := s.Pod("one", "cart", "node1")
	pods, err := p.Token(s.Ctx(), "")
	s.OK(err)
	mint := func(namespace, account string, bound *authentication.BoundObjectReference) string {
		t.Helper()
		token, err := s.Token(s.Ctx(), namespace, account, podid.AudienceAuth, bound)
		s.OK(err)
		return token
	}
	refused := func(what, bearer string, code problem.Code) {
		t.Helper()
		a, err := s.Exchange(s.Ctx(), bearer, pods)
		s.OK(err)
		if a.AccessKeyID != "" || a.Code != string(code) {
			t.Errorf("%s: %s, not %s", what, a, code)
		}
		t.Logf("%s: %s", what, a)
	}

	s.Step("A token of another service account")
	refused("another account", mint(s.Space, "cart", nil), problem.CallerUnproven)
	own, err := p.Token(s.Ctx(), podid.AudienceAuth)
	s.OK(err)
	refused("another account's pod", own, problem.CallerUnproven)
	refused("a pod's own token", pods, problem.CallerUnproven)

	s.Step("A token of the agent's service account without a pod")
	refused("no pod", mint(lab.Namespace, agents, nil), problem.CallerUnproven)
	node, err := s.Client.CoreV1().Nodes().Get(s.Ctx(), "node1", meta.GetOptions{})
	s.OK(err)
	refused("a node only", mint(lab.Namespace, agents, &authentication.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}), problem.CallerUnproven)

	s.Step("A token bound to a pod of the agent's service account")
	gone, err := s.AgentOf(s.Ctx(), "node1")
	s.OK(err)
	late := mint(lab.Namespace, agents, &authentication.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: gone.Name, UID: gone.UID})
	s.OK(s.Client.CoreV1().Pods(lab.Namespace).Delete(s.Ctx(), gone.Name, meta.DeleteOptions{}))
	s.Within(time.Minute, func(ctx context.Context) error { return s.Lab.NewAgent(ctx, gone) })
	s.Within(lab.Takes, func(ctx context.Context) error {
		a, err := s.Exchange(ctx, late, pods)
		if err == nil && a.Code != string(problem.CallerUnproven) {
			err = fmt.Errorf("%s", a)
		}
		return err
	})

	s.Step("The agent's own token")
	agent, err := s.AgentOf(s.Ctx(), "node1")
	s.OK(err)
	stolen := mint(lab.Namespace, agents, &authentication.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: agent.Name, UID: agent.UID})
	if a, err := s.Exchange(s.Ctx(), stolen, pods); err != nil || !a.OK() {
		t.Errorf("a pod of its node: %s, %v", a, err)
	}
	pods, err = s.Pod("two", "cart", "node2").Token(s.Ctx(), "")
	s.OK(err)
	refused("a pod of another node", stolen, problem.NodeMismatch)
}
