//go:build unix

package kube_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association/memory"
	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/internal/injection/injectiontest"
	"github.com/openpodidentity/podid/test/kube"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistration "k8s.io/api/admissionregistration/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

var injectionSettings = injection.Settings{Region: "eu-central-1", Namespace: "podid-system"}

// injectionWorld is an API server and the webhook that it asks.
type injectionWorld struct {
	cp       *kube.ControlPlane
	client   *kubernetes.Clientset
	warnings *injectionWarnings
	store    *memory.Store
	server   *http.Server
	hook     atomic.Pointer[injection.Webhook]
	calls    atomic.Int64
}

// injectionWarnings are what the API server tells a client.
type injectionWarnings struct {
	mu    sync.Mutex
	texts []string
}

func (w *injectionWarnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.HasPrefix(text, "podid: ") {
		w.texts = append(w.texts, text)
	}
}

func (w *injectionWarnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	texts := w.texts
	w.texts = nil
	return texts
}

// Annotations implements injection.ServiceAccounts.
func (w *injectionWorld) Annotations(ctx context.Context, namespace, name string) (map[string]string, error) {
	account, err := w.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, meta.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return account.Annotations, nil
}

func newInjectionWorld(t testing.TB) *injectionWorld {
	t.Helper()
	w := &injectionWorld{cp: kube.New(t, kube.Options{}), warnings: new(injectionWarnings)}
	config := w.cp.Config()
	config.WarningHandler = w.warnings
	w.client = kubernetes.NewForConfigOrDie(config)
	var err error
	if w.store, err = memory.New(nil); err != nil {
		t.Fatal(err)
	}
	w.answer(w.store, injectionSettings)
	for _, namespace := range []string{"shop", "podid-system"} {
		_, err := w.client.CoreV1().Namespaces().Create(t.Context(), &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: namespace}}, meta.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// answer changes who the webhook asks and what it does.
func (w *injectionWorld) answer(store injection.Associations, settings injection.Settings) {
	w.hook.Store(&injection.Webhook{Associations: store, ServiceAccounts: w, Settings: settings})
}

// bind makes a service account with annotations and its association, if role is not empty.
func (w *injectionWorld) bind(t testing.TB, namespace, name string, role podid.RoleARN, annotations map[string]string) {
	t.Helper()
	if err := w.tryBind(t.Context(), w.client, namespace, name, role, annotations); err != nil {
		t.Fatal(err)
	}
}

func (w *injectionWorld) tryBind(ctx context.Context, client kubernetes.Interface, namespace, name string, role podid.RoleARN, annotations map[string]string) error {
	account := &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: name, Annotations: annotations}}
	_, err := client.CoreV1().ServiceAccounts(namespace).Create(ctx, account, meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = client.CoreV1().ServiceAccounts(namespace).Update(ctx, account, meta.UpdateOptions{})
	}
	if err != nil || role == "" {
		return err
	}
	_, err = w.store.Create(ctx, podid.Association{Namespace: namespace, ServiceAccount: name, Role: role})
	return err
}

