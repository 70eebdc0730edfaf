// Package replicaheldback is the scenario that its README tells.
package replicaheldback

import (
	"context"
	_ "embed"
	"fmt"
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

	s.Step("Two replicas")
	s.Bind("cart", "held-first")
	pods := []*lab.Pod{s.Pod("one", "cart", "node1"), s.Pod("two", "cart", "node2")}
	for _, p := range pods {
		s.Served(p, "")
	}
	replicas, err := s.PodidPods(s.Ctx(), "auth")
	s.OK(err)
	if len(replicas) != 2 {
		t.Fatalf("%d replicas", len(replicas))
	}

	s.Step("The API server is out of reach")
	held := replicas[0]
	release, err := s.HoldBack(s.Ctx(), &held)
	s.OK(err)
	t.Cleanup(func() {
		if err := release(context.Background()); err != nil {
			t.Error(err)
		}
	})

	s.Step("The association names another role")
	s.Bind("cart", "held-second")
	for _, p := range pods {
		took := s.Within(2*lab.Takes, func(ctx context.Context) error {
			role, err := s.RoleOf(ctx, p)
			if err == nil && role != "held-second" {
				err = fmt.Errorf("%s is still %s", p.Name, role)
			}
			return err
		})
		t.Logf("%s is a session of the other role after %v", p.Name, took.Round(10*time.Millisecond))
	}

	s.Step("Whichever replica")
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		for _, p := range pods {
			if role, err := s.RoleOf(s.Ctx(), p); err == nil && role != "held-second" {
				t.Fatalf("%s is %q again", p.Name, role)
			}
		}
	}

	s.Step("The association is deleted")
	s.OK(s.Dissociate(s.Ctx(), s.Space, "cart"))
	for _, p := range pods {
		t.Logf("%s is refused after %v", p.Name, s.BecomesRefused(p, "", problem.AssociationMissing, 2*lab.Takes).Round(10*time.Millisecond))
	}
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); {
		for _, p := range pods {
			if a, err := p.ByAgent(s.Ctx(), ""); err != nil || a.OK() {
				t.Fatalf("%s: %s, %v", p.Name, a, err)
			}
		}
	}

	s.Step("The replica reaches")
	s.OK(release(s.Ctx()))
	s.Bind("cart", "held-third")
	for _, p := range pods {
		s.BecomesServed(p, lab.Takes)
	}
	token, err := pods[0].Token(s.Ctx(), "")
	s.OK(err)
	agent, err := s.AgentOf(s.Ctx(), "node1")
	s.OK(err)
	bearer, err := s.AgentToken(s.Ctx(), agent)
	s.OK(err)
	s.Logf("the replica knows of the third role after %v", s.Within(time.Minute, func(ctx context.Context) error {
		a, err := s.ExchangeAt(ctx, held.Status.PodIP, bearer, token)
		if err == nil && !a.OK() {
			err = fmt.Errorf("%s", a)
		}
		return err
	}).Round(10*time.Millisecond))
}
