package install

import (
	"slices"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/problem"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func render(t *testing.T, o Options) map[string]*unstructured.Unstructured {
	t.Helper()
	objects, err := Render(o)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]*unstructured.Unstructured{}
	for _, object := range objects {
		named[Name(object)] = object
	}
	return named
}

// changed names what differs between two renderings.
func changed(a, b map[string]*unstructured.Unstructured) []string {
	var names []string
	for name, object := range b {
		if a[name] == nil {
			names = append(names, "+"+name)
			continue
		}
		for _, d := range Diff(a[name], object) {
			names = append(names, name+" "+d.Field)
		}
	}
	for name := range a {
		if b[name] == nil {
			names = append(names, "-"+name)
		}
	}
	slices.Sort(names)
	return names
}

const (
	auth    = "Deployment podid-system/podid-auth spec.template."
	keeper  = "DaemonSet podid-system/podid-address spec.template."
	webhook = "Deployment podid-system/podid-webhook spec.template."
	agent   = "DaemonSet podid-system/podid-agent spec.template."
)

func TestOptionsChangeWhatTheySayAndNothingElse(t *testing.T) {
	lab := map[string]string{"clusterName": "lab", "region": "eu-central-1", "account": "111122223333"}
	with := func(key, value string) map[string]string {
		all := map[string]string{key: value}
		for k, v := range lab {
			all[k] = v
		}
		return all
	}
	for name, c := range map[string]struct {
		options Options
		want    []string
	}{
		"nothing": {Options{Settings: lab}, nil},
		"registry": {Options{Settings: lab, Registry: "registry.example.com:5000/podid/"}, []string{
			agent + "spec.containers[agent].image", keeper + "spec.containers[address].image",
			auth + "spec.containers[auth].image", webhook + "spec.containers[webhook].image",
		}},
		"setting": {Options{Settings: with("sessionDuration", "2h")}, []string{
			"ConfigMap podid-system/podid data.sessionDuration", auth + "metadata.annotations.podid.dev/settings", webhook + "metadata.annotations.podid.dev/settings",
		}},
		"annotations": {Options{Settings: with("annotations", "true")}, []string{
			"+ValidatingAdmissionPolicy pass-role-annotation.podid.dev", "+ValidatingAdmissionPolicyBinding pass-role-annotation.podid.dev",
			"ConfigMap podid-system/podid data.annotations", auth + "metadata.annotations.podid.dev/settings", webhook + "metadata.annotations.podid.dev/settings",
		}},
		"startup taint": {Options{Settings: with("startupTaint", "true")}, []string{
			"+ClusterRoleBinding podid-startup-taint",
			"ConfigMap podid-system/podid data.startupTaint", auth + "metadata.annotations.podid.dev/settings", webhook + "metadata.annotations.podid.dev/settings",
		}},
		"labelled scope": {Options{Settings: lab, LabelledScope: new(true)}, []string{
			"+MutatingAdmissionPolicy inject.podid.dev", "+MutatingAdmissionPolicyBinding namespaces.inject.podid.dev", "+MutatingAdmissionPolicyBinding pods.inject.podid.dev",
		}},
		"base credentials": {Options{Settings: lab, Credentials: "uid/7"}, []string{auth + "metadata.annotations.podid.dev/base-credentials"}},
	} {
		slices.Sort(c.want)
		if diff := cmp.Diff(c.want, changed(render(t, Options{Settings: lab}), render(t, c.options))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestARegistryHasAPort(t *testing.T) {
	got := render(t, Options{Registry: "registry.example.com:5000/podid", Tag: "v2"})
	containers, _, _ := unstructured.NestedSlice(got["Deployment podid-system/podid-auth"].Object, "spec", "template", "spec", "containers")
	if image := containers[0].(map[string]any)["image"]; image != "registry.example.com:5000/podid/podid-auth:v2" {
		t.Errorf("the image is %v", image)
	}
}

func TestTheLabelledScopeIsFilledIn(t *testing.T) {
	scope := render(t, Options{LabelledScope: new(true), Settings: map[string]string{"region": "eu-central-1", "ipv6": "true"}})["MutatingAdmissionPolicy inject.podid.dev"]
	encoded, err := scope.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	text := string(encoded)
	for _, want := range []string{"eu-central-1", "'ipv6' == 'ipv6'", Namespace, `(/+\\.?)*$`} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the policy", want)
		}
	}
	if strings.Contains(text, "PODID_") {
		t.Error("the policy is not filled in")
	}
	if _, err := Render(Options{LabelledScope: new(true)}); !problem.Is(err, problem.ConfigurationMissing) {
		t.Errorf("without a region: %v", err)
	}
}

func TestSettingsThatPodidWouldRefuseAreNotInstalled(t *testing.T) {
	for _, settings := range []map[string]string{{"region": "x'y"}, {"clustername": "lab"}, {"annotations": "yes"}} {
		if _, err := Render(Options{Settings: settings}); !problem.Is(err, problem.ConfigurationInvalid) {
			t.Errorf("%v: %v", settings, err)
		}
	}
}

func TestWhatIsNotGivenStaysAsItIs(t *testing.T) {
	current := Current{Registry: "registry.example.com", Tag: "old", Settings: map[string]string{"region": "eu-central-1", "account": "111122223333", "issuer": "https://x"}, LabelledScope: true, Credentials: "uid/7"}
	got := current.Keep(Options{Settings: map[string]string{"account": "444455556666", "clusterName": "lab", "issuer": ""}})
	want := Options{
		Registry: "registry.example.com", LabelledScope: new(true), Credentials: "uid/7",
		Settings: map[string]string{"region": "eu-central-1", "account": "444455556666", "clusterName": "lab"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := current.Keep(Options{LabelledScope: new(false)}); *got.LabelledScope {
		t.Error("the labelled scope cannot be switched off")
	}
	if got := (Current{}).Keep(Options{}); got.Settings == nil || got.Registry != "" {
		t.Errorf("over nothing: %+v", got)
	}
}

func TestDiffNamesElementsAndHidesBookkeeping(t *testing.T) {
	a := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"resourceVersion": "1", "generation": int64(1)}, "status": map[string]any{"x": "y"},
		"spec": map[string]any{"list": []any{map[string]any{"name": "one", "a": "b"}}, "gone": int64(1), "numbers": []any{int64(1)}},
	}}
	b := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"resourceVersion": "2", "generation": int64(2)},
		"spec":     map[string]any{"list": []any{map[string]any{"name": "one", "a": "c"}}, "new": true, "numbers": []any{int64(1), int64(2)}},
	}}
	want := []Difference{
		{"spec.gone", "1", ""}, {"spec.list[one].a", `"b"`, `"c"`}, {"spec.new", "", "true"}, {"spec.numbers", "[1]", "[1,2]"},
	}
	if diff := cmp.Diff(want, Diff(a, b)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
