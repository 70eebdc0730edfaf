// Package replicaheldback is the scenario that its README tells.
package replicaheldback

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/cluster/lab"

	core "k8s.io/api/core/v1"
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
	held, err := replica(s, false)
	s.OK(err)

	s.Step("The API server is out of reach")
	release, err := s.HoldBack(s.Ctx(), held)
	s.OK(err)
	t.Cleanup(func() {
		if err := release(context.Background()); err != nil {
			t.Error(err)
		}
	})

	s.Step("The association names another role")
	s.Bind("cart", "held-second")
	changed := time.Now()
	took := s.Within(lab.Takes, func(ctx context.Context) error {
		role, err := s.RoleOf(ctx, pods[0])
		if err == nil && role != "held-second" {
			err = fmt.Errorf("%s is still %s", pods[0].Name, role)
		}
		return err
	})
	t.Logf("%s is a session of the other role after %v", pods[0].Name, took.Round(10*time.Millisecond))

	s.Step("Whichever replica")
	had := map[*lab.Pod]bool{pods[0]: true}
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		for _, p := range pods {
			role, err := s.RoleOf(s.Ctx(), p)
			switch {
			case err != nil:
				t.Fatal(err)
			case role == "held-second" && !had[p]:
				had[p] = true
				t.Logf("%s is a session of the other role after %v", p.Name, time.Since(changed).Round(10*time.Millisecond))
			case role != "held-second" && had[p]:
				t.Fatalf("%s is %q again", p.Name, role)
			}
		}
	}
	// A pod that no agent has asked for yet: podid-auth is asked, whichever replica it is.
	for i := range 6 {
		p := s.Pod(fmt.Sprintf("new-%d", i), "cart", "node1")
		if role, err := s.RoleOf(s.Ctx(), p); err != nil || role != "held-second" {
			t.Errorf("%s is %q, %v", p.Name, role, err)
		}
	}

	s.Step("The association is deleted")
	s.OK(s.Dissociate(s.Ctx(), s.Space, "cart"))
	t.Logf("%s is refused after %v", pods[0].Name, s.BecomesRefused(pods[0], "", problem.AssociationMissing, lab.Takes).Round(10*time.Millisecond))
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); {
		if a, err := pods[0].ByAgent(s.Ctx(), ""); err != nil || a.OK() {
			t.Fatalf("%s: %s, %v", pods[0].Name, a, err)
		}
	}

	s.Step("The replica reaches")
	s.OK(release(s.Ctx()))
	s.Bind("cart", "held-third")
	for _, p := range pods {
		s.BecomesServed(p, lab.Takes)
	}
	// A pod that it has not heard of while it was held back.
	late := s.Pod("late", "cart", "node1")
	token, err := late.Token(s.Ctx(), "")
	s.OK(err)
	agent, err := s.AgentOf(s.Ctx(), "node1")
	s.OK(err)
	bearer, err := s.AgentToken(s.Ctx(), agent)
	s.OK(err)
	s.Logf("the replica knows of a new pod and the third role %v after it was let go", s.Within(2*time.Minute, func(ctx context.Context) error {
		a, err := s.ExchangeAt(ctx, held.Status.PodIP, bearer, token)
		if err == nil && !strings.Contains(a.ARN, "held-third") {
			err = fmt.Errorf("%s", a)
		}
		return err
	}).Round(10*time.Millisecond))

	s.Step("The other replica")
	listened, err := replica(s, true)
	s.OK(err)
	release, err = s.HoldBack(s.Ctx(), listened)
	s.OK(err)
	t.Cleanup(func() {
		if err := release(context.Background()); err != nil {
			t.Error(err)
		}
	})
	s.OK(s.Dissociate(s.Ctx(), s.Space, "cart"))
	t.Logf("%s is refused after %v, though its agent listened to the replica that did not hear", pods[0].Name,
		s.BecomesRefused(pods[0], "", problem.AssociationMissing, leaves).Round(10*time.Millisecond))
	s.OK(release(s.Ctx()))
}

// leaves is how long an agent may listen to a replica that hears nothing while another does: until that has had no news for half a minute, and has
// said so. The other may have been cut off itself just before.
const leaves = stream.OldAfter + stream.PingEvery + time.Minute

// replica is the one that node1's agent listens to, or does not.
func replica(s *lab.Scenario, listened bool) (*core.Pod, error) {
	replicas, err := s.PodidPods(s.Ctx(), "auth")
	if err != nil {
		return nil, err
	}
	agent, err := s.AgentOf(s.Ctx(), "node1")
	if err != nil {
		return nil, err
	}
	for _, replica := range replicas {
		log, err := s.LogOf(s.Ctx(), &replica, "auth")
		if err != nil {
			return nil, err
		}
		listens := false
		for line := range strings.Lines(log) {
			if strings.Contains(line, agent.Name) && strings.Contains(line, `"msg":"stream`) {
				listens = strings.Contains(line, `"msg":"stream",`)
			}
		}
		if listens == listened {
			return &replica, nil
		}
	}
	return nil, fmt.Errorf("none of %d replicas is one that the agent of node1 listens to: %v", len(replicas), listened)
}
