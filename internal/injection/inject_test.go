package injection_test

import (
	"flag"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/openpodidentity/podid"
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

func TestWarningsAreFewAndShort(t *testing.T) {
	pod := new(corev1.Pod)
	pod.Namespace = "shop"
	for i := range 30 {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name: strings.Repeat("x", i) + strings.Repeat("ä", 200), Env: []corev1.EnvVar{{Name: "AWS_ACCESS_KEY_ID", Value: "AKIAIOSFODNN7EXAMPLE"}},
		})
	}
	got := injection.Inject(pod, injection.Account{Association: new(podid.Association)}, injection.Settings{}).Warnings
	if len(got) != 10 || got[9] != "podid: and 21 more" {
		t.Errorf("%d warnings, the last %q", len(got), got[len(got)-1])
	}
	for _, w := range got {
		if len(w) > 256 || !utf8.ValidString(w) || strings.Contains(w, "AKIA") {
			t.Errorf("%d bytes: %q", len(w), w)
		}
	}
}

// A pod template, which doctor shows what becomes of it, may have no namespace.
func TestAPodWithoutNamespaceIsNotPodidsOwn(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
	if got := injection.Inject(pod, injection.Account{Association: new(podid.Association)}, injection.Settings{}); !got.Changed {
		t.Errorf("left alone: %s", got.Reason)
	}
}
