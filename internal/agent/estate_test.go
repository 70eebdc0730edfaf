package agent_test

import (
	"strings"
	"testing"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/stream"
)

// inherit makes an agent that takes over from another.
func inherit(t *testing.T, from *node) *node {
	t.Helper()
	left, err := from.Bequeath()
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	if err := n.Inherit(left); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTheNextAgentAsksForNothingThatIsKnown(t *testing.T) {
	first := newNode(t)
	one, two := mint(t, workload(1)), mint(t, workload(2))
	first.ask(t, one)
	first.ask(t, two)
	second := inherit(t, first)
	if got := second.ask(t, one); got.AccessKeyID != key(1) {
		t.Errorf("got %+v", got)
	}
	if got := second.ask(t, two); got.AccessKeyID != key(2) {
		t.Errorf("got %+v", got)
	}
	if second.calls.Load() != 0 || second.verified.Load() != 0 {
		t.Errorf("%d calls, %d signatures checked", second.calls.Load(), second.verified.Load())
	}
	if got := second.ask(t, mint(t, workload(1))); got.AccessKeyID != key(1) {
		t.Errorf("a rotated token: %+v", got)
	}
	third := inherit(t, second)
	if got := third.ask(t, one); got.AccessKeyID != key(1) || third.calls.Load() != 0 {
		t.Errorf("the one after: %+v", got)
	}
}

func TestWhatTheStreamSaidIsInherited(t *testing.T) {
	first := newNode(t)
	raw := mint(t, workload(1))
	first.ask(t, raw)
	if err := first.Hear(stream.Message{PodEnded: workload(1).PodUID}); err != nil {
		t.Fatal(err)
	}
	if got := inherit(t, first).ask(t, raw); got.Status != 403 {
		t.Errorf("an ended pod: %+v", got)
	}
}

func TestAnEstateThatCannotBeReadIsLeft(t *testing.T) {
	for _, left := range []string{"", "[]", `{"Format":2}`, `{"Format":1,"Pods":[{"UID":5}]}`} {
		n := &agent.Server{}
		if err := n.Inherit([]byte(left)); err == nil {
			t.Errorf("%s was taken", left)
		}
	}
	n := newNode(t)
	odd := `{"Format":1,"Pods":[{},{"UID":"a","Tokens":[{"Hash":"AA=="},{},{},{},{},{},{}]},{"UID":"a"},{"UID":"b","Answer":{}}]}`
	if err := n.Inherit([]byte(odd)); err != nil {
		t.Fatal(err)
	}
	if got := n.ask(t, mint(t, workload(1))); got.AccessKeyID != key(1) {
		t.Errorf("got %+v", got)
	}
}

func TestCredentialsDoNotShowInTheLog(t *testing.T) {
	first := newNode(t)
	first.ask(t, mint(t, workload(1)))
	second := inherit(t, first)
	if log := second.log.String(); strings.Contains(log, "eyJ") || strings.Contains(log, "secret/of") {
		t.Error(log)
	}
}
