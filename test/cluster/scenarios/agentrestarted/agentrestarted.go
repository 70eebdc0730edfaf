// Package agentrestarted is the scenario that its README tells.
package agentrestarted

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid/test/cluster/ask"
	"github.com/openpodidentity/podid/test/cluster/lab"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("A pod on each node")
	s.Bind("cart", "restarted")
	r := &restarted{Scenario: s}
	for _, by := range []string{"agent", "sdk", "kept"} {
		for _, node := range []string{"node1", "node2"} {
			r.askers = append(r.askers, asker{s.Pod(by+"-"+node, "cart", node), by})
		}
	}
	r.begin()

	s.Step("The agent of node1 is killed")
	old := r.agent()
	restarts := old.Status.ContainerStatuses[0].RestartCount
	s.OK(s.KillProgram(s.Ctx(), "node1", "podid-agent"))
	r.becomes("the agent has not been restarted", func(now *core.Pod) bool { return now.Status.ContainerStatuses[0].RestartCount != restarts })
	r.served()
	r.end("killed", map[string]int{"agent": 2}) // those that it was answering

	s.Step("The agent's pod of node1 is deleted")
	r.begin()
	old = r.agent()
	s.OK(s.Client.CoreV1().Pods(lab.Namespace).Delete(s.Ctx(), old.Name, meta.DeleteOptions{}))
	r.becomes("there is no other agent yet", func(now *core.Pod) bool { return now.UID != old.UID })
	r.served()
	r.end("deleted", nil)

	s.Step("The agents are rolled out")
	// A node whose agent is away would get a new one beside the turn of the others.
	s.Within(time.Minute, func(ctx context.Context) error {
		set, err := s.Client.AppsV1().DaemonSets(lab.Namespace).Get(ctx, "podid-agent", meta.GetOptions{})
		if err == nil && set.Status.NumberAvailable != 2 {
			err = fmt.Errorf("%d agents are available", set.Status.NumberAvailable)
		}
		return err
	})
	r.begin()
	s.OK(s.Restart(s.Ctx(), "daemonset/podid-agent"))
	r.end("rolled out", nil)

	s.Step("The agent's DaemonSet is deleted")
	r.removed()
}

// restarted is what asks while the agents come and go.
type restarted struct {
	*lab.Scenario
	askers []asker
}

type asker struct {
	*lab.Pod
	by string
}

// agent is that of node1.
func (r *restarted) agent() *core.Pod {
	r.Helper()
	agent, err := r.AgentOf(r.Ctx(), "node1")
	r.OK(err)
	return agent
}

// becomes waits until the agent of node1 is another, and ready.
func (r *restarted) becomes(not string, another func(*core.Pod) bool) {
	r.Helper()
	r.Within(time.Minute, func(ctx context.Context) error {
		now, err := r.AgentOf(ctx, "node1")
		if err == nil && (!another(now) || !lab.Ready(now)) {
			err = errors.New(not)
		}
		return err
	})
}

// begin has all of them ask ten times a second.
func (r *restarted) begin() {
	r.Helper()
	for _, a := range r.askers {
		r.Served(a.Pod, "")
		r.OK(a.Load(r.Ctx(), 100*time.Millisecond, a.by))
	}
	for _, a := range r.askers { // what keeps its credentials has them
		r.Within(lab.Takes, func(ctx context.Context) error {
			f, err := a.Figures(ctx)
			if err == nil && f.Asked == f.Failed {
				err = fmt.Errorf("%s has nothing: %s", a.Name, f)
			}
			return err
		})
	}
}

// served waits until each of them is.
func (r *restarted) served() {
	r.Helper()
	for _, a := range r.askers {
		if took := r.BecomesServed(a.Pod, lab.Takes); a.by == "agent" {
			r.Logf("%s is served after %v", a.Name, took.Round(10*time.Millisecond))
		}
	}
}

// end wants no more failures than these, of each way to ask.
func (r *restarted) end(what string, most map[string]int) (figures []ask.Figures) {
	r.Helper()
	for _, a := range r.askers {
		f, err := a.EndLoad(r.Ctx())
		r.OK(err)
		r.Logf("%s, %s: %s", what, a.Name, f)
		if f.Failed > most[a.by] || f.Asked == 0 {
			r.Errorf("%s, %s: %d of %d failed, at most %d may", what, a.Name, f.Failed, f.Asked, most[a.by])
		}
		figures = append(figures, f)
	}
	return figures
}

// removed takes the DaemonSet away and makes it again.
func (r *restarted) removed() {
	r.Helper()
	set, err := r.Client.AppsV1().DaemonSets(lab.Namespace).Get(r.Ctx(), "podid-agent", meta.GetOptions{})
	r.OK(err)
	r.begin()
	deleted := time.Now()
	r.OK(r.Client.AppsV1().DaemonSets(lab.Namespace).Delete(r.Ctx(), "podid-agent", meta.DeleteOptions{}))
	r.Within(time.Minute, func(ctx context.Context) error { return r.AllReady(ctx, "agent", 0) })
	time.Sleep(10 * time.Second) // longer than connections wait for another agent, and than an SDK tries
	_, err = r.Client.AppsV1().DaemonSets(lab.Namespace).Create(r.Ctx(), &apps.DaemonSet{
		ObjectMeta: meta.ObjectMeta{Name: set.Name, Namespace: set.Namespace, Labels: set.Labels, Annotations: set.Annotations}, Spec: set.Spec,
	}, meta.CreateOptions{})
	r.OK(err)
	r.Within(time.Minute, func(ctx context.Context) error { return r.AllReady(ctx, "agent", 2) })
	r.served()
	back := time.Now()
	time.Sleep(time.Second) // of requests that all are answered
	for i, f := range r.end("removed", map[string]int{"agent": math.MaxInt, "sdk": math.MaxInt}) {
		a := r.askers[i]
		if a.by == "kept" {
			continue
		}
		if f.Failed == 0 || f.First.Before(deleted.Add(-100*time.Millisecond)) || f.Last.After(back) {
			r.Errorf("removed, %s: failed from %v until %v after there was no DaemonSet; one served again after %v",
				a.Name, f.First.Sub(deleted), f.Last.Sub(deleted), back.Sub(deleted))
		}
		for reason := range f.Failures {
			if !strings.Contains(reason, "169.254.170.23") {
				r.Errorf("removed, %s: it is told %q, without the address", a.Name, reason)
			}
		}
	}
}
