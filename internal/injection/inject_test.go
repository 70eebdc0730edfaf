package injection_test

import (
	"flag"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"sigs.k8s.io/yaml"

	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/internal/injection/injectiontest"
)

var update = flag.Bool("update", false, "write what the code does into testdata")

func load(t testing.TB) []injectiontest.Case {
	t.Helper()
	cases, err := injectiontest.Load("testdata")
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

func inputs(t testing.TB, c injectiontest.Case) (injection.Account, injection.Settings) {
	t.Helper()
	var settings injection.Settings
	if err := yaml.UnmarshalStrict(c.Settings, &settings); err != nil {
		t.Fatal(err)
	}
	return injection.Account{Association: c.Association, Annotations: c.ServiceAccount.Annotations}, settings
}

func TestInject(t *testing.T) {
	for _, c := range load(t) {
		t.Run(c.Name, func(t *testing.T) {
			if c.Association != nil && (c.Association.Namespace != c.Pod.Namespace || c.Association.ServiceAccount != injection.ServiceAccount(c.Pod)) {
				t.Fatal("the association is of another service account")
			}
			account, settings := inputs(t, c)
			given := c.Pod.DeepCopy()
			got := injection.Inject(c.Pod, account, settings)
			if diff := cmp.Diff(given, c.Pod); diff != "" {
				t.Errorf("the pod that was given was changed:\n%s", diff)
			}
			if got.Changed == cmp.Equal(given, got.Pod) {
				t.Errorf("changed: %t", got.Changed)
			}
			if *update {
				if err := c.Update(got.Pod, got.Warnings); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(c.Want, got.Pod); diff != "" {
				t.Errorf("pod (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.Warnings, got.Warnings, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryCaseSaysWhatItShows(t *testing.T) {
	for _, c := range load(t) {
		if strings.TrimSpace(c.Comment()) == "" {
			t.Errorf("%s has no comment", c.Name)
		}
	}
}
