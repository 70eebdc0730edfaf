//go:build unix

package kube_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/internal/injection/injectiontest"
	admissionregistration "k8s.io/api/admissionregistration/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

const (
	injectPolicies = "../../deploy/policies/inject.yaml"
	injectLabel    = "podid.dev/inject"
)

// labelledWorld is an API server with the policies of the labelled scope. Its webhook is served to nobody yet.
type labelledWorld struct{ *injectionWorld }

// newLabelledWorld labels every namespace that cases name, those that are never injected too, and not "unlabelled".
func newLabelledWorld(t testing.TB) labelledWorld {
	t.Helper()
	w := labelledWorld{newInjectionWorld(t)}
	_, err := w.client.CoreV1().Namespaces().Create(t.Context(), &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: "unlabelled"}}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"shop", "podid-system", "kube-system"} {
		if out, err := w.cp.Kubectl(t.Context(), "label", "namespace", namespace, injectLabel+"=enabled").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	w.bind(t, "shop", "first", "", nil)
	w.bind(t, "unlabelled", "first", "", nil)
	return w
}

// renderPolicies fills the policies in.
func renderPolicies(t testing.TB, settings injection.Settings) []byte {
	t.Helper()
	text, err := os.ReadFile(injectPolicies)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{
		"PODID_NAMESPACE": settings.Namespace, "PODID_REGION": settings.Region,
		"PODID_IP_FAMILY": "ipv4", "PODID_STS_ENDPOINTS": "regional",
	}
	if settings.Namespace == "" {
		values["PODID_NAMESPACE"] = "podid-system"
	}
	if settings.IPv6 {
		values["PODID_IP_FAMILY"] = "ipv6"
	}
	if settings.GlobalSTS {
		values["PODID_STS_ENDPOINTS"] = "global"
	}
	return []byte(os.Expand(string(text), func(name string) string {
		value, ok := values[name]
		if !ok {
			t.Fatalf("%s: nothing is known of ${%s}", injectPolicies, name)
		}
		return value
	}))
}

// apply has the API server inject with the settings, and waits until it does.
func (w labelledWorld) apply(t testing.TB, settings injection.Settings) {
	t.Helper()
	apply := w.cp.Kubectl(t.Context(), "apply", "-f", "-")
	apply.Stdin = bytes.NewReader(renderPolicies(t, settings))
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	policy, err := w.client.AdmissionregistrationV1().MutatingAdmissionPolicies().Get(t.Context(), "inject.podid.dev", meta.GetOptions{})
	if err != nil || policy.Spec.FailurePolicy == nil || *policy.Spec.FailurePolicy != admissionregistration.Fail || policy.Spec.ParamKind != nil {
		t.Fatalf("%+v, %v", policy.Spec, err)
	}
	account := injection.Account{Association: new(podid.Association)}
	var last any
	for range 300 {
		ready := true
		for _, pod := range []*core.Pod{
			injectionPod("shop", "first", nil), injectionPod("unlabelled", "first", map[string]string{injectLabel: "enabled"}),
		} {
			got, err := w.create(t.Context(), pod, true)
			want := injection.Inject(pod, account, settings).Pod.Spec.Containers[0].Env
			if err != nil || !slices.Equal(got.Spec.Containers[0].Env, want) {
				ready, last = false, err
			}
		}
		if ready {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("the API server does not inject: %v", last)
}

func TestLabelledScope(t *testing.T) {
	w := newLabelledWorld(t)
	all, err := injectiontest.Load("../../internal/injection/testdata")
	if err != nil {
		t.Fatal(err)
	}
	cases := slices.DeleteFunc(all, func(c injectiontest.Case) bool { return c.WebhookOnly != "" })
	if len(cases) < len(all)/2 {
		t.Errorf("%d of %d cases are for the webhook only", len(all)-len(cases), len(all))
	}
	wanted := w.wantedPods(t, cases)
	t.Run("AnUnfilledPolicyIsRefused", func(t *testing.T) { w.unfilled(t) })
	for text, group := range bySettings(cases) {
		var settings injection.Settings
		if err := yaml.UnmarshalStrict([]byte(text), &settings); err != nil {
			t.Fatal(err)
		}
		w.apply(t, settings)
		for _, i := range group {
			t.Run(cases[i].Name, func(t *testing.T) { w.runLabelled(t, cases[i], wanted[i]) })
		}
	}
	w.apply(t, injectionSettings)
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"WhoIsNotLabelledIsNotTouched", w.notLabelled},
		{"ALaterSidecarIsInjectedToo", w.labelledSidecar},
		{"EveryWayToWriteThePlaceIsTheSame", w.places},
		{"MadeUpPodsBecomeWhatGoMakesOfThem", w.asGo},
		{"ALargePodIsInBounds", w.large},
		{"AnInvalidPodIsRefusedByName", w.invalid},
		{"EveryRacingPodIsInjected", w.race},
		{"EveryPodOfANewNamespaceIsInjected", w.newNamespaces},
	} {
		t.Run(part.name, part.run)
	}
	t.Run("WithTheWebhook", func(t *testing.T) { w.bothWays(t, cases, wanted) })
}

