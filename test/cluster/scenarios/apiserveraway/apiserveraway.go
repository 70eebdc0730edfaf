// Package apiserveraway is the scenario that its README tells.
package apiserveraway

import (
	"context"
	_ "embed"
	"flag"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/cluster/lab"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed README.md
var readme string

var away = flag.Duration("away", 2*time.Minute, "how long the API server is away")

// returns is how long changes may take to count once the API server is back: a replica asks for it every few seconds.
const returns = 20 * time.Second

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("Pods on both nodes run")
	s.Bind("cart", "away")
	asks := []*lab.Pod{s.Pod("one", "cart", "node1"), s.Pod("two", "cart", "node2")}
	quiet := s.Pod("quiet", "cart", "node1")
	for _, p := range asks {
		s.Served(p, "")
		s.OK(p.Load(s.Ctx(), 100*time.Millisecond, "agent"))
	}
	// Its token outlives it, and its name is one that no informer has seen: podid-auth must not take not knowing for a no.
	unknown := unseen(s)

	s.Step("The API server is down")
	s.StopAPIServer()
	down := time.Now()
	t.Cleanup(func() {
		if t.Failed() {
			_ = s.StartAPIServer(context.Background())
		}
	})

	s.Step("All the while")
	first := s.Served(quiet, "")
	t.Logf("a pod that never asked is served, until %v", first.Expires)

	s.Step("A pod that podid-auth has not heard of")
	a, err := quiet.ByAgent(s.Ctx(), unknown)
	s.OK(err)
	if a.Status != 503 || a.Code != string(problem.ClusterUnavailable) {
		t.Errorf("%s, not 503 cluster-unavailable", a)
	}
	for time.Since(down) < *away {
		time.Sleep(time.Second) // between questions
		s.Served(quiet, "")
	}
	for _, p := range asks {
		f, err := p.EndLoad(s.Ctx())
		s.OK(err)
		t.Logf("%s, %v without API server: %s", p.Name, time.Since(down).Round(time.Second), f)
		if f.Failed > 0 || f.Asked == 0 {
			t.Errorf("%s: %s", p.Name, f)
		}
	}

	s.Step("The API server is back")
	s.OK(s.StartAPIServer(s.Ctx()))
	back := time.Now()
	s.Within(time.Minute, func(ctx context.Context) error { return s.Dissociate(ctx, s.Space, "cart") })
	for _, p := range asks {
		s.BecomesRefused(p, "", problem.AssociationMissing, returns)
		t.Logf("%s is refused %v after the API server was ready", p.Name, time.Since(back).Round(10*time.Millisecond))
	}
}

// unseen is a genuine token of a pod that podid-auth cannot know: signed with the cluster's key while its API server is there, of
// a pod that was never written.
func unseen(s *lab.Scenario) string {
	s.Helper()
	account, err := s.Client.CoreV1().ServiceAccounts(s.Space).Get(s.Ctx(), "cart", meta.GetOptions{})
	s.OK(err)
	token, err := s.Forge(podid.Workload{
		Namespace: s.Space, ServiceAccount: "cart", ServiceAccountUID: string(account.UID),
		Pod: "never-seen", PodUID: "0b5ba79a-3c4a-4f6a-9b7e-1d2c3b4a5f60", Node: "node1",
	}, podid.AudiencePods, time.Now(), time.Hour)
	s.OK(err)
	return token
}