// register serves the webhook and has the API server call it as it is installed: entry one for all pods, entry
// two for those that must not go without.
func (w *injectionWorld) register(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := w.cp.ServingCertificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	w.server = &http.Server{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.calls.Add(1)
			w.hook.Load().ServeHTTP(rw, r)
		}),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
	}
	go func() { _ = w.server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = w.server.Close() })

	none, ifNeeded := admissionregistration.SideEffectClassNone, admissionregistration.IfNeededReinvocationPolicy
	entry := func(name string, policy admissionregistration.FailurePolicyType, required meta.LabelSelectorOperator) admissionregistration.MutatingWebhook {
		return admissionregistration.MutatingWebhook{
			Name: name, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, TimeoutSeconds: new(int32(2)),
			FailurePolicy: &policy, ReinvocationPolicy: &ifNeeded,
			ClientConfig: admissionregistration.WebhookClientConfig{URL: new("https://" + l.Addr().String() + "/mutate"), CABundle: w.cp.CA()},
			Rules:        []admissionregistration.RuleWithOperations{rule("", "v1", "pods", admissionregistration.Create).RuleWithOperations},
			NamespaceSelector: &meta.LabelSelector{MatchExpressions: []meta.LabelSelectorRequirement{
				{Key: "kubernetes.io/metadata.name", Operator: meta.LabelSelectorOpNotIn, Values: []string{"kube-system", "podid-system"}},
			}},
			ObjectSelector: &meta.LabelSelector{MatchExpressions: []meta.LabelSelectorRequirement{
				{Key: injection.SkipLabel, Operator: meta.LabelSelectorOpDoesNotExist},
				{Key: injection.RequireLabel, Operator: required, Values: []string{"true"}},
			}},
		}
	}
	_, err = w.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &admissionregistration.MutatingWebhookConfiguration{
		ObjectMeta: meta.ObjectMeta{Name: "podid"},
		Webhooks: []admissionregistration.MutatingWebhook{
			entry("pods.podid.dev", admissionregistration.Ignore, meta.LabelSelectorOpNotIn),
			entry("required.podid.dev", admissionregistration.Fail, meta.LabelSelectorOpIn),
		},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.bind(t, "podid-system", "first", "", nil)
	w.bind(t, "shop", "first", "arn:aws:iam::111122223333:role/reader", nil)
	for range 100 {
		if pod, err := w.create(t.Context(), injectionPod("shop", "first", nil), true); err == nil && injected(pod) == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the API server does not call the webhook")
}

func injectionPod(namespace, account string, labels map[string]string) *core.Pod {
	return &core.Pod{
		ObjectMeta: meta.ObjectMeta{GenerateName: "web-", Namespace: namespace, Labels: labels},
		Spec:       core.PodSpec{ServiceAccountName: account, Containers: []core.Container{{Name: "app", Image: "podid.test/probe"}}},
	}
}

func (w *injectionWorld) create(ctx context.Context, pod *core.Pod, dry bool) (*core.Pod, error) {
	var options meta.CreateOptions
	if dry {
		options.DryRun = []string{meta.DryRunAll}
	}
	return w.client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, options)
}

// injected says what a pod lacks.
func injected(pod *core.Pod) error {
	if !slices.ContainsFunc(pod.Spec.Volumes, func(v core.Volume) bool { return v.Name == injection.Volume && v.Projected != nil }) {
		return fmt.Errorf("pod %s has no volume", pod.Name)
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, name := range []string{injection.EnvRegion, injection.EnvCredentialsURI, injection.EnvTokenFile} {
			if !slices.ContainsFunc(c.Env, func(e core.EnvVar) bool { return e.Name == name }) {
				return fmt.Errorf("container %s of pod %s has no %s", c.Name, pod.Name, name)
			}
		}
		if !slices.ContainsFunc(c.VolumeMounts, func(m core.VolumeMount) bool { return m.MountPath == injection.MountPath && m.ReadOnly }) {
			return fmt.Errorf("container %s of pod %s has no mount", c.Name, pod.Name)
		}
	}
	return nil
}

func TestInjection(t *testing.T) {
	w := newInjectionWorld(t)
	cases, err := injectiontest.Load("../../internal/injection/testdata")
	if err != nil {
		t.Fatal(err)
	}
	wanted := w.wantedPods(t, cases)
	w.register(t)
	for i, c := range cases {
		t.Run(c.Name, func(t *testing.T) { w.runCase(t, c, wanted[i]) })
	}
	w.answer(w.store, injectionSettings)
	t.Run("ALaterSidecarIsInjectedToo", func(t *testing.T) { w.laterSidecar(t) })
	t.Run("EveryRacingPodIsInjected", func(t *testing.T) { w.race(t) })
	t.Run("PodsThatRequireCredentialsAreRefusedWithout", func(t *testing.T) { w.required(t) })
}