// bySettings are the places of the cases in their list, by the settings that they want.
func bySettings(cases []injectiontest.Case) map[string][]int {
	groups := map[string][]int{}
	for i, c := range cases {
		groups[string(c.Settings)] = append(groups[string(c.Settings)], i)
	}
	return groups
}

// runLabelled has the same pod created for its namespace's label, for its own, and for both.
func (w labelledWorld) runLabelled(t *testing.T, c injectiontest.Case, want *core.Pod) {
	if c.Association == nil {
		t.Fatal("it has no association, and is not marked as one for the webhook only: the policies inject without")
	}
	check := func(pod, want *core.Pod) {
		t.Helper()
		got, err := w.create(t.Context(), pod, true)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(likened(want), likened(got)); diff != "" {
			t.Errorf("pod of namespace %s, labels %v (-want +got):\n%s", pod.Namespace, pod.Labels, diff)
		}
	}
	check(c.Pod, want)
	label := func(pod *core.Pod, namespace string) *core.Pod {
		pod = pod.DeepCopy()
		pod.Namespace = namespace
		pod.Labels = maps.Clone(pod.Labels)
		if pod.Labels == nil {
			pod.Labels = map[string]string{}
		}
		pod.Labels[injectLabel] = "enabled"
		return pod
	}
	check(label(c.Pod, c.Pod.Namespace), label(want, c.Pod.Namespace))
	if c.Pod.Namespace == "shop" {
		w.bind(t, "unlabelled", injection.ServiceAccount(c.Pod), "", nil)
		check(label(c.Pod, "unlabelled"), label(want, "unlabelled"))
	}
}

func (w labelledWorld) unfilled(t *testing.T) {
	out, err := w.cp.Kubectl(t.Context(), "apply", "--dry-run=server", "-f", injectPolicies).CombinedOutput()
	if err == nil || !strings.Contains(string(out), `Invalid value: "${PODID_NAMESPACE}"`) {
		t.Errorf("%v: %s", err, out)
	}
}

func (w labelledWorld) notLabelled(t *testing.T) {
	for _, pod := range []*core.Pod{
		injectionPod("unlabelled", "first", nil),
		injectionPod("unlabelled", "first", map[string]string{injectLabel: "disabled"}),
		injectionPod("unlabelled", "first", map[string]string{injectLabel: "enabled", injection.SkipLabel: ""}),
	} {
		got, err := w.create(t.Context(), pod, true)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Spec.Containers[0].Env) != 0 || len(got.Spec.Volumes) != 1 || got.Labels[injection.InjectedLabel] != "" {
			t.Errorf("labels %v: %+v", pod.Labels, got.Spec)
		}
	}
}

// labelledSidecar has a webhook add a container after the policies acted: they act again.
func (w labelledWorld) labelledSidecar(t *testing.T) {
	serveSidecars(t, w.cp, w.client, "sidecars")
	for _, pod := range []*core.Pod{
		injectionPod("shop", "first", map[string]string{"sidecar": "yes"}),
		injectionPod("unlabelled", "first", map[string]string{"sidecar": "yes", injectLabel: "enabled"}),
	} {
		eventually(t, "a pod has a sidecar", func(ctx context.Context) error {
			got, err := w.create(ctx, pod, true)
			if err != nil {
				return err
			}
			if len(got.Spec.InitContainers) != 1 {
				return errors.New("no sidecar")
			}
			if err := injected(got); err != nil {
				t.Error(err)
			}
			for _, c := range slices.Concat(got.Spec.InitContainers, got.Spec.Containers) {
				if len(c.Env) != 5 {
					t.Errorf("container %s: %+v", c.Name, c.Env)
				}
			}
			return nil
		})
	}
}

// places asks Go and the policies about the same paths.
func (w labelledWorld) places(t *testing.T) {
	for _, path := range []string{
		injection.MountPath + "/", injection.MountPath + "//.", "//var/./run///secrets/pods.eks.amazonaws.com/././serviceaccount/./",
		"/.var/run/secrets/pods.eks.amazonaws.com/serviceaccount", injection.MountPath + "s", injection.MountPath + "/eks-pod-identity-token",
		"/var/run/secrets/podsXeks.amazonaws.com/serviceaccount", "/x" + injection.MountPath, injection.MountPath + ".", "/var/run/secrets",
		injection.MountPath + "/...", "/", ".", "serviceaccount",
	} {
		pod := injectionPod("shop", "first", nil)
		pod.Spec.AutomountServiceAccountToken = new(false)
		pod.Spec.Volumes = []core.Volume{{Name: "mine", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}}}
		pod.Spec.Containers = append(pod.Spec.Containers, core.Container{
			Name: "own", Image: "podid.test/probe", VolumeMounts: []core.VolumeMount{{Name: "mine", MountPath: path}},
		})
		want := injection.Inject(pod, injection.Account{Association: new(podid.Association)}, injectionSettings).Pod.Spec.Containers[1]
		got, err := w.create(t.Context(), pod, true)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.VolumeMounts, got.Spec.Containers[1].VolumeMounts); diff != "" {
			t.Errorf("%q (-want +got):\n%s", path, diff)
		}
	}
}

