// Package replicaskilled is the scenario that its README tells.
package replicaskilled

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	podidv1 "github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/test/cluster/lab"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

	s.Step("The leader's program crashes")
	var crashed, node string
	s.Within(time.Minute, func(ctx context.Context) (err error) { // the Lease may be that of a replica that was killed
		crashed, node, err = leader(ctx, s)
		return err
	})
	s.OK(s.KillProgram(s.Ctx(), node, "podid-auth"))
	s.Bind("later", "killed")
	took := s.Within(30*time.Second, func(ctx context.Context) error {
		o := new(podidv1.PodIdentityAssociation)
		if err := s.Objects.Get(ctx, client.ObjectKey{Namespace: s.Space, Name: "later"}, o); err != nil {
			return err
		}
		if !apimeta.IsStatusConditionTrue(o.Status.Conditions, "Accepted") {
			return fmt.Errorf("it has no status yet: %+v", o.Status)
		}
		return nil
	})
	if now, _, err := leader(s.Ctx(), s); err != nil || now == crashed {
		t.Errorf("%s leads, where %s has crashed: %v", now, crashed, err)
	}
	t.Logf("a status after %s", took)
	s.Within(time.Minute, func(ctx context.Context) error { return s.AllReady(ctx, "auth", 2) })
}

// leader is who holds the Lease (a pod's name and an ID of the process), and its node.
func leader(ctx context.Context, s *lab.Scenario) (holder, node string, err error) {
	lease, err := s.Client.CoordinationV1().Leases(lab.Namespace).Get(ctx, "podid-auth", meta.GetOptions{})
	if err != nil {
		return "", "", fmt.Errorf("who leads: %w", err)
	}
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return "", "", errors.New("nobody leads")
	}
	holder = *lease.Spec.HolderIdentity
	name, _, _ := strings.Cut(holder, "_")
	pod, err := s.Client.CoreV1().Pods(lab.Namespace).Get(ctx, name, meta.GetOptions{})
	if err != nil {
		return "", "", err
	}
	return holder, pod.Spec.NodeName, nil
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
