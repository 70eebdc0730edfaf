// Package agentrestarted is the scenario that its README tells.
package agentrestarted

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid/test/cluster/ask"
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
	type asker struct {
		*lab.Pod
		by string
	}
	var askers []asker
	for _, by := range []string{"agent", "sdk", "kept"} {
		for _, node := range []string{"node1", "node2"} {
			askers = append(askers, asker{s.Pod(by+"-"+node, "cart", node), by})
		}
	}
	begin := func() {
		t.Helper()
		for _, a := range askers {
			s.Served(a.Pod, "")
			s.OK(a.Load(s.Ctx(), 100*time.Millisecond, a.by))
		}
		for _, a := range askers { // what keeps its credentials has them
			s.Within(lab.Takes, func(ctx context.Context) error {
				f, err := a.Figures(ctx)
				if err == nil && f.Asked == f.Failed {
					err = fmt.Errorf("%s has nothing: %s", a.Name, f)
				}
				return err
			})
		}
	}
	served := func() {
		t.Helper()
		for _, a := range askers {
			if took := s.BecomesServed(a.Pod, lab.Takes); a.by == "agent" {
				t.Logf("%s is served after %v", a.Name, took.Round(10*time.Millisecond))
			}
		}
	}
	// end wants no more failures than these, of each way to ask.
	end := func(what string, most map[string]int) (figures []ask.Figures) {
		t.Helper()
		for _, a := range askers {
			f, err := a.EndLoad(s.Ctx())
			s.OK(err)
			t.Logf("%s, %s: %s", what, a.Name, f)
			if f.Failed > most[a.by] || f.Asked == 0 {
				t.Errorf("%s, %s: %d of %d failed, at most %d may", what, a.Name, f.Failed, f.Asked, most[a.by])
			}
			figures = append(figures, f)
		}
		return figures
	}
	// bridged wants the SDK's second tries to bridge a time without agent. It pauses at random between its three, up to
	// one and up to two seconds: of the calls that begin in that time a few have all three in it.
	bridged := func(what string, figures []ask.Figures) {
		t.Helper()
		failed := map[string]int{}
		for i, a := range askers {
			failed[a.by] += figures[i].Failed
		}
		if 2*failed["sdk"] > failed["agent"] {
			t.Errorf("%s: %d of the SDK's calls failed, and %d of those with one try", what, failed["sdk"], failed["agent"])
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
	served()
	bridged("killed", end("killed", map[string]int{"agent": 50, "sdk": 50}))

	s.Step("The agent's pod of node1 is deleted")
	begin()
	old, err = s.AgentOf(s.Ctx(), "node1")
	s.OK(err)
	s.OK(s.Client.CoreV1().Pods(lab.Namespace).Delete(s.Ctx(), old.Name, meta.DeleteOptions{}))
	s.Within(time.Minute, func(ctx context.Context) error {
		now, err := s.AgentOf(ctx, "node1")
		if err == nil && (now.UID == old.UID || !lab.Ready(now)) {
			err = fmt.Errorf("there is no other agent yet")
		}
		return err
	})
	served()
	bridged("deleted", end("deleted", map[string]int{"agent": 100, "sdk": 100}))

	s.Step("The agents are rolled out")
	// A node whose agent is away would get a new one beside the turn of the others.
	s.Within(time.Minute, func(ctx context.Context) error {
		set, err := s.Client.AppsV1().DaemonSets(lab.Namespace).Get(ctx, "podid-agent", meta.GetOptions{})
		if err == nil && set.Status.NumberAvailable != 2 {
			err = fmt.Errorf("%d agents are available", set.Status.NumberAvailable)
		}
		return err
	})
	begin()
	s.OK(s.Restart(s.Ctx(), "daemonset/podid-agent"))
	end("rolled out", nil)

	s.Step("The agent's DaemonSet is deleted")
	set, err := s.Client.AppsV1().DaemonSets(lab.Namespace).Get(s.Ctx(), "podid-agent", meta.GetOptions{})
	s.OK(err)
	begin()
	deleted := time.Now()
	s.OK(s.Client.AppsV1().DaemonSets(lab.Namespace).Delete(s.Ctx(), "podid-agent", meta.DeleteOptions{}))
	s.Within(time.Minute, func(ctx context.Context) error { return s.AllReady(ctx, "agent", 0) })
	time.Sleep(5 * time.Second) // longer than an SDK tries
	_, err = s.Client.AppsV1().DaemonSets(lab.Namespace).Create(s.Ctx(), &apps.DaemonSet{
		ObjectMeta: meta.ObjectMeta{Name: set.Name, Namespace: set.Namespace, Labels: set.Labels, Annotations: set.Annotations}, Spec: set.Spec,
	}, meta.CreateOptions{})
	s.OK(err)
	s.Within(time.Minute, func(ctx context.Context) error { return s.AllReady(ctx, "agent", 2) })
	served()
	back := time.Now()
	time.Sleep(time.Second) // of requests that all are answered
	for i, f := range end("removed", map[string]int{"agent": math.MaxInt, "sdk": math.MaxInt}) {
		a := askers[i]
		if a.by == "kept" {
			continue
		}
		if f.Failed == 0 || f.First.Before(deleted.Add(-100*time.Millisecond)) || f.Last.After(back) {
			t.Errorf("removed, %s: failed from %v until %v after there was no DaemonSet; one served again after %v",
				a.Name, f.First.Sub(deleted), f.Last.Sub(deleted), back.Sub(deleted))
		}
		for reason := range f.Failures {
			if !strings.Contains(reason, "169.254.170.23") {
				t.Errorf("removed, %s: it is told %q, without the address", a.Name, reason)
			}
		}
	}
}
