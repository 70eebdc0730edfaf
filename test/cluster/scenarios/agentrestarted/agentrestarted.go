// Package agentrestarted is the scenario that its README tells.
package agentrestarted

import (
	"context"
	_ "embed"
	"fmt"
	"testing"
	"time"

	"github.com/openpodidentity/podid/test/cluster/lab"

	apps "k8s.io/api/apps/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("A pod on each node")
	s.Bind("cart", "restarted")
	raw := []*lab.Pod{s.Pod("raw1", "cart", "node1"), s.Pod("raw2", "cart", "node2")}
	sdk := []*lab.Pod{s.Pod("sdk1", "cart", "node1"), s.Pod("sdk2", "cart", "node2")}
	begin := func() {
		t.Helper()
		for i := range raw {
			s.Served(raw[i], "")
			s.Served(sdk[i], "")
			s.OK(raw[i].Load(s.Ctx(), 100*time.Millisecond, "agent"))
			s.OK(sdk[i].Load(s.Ctx(), 100*time.Millisecond, "sdk"))
		}
	}
	// most is how many requests of one try may fail.
	end := func(what string, mostRaw, mostSDK int) {
		t.Helper()
		for i := range raw {
			for _, c := range []struct {
				p    *lab.Pod
				most int
			}{{raw[i], mostRaw}, {sdk[i], mostSDK}} {
				f, err := c.p.EndLoad(s.Ctx())
				s.OK(err)
				t.Logf("%s, %s: %s", what, c.p.Name, f)
				if f.Failed > c.most || f.Asked == 0 {
					t.Errorf("%s, %s: %d of %d failed, at most %d may", what, c.p.Name, f.Failed, f.Asked, c.most)
				}
			}
		}
	}
	begin()

	s.Step("The agent of node1 is killed")
	old, err := s.AgentOf(s.Ctx(), "node1")
	s.OK(err)
	restarts := old.Status.ContainerStatuses[0].RestartCount
	s.OK(s.KillProgram(s.Ctx(), "node1", "podid-agent"))
	s.Within(time.Minute, func(ctx context.Context) error {
		now, err := s.AgentOf(ctx, "node1")
		if err == nil && (now.Status.ContainerStatuses[0].RestartCount == restarts || !lab.Ready(now)) {
			err = fmt.Errorf("the agent has not been restarted")
		}
		return err
	})
	for _, p := range raw {
		s.BecomesServed(p, lab.Takes)
	}
	end("killed", 50, 0)

	s.Step("The agents are rolled out")
	// One that was ready for less than minReadySeconds counts as away: its node would get a new agent beside the turn of the others.
	s.Within(time.Minute, func(ctx context.Context) error {
		set, err := s.Client.AppsV1().DaemonSets(lab.Namespace).Get(ctx, "podid-agent", meta.GetOptions{})
		if err == nil && set.Status.NumberAvailable != 2 {
			err = fmt.Errorf("%d agents are available", set.Status.NumberAvailable)
		}
		return err
	})
	begin()
	s.OK(s.Restart(s.Ctx(), "daemonset/podid-agent"))
	end("rolled out", 0, 0)

	s.Step("The agent's DaemonSet is deleted")
	set, err := s.Client.AppsV1().DaemonSets(lab.Namespace).Get(s.Ctx(), "podid-agent", meta.GetOptions{})
	s.OK(err)
	s.OK(s.Client.AppsV1().DaemonSets(lab.Namespace).Delete(s.Ctx(), "podid-agent", meta.DeleteOptions{}))
	s.Within(time.Minute, func(ctx context.Context) error { return s.AllReady(ctx, "agent", 0) })
	a, err := sdk[0].BySDK(s.Ctx())
	s.OK(err)
	if a.OK() {
		t.Error("there are credentials without an agent")
	}
	t.Logf("without an agent the SDK says: %s", a.Error)
	_, err = s.Client.AppsV1().DaemonSets(lab.Namespace).Create(s.Ctx(), &apps.DaemonSet{
		ObjectMeta: meta.ObjectMeta{Name: set.Name, Namespace: set.Namespace, Labels: set.Labels, Annotations: set.Annotations}, Spec: set.Spec,
	}, meta.CreateOptions{})
	s.OK(err)
	s.Within(time.Minute, func(ctx context.Context) error { return s.AllReady(ctx, "agent", 2) })
	for _, p := range sdk {
		t.Logf("%s is served again after %v", p.Name, s.BecomesServed(p, lab.Takes).Round(10*time.Millisecond))
	}
}
