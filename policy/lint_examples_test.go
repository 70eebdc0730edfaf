package policy_test

import (
	"path"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/openpodidentity/podid/policy"
)

// A linter that warns of what AWS recommends is switched off.
func TestPoliciesAsAWSDocumentsThemAreClean(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/lint-examples.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		stem := strings.TrimSuffix(f.Name, ".json")
		kind, ok := policy.ParseType(strings.TrimPrefix(path.Ext(stem), "."))
		if !ok {
			t.Fatalf("%s has no type", f.Name)
		}
		for _, finding := range policy.Lint(kind, f.Name, f.Data) {
			if finding.Severity != policy.Notice {
				t.Errorf("%s:\n%s", f.Name, findingsText([]policy.Finding{finding}))
			}
		}
		if guess := policy.GuessType(f.Data); guess != kind && (kind == policy.Identity || kind == policy.Trust || kind == policy.Resource) {
			t.Errorf("%s is taken for a %s", f.Name, guess)
		}
	}
}
