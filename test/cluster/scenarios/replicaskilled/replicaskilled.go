// Package replicaskilled is the scenario that its README tells.
package replicaskilled

import (
	"context"
	_ "embed"
	"fmt"
	"testing"
	"time"

	"github.com/openpodidentity/podid/test/cluster/lab"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("Four pods on each node")
	s.Bind("cart", "killed")
	var pods []*lab.Pod
	for _, node := range []string{"node1", "node2"} {
		for i := range 4 {
			p, err := s.CreatePod(s.Ctx(), lab.PodSpec{Namespace: s.Space, ServiceAccount: "cart", Name: fmt.Sprintf("%s-%d", node, i), Node: node})
			s.OK(err)
			pods = append(pods, p)
		}
	}
	for _, p := range pods {
		s.OK(p.AwaitReady(s.Ctx()))
		s.Served(p, "")
	}
	before := s.AWS.Calls("AssumeRole")
	for _, p := range pods {
		s.OK(p.Load(s.Ctx(), 100*time.Millisecond, "agent"))
	}
	stop := s.KeepChanging("cart")
	defer stop()

	asked(s, pods, 20)

	s.Step("One replica is killed")
	victims, err := s.PodidPods(s.Ctx(), "auth")
	s.OK(err)
	kill(s, victims[0].Name)
	asked(s, pods, 40)

	s.Step("It is replaced")
	s.Within(time.Minute, func(ctx context.Context) error { return s.Endpoints(ctx, "podid-auth", 2) })
	kill(s, victims[1].Name)
	asked(s, pods, 80)

	s.Step("It is replaced, and no request")
	s.Within(time.Minute, func(ctx context.Context) error { return s.AllReady(ctx, "auth", 2) })
	changes := stop()
	for _, p := range pods {
		f, err := p.EndLoad(s.Ctx())
		s.OK(err)
		t.Logf("%s: %s", p.Name, f)
		if f.Failed > 0 || f.Asked == 0 {
			t.Errorf("%s: %s", p.Name, f)
		}
	}
	t.Logf("%d changes of the association, %d calls of AssumeRole", changes, s.AWS.Calls("AssumeRole")-before)
}

func kill(s *lab.Scenario, name string) {
	s.Helper()
	s.OK(s.Client.CoreV1().Pods(lab.Namespace).Delete(s.Ctx(), name, meta.DeleteOptions{GracePeriodSeconds: new(int64)}))
}

// asked waits until every pod has asked n times.
func asked(s *lab.Scenario, pods []*lab.Pod, n int) {
	s.Helper()
	for _, p := range pods {
		s.Within(time.Minute, func(ctx context.Context) error {
			f, err := p.Figures(ctx)
			if err == nil && f.Asked < n {
				err = fmt.Errorf("%s has asked %d times, not %d", p.Name, f.Asked, n)
			}
			return err
		})
	}
}
