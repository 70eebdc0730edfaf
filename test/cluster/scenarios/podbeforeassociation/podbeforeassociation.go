// Package podbeforeassociation is the scenario that its README tells.
package podbeforeassociation

import (
	"context"
	_ "embed"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid/test/cluster/lab"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("A pod starts, and its service account has no role")
	early := s.Pod("early", "cart", "")
	a, err := early.BySDK(s.Ctx())
	s.OK(err)
	if a.OK() {
		t.Fatal("it has credentials")
	}

	s.Step("The association is made")
	s.Bind("cart", "early")

	s.Step("The pod has an Event")
	took := s.Within(30*time.Second, func(ctx context.Context) error {
		events, err := s.Events(ctx, s.Space, early.Name)
		if err == nil && !strings.Contains(events, "PodNotInjected: ") {
			err = errors.New("no such Event among: " + events)
		}
		return err
	})
	events, err := s.Events(s.Ctx(), s.Space, early.Name)
	s.OK(err)
	s.Logf("after %v: %s", took.Round(10*time.Millisecond), events)

	s.Step("The pod is made anew")
	s.OK(early.Delete(s.Ctx()))
	s.OK(early.AwaitGone(s.Ctx()))
	s.Served(s.Pod("early", "cart", ""), "")
}
