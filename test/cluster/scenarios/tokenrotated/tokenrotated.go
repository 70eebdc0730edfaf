// Package tokenrotated is the scenario that its README tells.
package tokenrotated

import (
	_ "embed"
	"testing"

	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/cluster/lab"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)

	s.Step("A pod has credentials")
	s.Bind("cart", "rotated")
	p := s.Pod("one", "cart", "node1")
	first := s.Served(p, "")

	s.Step("It asks with a new token")
	before := s.AWS.Calls("AssumeRole")
	fresh, err := p.Token(s.Ctx(), "")
	s.OK(err)
	if again := s.Served(p, fresh); again.AccessKeyID != first.AccessKeyID {
		t.Errorf("other credentials: %s, not %s", again.AccessKeyID, first.AccessKeyID)
	}
	if calls := s.AWS.Calls("AssumeRole") - before; calls != 0 {
		t.Errorf("STS was asked %d times", calls)
	}

	s.Step("The old token")
	s.Served(p, "")

	s.Step("A token with one letter changed")
	changed := []byte(fresh)
	i := len(changed) - 20 // in the signature
	changed[i] = map[bool]byte{true: 'B', false: 'A'}[changed[i] == 'A']
	s.Refused(p, string(changed), problem.TokenForged)
}
