package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// LeftOnly wants no object of podid to be there, but for those whose names as kubectl has them, KIND/NAME, begin so.
func (s *Scenario) LeftOnly(allowed ...string) {
	s.Helper()
	left, err := s.podidObjects(s.Ctx())
	s.OK(err)
	for _, object := range left {
		if !slices.ContainsFunc(allowed, func(kind string) bool { return strings.HasPrefix(object, kind) }) {
			s.Errorf("%s is left", object)
		}
	}
	s.Logf("left on purpose: %s", strings.Join(left, ", "))
}

// podidObjects are those of podid, of every kind that the cluster has, by name; but for Events, and for what the API server itself
// makes and removes after a custom resource (APIServices).
func (l *Lab) podidObjects(ctx context.Context) ([]string, error) {
	kinds, err := l.Kubectl(ctx, "api-resources", "--verbs=list", "-o", "name").Output()
	if err != nil {
		return nil, fmt.Errorf("list kinds: %w", err)
	}
	list := strings.Join(slices.DeleteFunc(strings.Fields(string(kinds)), func(kind string) bool {
		return strings.HasPrefix(kind, "events") || strings.HasPrefix(kind, "apiservices")
	}), ",")
	out, err := l.Kubectl(ctx, "get", list, "-A", "-o", "name").Output()
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", err)
	}
	return slices.DeleteFunc(strings.Fields(string(out)), func(name string) bool {
		return !strings.Contains(name, "podid") && !strings.Contains(name, "podidentity")
	}), nil
}

// NoAddress waits until no node has the agent's address any more.
func (s *Scenario) NoAddress(within time.Duration) {
	s.Helper()
	for _, node := range s.Nodes() {
		s.Within(within, func(ctx context.Context) error {
			has, err := s.HasAddress(ctx, node.Name)
			if err == nil && has {
				err = fmt.Errorf("%s still has the address", node.Name)
			}
			return err
		})
	}
}

// HasAddress says whether a node has the agent's address.
func (l *Lab) HasAddress(ctx context.Context, node string) (bool, error) {
	out, err := l.OnNode(ctx, node, "ip", "addr")
	return strings.Contains(out, "169.254.170.23") || strings.Contains(out, "fd00:ec2::23"), err
}