// wantedPods are the wanted pods of the cases as the API server completes them without podid.
func (w *injectionWorld) wantedPods(t *testing.T, cases []injectiontest.Case) []*core.Pod {
	pods := make([]*core.Pod, len(cases))
	for i, c := range cases {
		w.bind(t, c.Pod.Namespace, injection.ServiceAccount(c.Pod), "", nil)
		var err error
		if pods[i], err = w.create(t.Context(), c.Want, true); err != nil {
			t.Fatalf("%s: the wanted pod is refused: %v", c.Name, err)
		}
	}
	return pods
}

func (w *injectionWorld) runCase(t *testing.T, c injectiontest.Case, want *core.Pod) {
	var settings injection.Settings
	if err := yaml.UnmarshalStrict(c.Settings, &settings); err != nil {
		t.Fatal(err)
	}
	store, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Association != nil {
		if _, err := store.Create(t.Context(), *c.Association); err != nil {
			t.Fatal(err)
		}
	}
	w.answer(store, settings)
	w.bind(t, c.Pod.Namespace, injection.ServiceAccount(c.Pod), "", c.ServiceAccount.Annotations)
	w.warnings.take()
	got, err := w.create(t.Context(), c.Pod, true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(likened(want), likened(got)); diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(c.Warnings, w.warnings.take(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

var apiAccess = regexp.MustCompile(`^kube-api-access-[a-z0-9]{5}$`)

// likened is a pod without what differs between two pods created alike: its identity, and the name and place
// of the API server's own volume, which comes before the webhook's and after those of a wanted pod.
func likened(pod *core.Pod) *core.Pod {
	pod = pod.DeepCopy()
	pod.UID, pod.CreationTimestamp, pod.ManagedFields = "", meta.Time{}, nil
	if pod.GenerateName != "" {
		pod.Name = ""
	}
	rename := func(name string) string { return apiAccess.ReplaceAllString(name, "kube-api-access") }
	for i := range pod.Spec.Volumes {
		pod.Spec.Volumes[i].Name = rename(pod.Spec.Volumes[i].Name)
	}
	slices.SortFunc(pod.Spec.Volumes, func(a, b core.Volume) int { return strings.Compare(a.Name, b.Name) })
	for _, containers := range [][]core.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range containers {
			for i := range c.VolumeMounts {
				c.VolumeMounts[i].Name = rename(c.VolumeMounts[i].Name)
			}
			slices.SortFunc(c.VolumeMounts, func(a, b core.VolumeMount) int { return strings.Compare(a.MountPath, b.MountPath) })
		}
	}
	return pod
}

// laterSidecar has another webhook add a container after podid's was asked: the API server asks again.
func (w *injectionWorld) laterSidecar(t *testing.T) {
	serveSidecars(t, w.cp, w.client, "zz-sidecars") // configurations act in the order of their names
	eventually(t, "a pod has a sidecar", func(ctx context.Context) error {
		before := w.calls.Load()
		pod, err := w.create(ctx, injectionPod("shop", "first", map[string]string{"sidecar": "yes"}), true)
		if err != nil {
			return err
		}
		if len(pod.Spec.InitContainers) != 1 {
			return errors.New("no sidecar")
		}
		if calls := w.calls.Load() - before; calls != 2 {
			t.Errorf("podid was asked %d times", calls)
		}
		if err := injected(pod); err != nil {
			t.Error(err)
		}
		for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			if len(c.Env) != 5 || len(c.VolumeMounts) != 2 && c.Name == "app" {
				t.Errorf("container %s: %+v %+v", c.Name, c.Env, c.VolumeMounts)
			}
		}
		return nil
	})
}

// serveSidecars is a webhook, of that name, which adds a container to pods labelled sidecar: yes.
func serveSidecars(t *testing.T, cp *kube.ControlPlane, client *kubernetes.Clientset, name string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := cp.ServingCertificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(addSidecar), TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}}
	go func() { _ = server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	none := admissionregistration.SideEffectClassNone
	_, err = client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &admissionregistration.MutatingWebhookConfiguration{
		ObjectMeta: meta.ObjectMeta{Name: name},
		Webhooks: []admissionregistration.MutatingWebhook{{
			Name: "sidecars.test.podid.dev", SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:   admissionregistration.WebhookClientConfig{URL: new("https://" + l.Addr().String()), CABundle: cp.CA()},
			ObjectSelector: &meta.LabelSelector{MatchLabels: map[string]string{"sidecar": "yes"}},
			Rules:          []admissionregistration.RuleWithOperations{rule("", "v1", "pods", admissionregistration.Create).RuleWithOperations},
		}},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func addSidecar(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	review.Response = &admissionv1.AdmissionResponse{
		UID: review.Request.UID, Allowed: true, PatchType: new(admissionv1.PatchTypeJSONPatch),
		Patch: []byte(`[{"op":"add","path":"/spec/initContainers","value":[{"name":"proxy","image":"podid.test/proxy","restartPolicy":"Always"}]}]`),
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

// race creates service accounts, associations and pods as fast as eight clients can.
func (w *injectionWorld) race(t *testing.T) {
	const clients, rounds = 8, 60
	began := time.Now()
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			api := kubernetes.NewForConfigOrDie(rest.CopyConfig(w.cp.Config()))
			for round := range rounds {
				name := fmt.Sprintf("racer-%d-%d", client, round)
				if err := w.tryBind(t.Context(), api, "shop", name, "arn:aws:iam::111122223333:role/reader", nil); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				pod, err := api.CoreV1().Pods("shop").Create(t.Context(), injectionPod("shop", name, nil), meta.CreateOptions{})
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				if err := injected(pod); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d pods in %v", clients*rounds, time.Since(began).Round(10*time.Millisecond))
}

type lostAssociations struct{}

func (lostAssociations) Find(context.Context, string, string) (podid.Association, error) {
	return podid.Association{}, errors.New("connection refused")
}

// required runs last: it stops the webhook.
func (w *injectionWorld) required(t *testing.T) {
	must := map[string]string{injection.RequireLabel: "true"}
	pod, err := w.create(t.Context(), injectionPod("shop", "first", must), true)
	if err != nil || injected(pod) != nil {
		t.Errorf("with an association: %v, %v", err, injected(pod))
	}
	w.bind(t, "shop", "nobody", "", nil)
	_, err = w.create(t.Context(), injectionPod("shop", "nobody", must), true)
	if !apierrors.IsForbidden(err) || wants(err, "create a PodIdentityAssociation named nobody in namespace shop") != nil {
		t.Errorf("without an association: %v", err)
	}

	w.answer(lostAssociations{}, injectionSettings)
	_, err = w.create(t.Context(), injectionPod("shop", "first", must), true)
	if !apierrors.IsServiceUnavailable(err) || wants(err, "could not be looked up") != nil {
		t.Errorf("nobody can tell: %v", err)
	}
	w.warnings.take()
	pod, err = w.create(t.Context(), injectionPod("shop", "first", nil), true)
	if warned := w.warnings.take(); err != nil || injected(pod) == nil || len(warned) != 1 {
		t.Errorf("nobody can tell, and it is not required: %v, warnings %q", err, warned)
	}

	if err := w.server.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = w.create(t.Context(), injectionPod("shop", "first", must), true)
	if err := wants(err, `failed calling webhook "required.podid.dev"`); err != nil {
		t.Errorf("no webhook: %v", err)
	}
	if pod, err := w.create(t.Context(), injectionPod("shop", "first", nil), true); err != nil || injected(pod) == nil {
		t.Errorf("no webhook, and it is not required: %v", err)
	}
}
