package eksapi

import (
	"errors"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/problem"
)

func TestEveryCodeHasAnOutcomeOfItsKind(t *testing.T) {
	for _, code := range problem.Codes() {
		o, ok := outcomes[code]
		if !ok {
			t.Errorf("%s has no outcome", code)
			continue
		}
		kind := problem.Lookup(code).Kind
		switch {
		case code == problem.NotImplemented && o.status == 501:
		case kind == problem.Refused && o.status >= 400 && o.status < 500:
		case kind == problem.Transient && (o.status == 429 || o.status == 503):
		case kind == problem.Broken && o.status == 500:
		default:
			t.Errorf("%s is of kind %d and answered with %d", code, kind, o.status)
		}
	}
	for code := range outcomes {
		if !problem.Known(code) {
			t.Errorf("%s is not in the catalogue", code)
		}
	}
}

func TestWhatIsForTheLogStaysThere(t *testing.T) {
	for _, err := range []error{
		errors.New("dial tcp 10.1.2.3: secret"),
		problem.New(problem.Internal, "podid could not answer").From(errors.New("secret")),
	} {
		e := exception("CreatePodIdentityAssociation", err)
		if e.Status != 500 || e.Code != "ServerException" || !errors.Is(e, err) {
			t.Errorf("%d %s %v", e.Status, e.Code, e.Err)
		}
		if got := e.Message; got == "" || strings.Contains(got, "secret") {
			t.Errorf("message %q", got)
		}
	}
}

func TestEveryOperationHasAPathOfItsOwn(t *testing.T) {
	seen := map[string]string{}
	for _, op := range operations {
		key := op.method + " " + op.path
		if other, ok := seen[key]; ok {
			t.Errorf("%s and %s are both %s", op.name, other, key)
		}
		seen[key] = op.name
		if got, _, err := route(op.method, op.path); got.name != op.name || err != nil {
			t.Errorf("%s routes to %q, %v", key, got.name, err)
		}
	}
}
