package lab

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/cluster/ask"
)

// Scenario is a story told in numbered steps. The steps are those of the README beside it, and a scenario that
// leaves one out, or tells another, fails: what the README says is what runs.
type Scenario struct {
	*testing.T
	*Lab
	// Space is a namespace of the scenario's own, which ends with it.
	Space string
	steps []string
	done  int
	began time.Time
}

var numbered = regexp.MustCompile(`(?m)^\d+\. (.+(?:\n {2,}\S.*)*)$`)

// Scenario begins one by its README.
func (l *Lab) Scenario(t *testing.T, readme string) *Scenario {
	s := &Scenario{T: t, Lab: l, Space: path.Base(t.Name()), began: time.Now()}
	for _, m := range numbered.FindAllStringSubmatch(readme, -1) {
		s.steps = append(s.steps, strings.Join(strings.Fields(m[1]), " "))
	}
	t.Cleanup(func() {
		if !t.Failed() && !t.Skipped() && s.done != len(s.steps) {
			t.Errorf("the README has %d steps, and %d were taken", len(s.steps), s.done)
		}
		if t.Failed() {
			s.Log(s.Said(context.Background()))
		}
	})
	s.Drops(s.Space)
	return s
}

// Step begins the next step, whose text in the README begins like this.
func (s *Scenario) Step(begins string) {
	s.Helper()
	if s.done >= len(s.steps) || !strings.HasPrefix(s.steps[s.done], begins) {
		s.Fatalf("the README's step %d is not %q", s.done+1, begins)
	}
	s.done++
	s.Logf("%6.1f s  %d. %s", time.Since(s.began).Seconds(), s.done, s.steps[s.done-1])
}

// Drops ends a namespace with the scenario.
func (s *Scenario) Drops(namespace string) {
	s.Cleanup(func() {
		if err := s.Drop(context.Background(), namespace); err != nil {
			s.Error(err)
		}
	})
}

// Ctx ends with the test.
func (s *Scenario) Ctx() context.Context { return s.T.Context() }

// OK fails the scenario on an error.
func (s *Scenario) OK(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// Within asks until is has no error, and says how long that took.
func (s *Scenario) Within(limit time.Duration, is func(context.Context) error) time.Duration {
	s.Helper()
	began := time.Now()
	s.OK(Eventually(s.Ctx(), limit, is))
	return time.Since(began)
}

// Takes is how long a change may take until it counts on every node.
const Takes = 5 * time.Second

// Pod starts a pod of the scenario's namespace.
func (s *Scenario) Pod(name, account, node string) *Pod {
	s.Helper()
	p, err := s.StartPod(s.Ctx(), PodSpec{Namespace: s.Space, ServiceAccount: account, Name: name, Node: node})
	s.OK(err)
	return p
}

// Bind makes a role of this name and binds an account of the scenario's namespace to it.
func (s *Scenario) Bind(account, role string) {
	s.Helper()
	arn, err := s.Role(s.Ctx(), role)
	s.OK(err)
	_, err = s.Associate(s.Ctx(), s.Space, account, arn)
	s.OK(err)
}

// Served wants credentials from the agent, at once.
func (s *Scenario) Served(p *Pod, token string) ask.Answer {
	s.Helper()
	a, err := p.ByAgent(s.Ctx(), token)
	s.OK(err)
	if !a.OK() {
		s.Fatalf("%s is not served: %s", p.Name, a)
	}
	return a
}

// BecomesServed waits until the agent serves a pod, and says how long that took.
func (s *Scenario) BecomesServed(p *Pod, within time.Duration) time.Duration {
	s.Helper()
	return s.Within(within, func(ctx context.Context) error {
		a, err := p.ByAgent(ctx, "")
		if err == nil && !a.OK() {
			err = fmt.Errorf("%s is not served: %s", p.Name, a)
		}
		return err
	})
}

// Refused wants the agent to refuse a token with a code, at once.
func (s *Scenario) Refused(p *Pod, token string, code problem.Code) ask.Answer {
	s.Helper()
	a, err := p.ByAgent(s.Ctx(), token)
	s.OK(err)
	s.OK(refused(p, a, code))
	return a
}

// BecomesRefused waits until the agent refuses a token, and says how long that took.
func (s *Scenario) BecomesRefused(p *Pod, token string, code problem.Code, within time.Duration) time.Duration {
	s.Helper()
	return s.Within(within, func(ctx context.Context) error {
		a, err := p.ByAgent(ctx, token)
		if err != nil {
			return err
		}
		return refused(p, a, code)
	})
}

func refused(p *Pod, a ask.Answer, code problem.Code) error {
	switch {
	case a.OK():
		return fmt.Errorf("%s is served, and should be refused with %s", p.Name, code)
	case a.Code != string(code):
		return fmt.Errorf("%s is refused with %q, not with %s: %s", p.Name, a.Code, code, a.Error)
	}
	return nil
}

// RunPodid runs the program podid as an administrator, and logs how long that took and what it said.
func (s *Scenario) RunPodid(args ...string) {
	s.Helper()
	began := time.Now()
	said, err := s.Podid(s.Ctx(), args...)
	if err != nil {
		s.Fatalf("podid %s: %v: %s", strings.Join(args, " "), err, said)
	}
	s.Logf("%v: %s", time.Since(began).Round(100*time.Millisecond), said)
}

// RoleOf is the name of the role that a pod is a session of.
func (s *Scenario) RoleOf(ctx context.Context, p *Pod) (string, error) {
	a, err := p.Identity(ctx)
	if err != nil {
		return "", err
	}
	if a.Error != "" {
		return "", fmt.Errorf("%s: %s", p.Name, a.Error)
	}
	// arn:aws:sts::111122223333:assumed-role/ROLE/SESSION
	parts := strings.Split(a.ARN, "/")
	if len(parts) != 3 {
		return "", fmt.Errorf("%s is %s, no role's session", p.Name, a.ARN)
	}
	return parts[1], nil
}

// ARN is that of a role of the account.
func ARN(role string) podid.RoleARN {
	return podid.RoleARN("arn:aws:iam::" + Account + ":role/" + role)
}
