// Package nodeadded is the scenario that its README tells.
package nodeadded

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/openpodidentity/podid/test/cluster/lab"
	"github.com/openpodidentity/podid/test/kube"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed README.md
var readme string

const taint = "podid.dev/agent-not-ready"

// Run runs it, last of all: the node stays.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("`podid install --startup-taint`")
	s.RunPodid("install", "--startup-taint", "--wait")
	s.Bind("cart", "added")
	name := fmt.Sprintf("node%d", len(s.Nodes())+1)
	p, err := s.CreatePod(s.Ctx(), lab.PodSpec{Namespace: s.Space, ServiceAccount: "cart", Name: "first", Edit: func(pod *core.Pod) {
		pod.Spec.NodeSelector = map[string]string{core.LabelHostname: name}
	}})
	s.OK(err)

	s.Step("The node joins with the taint")
	began := time.Now()
	node, err := s.StartNode(s.Ctx(), kube.NodeOptions{Taints: []core.Taint{{Key: taint, Effect: core.TaintEffectNoSchedule}}})
	s.OK(err)
	if node.Name != name {
		t.Fatalf("the node is %s, not %s", node.Name, name)
	}
	s.Within(time.Minute, func(ctx context.Context) error {
		is, err := s.Client.CoreV1().Nodes().Get(ctx, name, meta.GetOptions{})
		if err == nil && slices.ContainsFunc(is.Spec.Taints, func(t core.Taint) bool { return t.Key == taint }) {
			err = errors.New("it has the taint still")
		}
		return err
	})
	t.Logf("the taint is lifted %v after the node's start", time.Since(began).Round(100*time.Millisecond))

	s.Step("The pod was not put there before")
	s.OK(p.AwaitReady(s.Ctx()))
	s.Served(p, "")
	agent, err := s.AgentOf(s.Ctx(), name)
	s.OK(err)
	ready, put := since(agent, core.PodReady), since(p.Pod, core.PodScheduled)
	if ready.IsZero() || put.Before(ready) {
		t.Errorf("the pod was put there at %v, and the agent was ready at %v", put, ready)
	}
}

// since is when a condition of a pod came to hold, by the second.
func since(pod *core.Pod, kind core.PodConditionType) time.Time {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind && c.Status == core.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}