// invalid pods are refused for what is wrong with them.
func (w labelledWorld) invalid(t *testing.T) {
	for _, test := range []struct {
		says   string
		change func(*core.Pod)
	}{
		{"spec.containers: Required value", func(pod *core.Pod) { pod.Spec.Containers = nil }},
		{"spec.containers[0].name: Required value", func(pod *core.Pod) { pod.Spec.Containers[0].Name = "" }},
		{"spec.containers[0].env[0].name: Required value", func(pod *core.Pod) { pod.Spec.Containers[0].Env = []core.EnvVar{{Value: "x"}} }},
		{`spec.containers[0].volumeMounts[0].mountPath: Required value`, func(pod *core.Pod) {
			pod.Spec.Containers[0].VolumeMounts = []core.VolumeMount{{Name: "gone"}}
		}},
	} {
		pod := injectionPod("shop", "first", nil)
		test.change(pod)
		_, err := w.create(t.Context(), pod, true)
		if !apierrors.IsInvalid(err) || wants(err, test.says) != nil {
			t.Errorf("%s: %v", test.says, err)
		}
	}
}

// race has pods made as soon as their service accounts and associations are, for either label.
func (w labelledWorld) race(t *testing.T) {
	serveAssociations(t, w.cp)
	t.Run("OfALabelledNamespace", func(t *testing.T) { race(t, w.cp, 500, associatedPod) })
	t.Run("LabelledItself", func(t *testing.T) {
		race(t, w.cp, 500, func(round int) []client.Object {
			objects := associatedPod(round)
			for _, object := range objects {
				object.SetNamespace("unlabelled")
			}
			objects[len(objects)-1].SetLabels(map[string]string{injectLabel: "enabled"})
			return objects
		})
	})
}

// newNamespaces are labelled from the start, and pods come at once: there is no moment in which their label is not known.
func (w labelledWorld) newNamespaces(t *testing.T) {
	race(t, w.cp, 80, func(round int) []client.Object {
		name := fmt.Sprint("new-", round)
		return []client.Object{
			&core.Namespace{ObjectMeta: meta.ObjectMeta{Name: name, Labels: map[string]string{injectLabel: "enabled"}}},
			&core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Namespace: name, Name: "first"}},
			injectionPod(name, "first", nil),
		}
	})
}

// bothWays has the policies and the webhook act on the same pods. It runs last: the webhook stays.
func (w labelledWorld) bothWays(t *testing.T, cases []injectiontest.Case, wanted []*core.Pod) {
	w.register(t)
	eventually(t, "the webhook is called", func(ctx context.Context) error {
		_, err := w.create(ctx, injectionPod("shop", "first", nil), true)
		if err == nil && w.calls.Load() == 0 {
			err = errors.New("it is not")
		}
		return err
	})
	for text, group := range bySettings(cases) {
		var settings injection.Settings
		if err := yaml.UnmarshalStrict([]byte(text), &settings); err != nil {
			t.Fatal(err)
		}
		w.answer(w.store, settings)
		w.apply(t, settings)
		for _, i := range group {
			t.Run(cases[i].Name, func(t *testing.T) { w.runCase(t, cases[i], wanted[i]) })
		}
	}
}

// BenchmarkLabelledScope creates pods with the policies and without, in turn.
func BenchmarkLabelledScope(b *testing.B) {
	w := newLabelledWorld(b)
	w.apply(b, injectionSettings)
	serveAssociations(b, w.cp)
	for _, associations := range []int{1, 1000} {
		fill(b, w.cp, "shop", associations)
		fill(b, w.cp, "unlabelled", associations)
		for _, test := range []struct {
			name, namespace string
			labels          map[string]string
		}{
			{"namespace", "shop", nil},
			{"pod", "unlabelled", map[string]string{injectLabel: "enabled"}},
			{"both", "shop", map[string]string{injectLabel: "enabled"}},
		} {
			b.Run(fmt.Sprintf("associations=%d/label=%s", associations, test.name), func(b *testing.B) {
				compare(b, w.client, test.namespace, test.labels)
			})
		}
	}
}
