package accesskey_test

import (
	"testing"

	"github.com/openpodidentity/podid/problem"
)

func TestWhoSignsAsAnAgentNeedsAGrantOfItsOwn(t *testing.T) {
	w := newWorld(t)
	for _, grant := range []string{"pass " + reader, "create shop/", "get /"} {
		w.grants[grant] = true
	}
	if err := w.MayExchange(w.request(t, w.key, "eks-auth")); !problem.Is(err, problem.PermissionDenied) {
		t.Errorf("without the grant: %v", err)
	}
	w.grants["create /"] = true
	r := w.request(t, w.key, "eks-auth")
	if _, err := w.Agents().Verify(r); err != nil {
		t.Fatal(err)
	}
	if err := w.MayExchange(r); err != nil {
		t.Errorf("with the grant, after its signature was verified: %v", err)
	}
	a := w.asked[len(w.asked)-1].ResourceAttributes
	if a.Group != "iam.podid.dev" || a.Resource != "exchanges" || a.Namespace != "" || a.Name != "" {
		t.Errorf("asked for %+v", a)
	}
	if err := w.MayExchange(w.request(t, w.key, "eks")); err == nil {
		t.Error("a signature for another service was taken")
	}
	w.away = true
	if err := w.MayExchange(w.request(t, w.key, "eks-auth")); !problem.Is(err, problem.ClusterUnavailable) {
		t.Errorf("while nobody can be asked: %v", err)
	}
}
