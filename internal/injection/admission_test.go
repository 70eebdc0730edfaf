package injection_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association/memory"
	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/internal/injection/injectiontest"
	"github.com/openpodidentity/podid/problem"
)

type find func(ctx context.Context, namespace, serviceAccount string) (podid.Association, error)

func (f find) Find(ctx context.Context, namespace, serviceAccount string) (podid.Association, error) {
	return f(ctx, namespace, serviceAccount)
}

type annotations func(ctx context.Context, namespace, name string) (map[string]string, error)

func (f annotations) Annotations(ctx context.Context, namespace, name string) (map[string]string, error) {
	return f(ctx, namespace, name)
}

// associated is a store that knows shop/cart.
func associated(t testing.TB) *memory.Store {
	t.Helper()
	store, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: "arn:aws:iam::111122223333:role/reader"})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

const appPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"web-"%s},"spec":{"serviceAccountName":"cart","containers":[{"name":"app","image":"a"}]}}`

// reviewOf is what an API server sends of a pod.
func reviewOf(pod string) string {
	return `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"7f0b2891-916f-4ed6-b7cd-27bff1815a8c",
		"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},"namespace":"shop",
		"operation":"CREATE","userInfo":{"username":"jane"},"object":` + pod + `,"oldObject":null,"dryRun":true,
		"options":{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}}}`
}

func post(h http.Handler, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/mutate?timeout=2s", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// ask posts a review and returns the answer to it.
func ask(t testing.TB, h http.Handler, review string) *admissionv1.AdmissionResponse {
	t.Helper()
	w := post(h, review)
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var answered admissionv1.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &answered); err != nil {
		t.Fatal(err)
	}
	want := metav1.TypeMeta{Kind: "AdmissionReview", APIVersion: "admission.k8s.io/v1"}
	if answered.TypeMeta != want || answered.Request != nil || answered.Response == nil || answered.Response.UID != "7f0b2891-916f-4ed6-b7cd-27bff1815a8c" {
		t.Fatalf("not an answer to the review: %s", w.Body)
	}
	return answered.Response
}

func TestTheWebhookGivesThePodsOfTheSuite(t *testing.T) {
	for _, c := range load(t) {
		t.Run(c.Name, func(t *testing.T) {
			account, settings := inputs(t, c)
			h := &injection.Webhook{
				Associations: find(func(context.Context, string, string) (podid.Association, error) {
					if account.Association == nil {
						return podid.Association{}, problem.New(problem.AssociationMissing, "none")
					}
					return *account.Association, nil
				}),
				ServiceAccounts: annotations(func(context.Context, string, string) (map[string]string, error) { return account.Annotations, nil }),
				Settings:        settings,
			}
			pod, err := json.Marshal(c.Pod)
			if err != nil {
				t.Fatal(err)
			}
			review := strings.Replace(reviewOf(string(pod)), `"namespace":"shop",`, `"namespace":"`+c.Pod.Namespace+`",`, 1)
			response := ask(t, h, review)
			got := c.Pod
			if response.Patch != nil {
				got = apply(t, pod, response.Patch)
			}
			if diff := cmp.Diff(c.Want, got); diff != "" {
				t.Errorf("pod (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.Warnings, response.Warnings, cmpopts.EquateEmpty()); diff != "" || !response.Allowed {
				t.Errorf("allowed %t, warnings (-want +got):\n%s", response.Allowed, diff)
			}
		})
	}
}

func apply(t *testing.T, pod, patch []byte) *corev1.Pod {
	t.Helper()
	operations, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := operations.Apply(pod)
	if err != nil {
		t.Fatalf("%v: %s", err, patch)
	}
	got := new(corev1.Pod)
	if err := json.Unmarshal(patched, got); err != nil {
		t.Fatal(err)
	}
	return got
}

// What this program does not know of a pod must survive, so the patch names
// additions alone.
func TestThePatchIsMinimal(t *testing.T) {
	h := &injection.Webhook{Associations: associated(t), Settings: injection.Settings{Region: "eu-central-1"}}
	response := ask(t, h, reviewOf(`{"metadata":{"generateName":"web-","labels":{"app":"web"}},"spec":{"serviceAccountName":"cart","ofTomorrow":1,
		"volumes":[{"name":"a","emptyDir":{}}],"containers":[{"name":"app","ofTomorrow":1,"env":[{"name":"AWS_REGION","value":"x"}],"volumeMounts":[{"name":"a","mountPath":"/a"}]}]}}`))
	const want = `[
		{"op":"add","path":"/metadata/labels/eks.amazonaws.com~1pod-identity","value":"enabled"},
		{"op":"add","path":"/spec/volumes/-","value":{"name":"eks-pod-identity-token","projected":{"sources":[{"serviceAccountToken":{"audience":"pods.eks.amazonaws.com","expirationSeconds":86400,"path":"eks-pod-identity-token"}}]}}},
		{"op":"add","path":"/spec/containers/0/env/-","value":{"name":"AWS_STS_REGIONAL_ENDPOINTS","value":"regional"}},
		{"op":"add","path":"/spec/containers/0/env/-","value":{"name":"AWS_CONTAINER_CREDENTIALS_FULL_URI","value":"http://169.254.170.23/v1/credentials"}},
		{"op":"add","path":"/spec/containers/0/env/-","value":{"name":"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE","value":"/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token"}},
		{"op":"add","path":"/spec/containers/0/volumeMounts/-","value":{"name":"eks-pod-identity-token","readOnly":true,"mountPath":"/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"}}]`
	var got, wanted any
	if err := errors.Join(json.Unmarshal(response.Patch, &got), json.Unmarshal([]byte(want), &wanted)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Error(diff)
	}
	if response.PatchType == nil || *response.PatchType != "JSONPatch" {
		t.Errorf("patch type %v", response.PatchType)
	}
}

const (
	requireLabel = `,"labels":{"podid.dev/require":"true"}`
	otherLabel   = `,"labels":{"podid.dev/require":"false"}`
)

func TestOnlyPodsThatRequireCredentialsAreRefused(t *testing.T) {
	nobodyKnows := find(func(context.Context, string, string) (podid.Association, error) {
		return podid.Association{}, errors.New("dial tcp 10.96.0.1:443: connection refused")
	})
	empty, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	pod := func(labels string) string { return fmt.Sprintf(appPod, labels) }
	with := func(labels, spec string) string { return strings.Replace(pod(labels), `"spec":{`, `"spec":{`+spec, 1) }
	for _, c := range []struct {
		name  string
		store injection.Associations
		pod   func(labels string) string
		code  int32
		cause problem.Code
		says  string // to the creator of a pod that is required
		warns string // to that of one that is not
	}{
		{"nobody could tell", nobodyKnows, pod, 503, problem.ClusterUnavailable, "service account shop/cart could not be looked up", "may get no AWS credentials"},
		{"no association", empty, pod, 403, problem.AssociationMissing, "shop/cart has no association", ""},
		{"a Windows pod", associated(t), func(l string) string { return with(l, `"os":{"name":"windows"},`) }, 403, problem.RequestInvalid, "Linux pods only", "Windows"},
		{"its own volume", associated(t), func(l string) string {
			return with(l, `"volumes":[{"name":"eks-pod-identity-token","emptyDir":{}}],`)
		}, 403, problem.RequestInvalid, "rename", "rename"},
		{"every container skipped", associated(t), func(l string) string {
			return strings.Replace(pod(l), `"generateName"`, `"annotations":{"eks.amazonaws.com/skip-containers":"app"},"generateName"`, 1)
		}, 403, problem.RequestInvalid, "container of the pod is skipped", ""},
		{"a pod that cannot be read", associated(t), func(l string) string { return with(l, `"volumes":7,`) }, 403, problem.RequestInvalid, "cannot be read", "cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &injection.Webhook{Associations: c.store}
			required := ask(t, h, reviewOf(c.pod(requireLabel)))
			if required.Allowed || required.Patch != nil || required.Result == nil {
				t.Fatalf("required: %+v", required)
			}
			s := required.Result
			if s.Code != c.code || !strings.Contains(s.Message, c.says) || s.Details == nil || s.Details.Causes[0].Type != metav1.CauseType(c.cause) {
				t.Errorf("required: %+v", s)
			}
			if strings.Contains(s.Message, "10.96") {
				t.Errorf("the underlying error is shown: %s", s.Message)
			}
			for _, labels := range []string{"", otherLabel} {
				free := ask(t, h, reviewOf(c.pod(labels)))
				warned := strings.Join(free.Warnings, "\n")
				if !free.Allowed || free.Patch != nil || !strings.Contains(warned, c.warns) || (c.warns == "") != (warned == "") {
					t.Errorf("not required: allowed %t, warnings %q", free.Allowed, free.Warnings)
				}
			}
		})
	}
}

func TestPodsThatRequireCredentialsAndGetThemAreAdmitted(t *testing.T) {
	h := &injection.Webhook{Associations: associated(t)}
	if r := ask(t, h, reviewOf(fmt.Sprintf(appPod, requireLabel))); !r.Allowed || r.Patch == nil {
		t.Errorf("%+v", r)
	}
}

func TestALookUpThatHangsIsGivenUpBeforeTheAPIServerDoes(t *testing.T) {
	hangs := find(func(ctx context.Context, _, _ string) (podid.Association, error) {
		<-ctx.Done()
		return podid.Association{}, ctx.Err()
	})
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct{ set, want time.Duration }{{0, injection.Timeout}, {300 * time.Millisecond, 300 * time.Millisecond}} {
			began := time.Now()
			r := ask(t, &injection.Webhook{Associations: hangs, Timeout: test.set}, reviewOf(fmt.Sprintf(appPod, "")))
			if took := time.Since(began); took != test.want || !r.Allowed || len(r.Warnings) != 1 {
				t.Errorf("after %v: %+v", took, r)
			}
		}
	})
}

func TestExemptPodsAreNotLookedUp(t *testing.T) {
	h := &injection.Webhook{Associations: find(func(context.Context, string, string) (podid.Association, error) {
		t.Error("looked up")
		return podid.Association{}, errors.New("down")
	})}
	r := ask(t, h, reviewOf(fmt.Sprintf(appPod, `,"labels":{"eks.amazonaws.com/skip-pod-identity-webhook":"x","podid.dev/require":"true"}`)))
	if !r.Allowed || r.Patch != nil || r.Warnings != nil {
		t.Errorf("%+v", r)
	}
}

// Every pod of the cluster passes here, and most have no association.
func TestAnnotationsAreReadOnlyWhereTheyMatter(t *testing.T) {
	h := &injection.Webhook{Associations: associated(t), ServiceAccounts: annotations(func(context.Context, string, string) (map[string]string, error) {
		t.Error("read")
		return nil, nil
	})}
	ask(t, h, strings.Replace(reviewOf(fmt.Sprintf(appPod, "")), "cart", "till", 1))
}

func TestAnnotationsThatCannotBeReadCostNoCredentials(t *testing.T) {
	down := annotations(func(context.Context, string, string) (map[string]string, error) { return nil, errors.New("down") })
	h := &injection.Webhook{Associations: associated(t), ServiceAccounts: down}
	r := ask(t, h, reviewOf(fmt.Sprintf(appPod, requireLabel)))
	if !r.Allowed || r.Patch == nil || len(r.Warnings) != 1 {
		t.Errorf("%+v", r)
	}
	// With IRSA an annotation may be what gives a pod its credentials.
	empty, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	h = &injection.Webhook{Associations: empty, ServiceAccounts: down, Settings: injection.Settings{IRSA: true}}
	if r := ask(t, h, reviewOf(fmt.Sprintf(appPod, requireLabel))); r.Allowed {
		t.Errorf("%+v", r)
	}
}

func TestWhatIsNoNewPodIsAdmitted(t *testing.T) {
	h := &injection.Webhook{Associations: associated(t)}
	pod := reviewOf(fmt.Sprintf(appPod, requireLabel))
	for name, change := range map[string][2]string{
		"another kind":    {`"kind":"Pod"}`, `"kind":"Node"}`},
		"another group":   {`"kind":{"group":""`, `"kind":{"group":"apps"`},
		"another version": {`"version":"v1","kind":"Pod"`, `"version":"v2","kind":"Pod"`},
		"an update":       {`"CREATE"`, `"UPDATE"`},
		"a subresource":   {`"namespace":"shop",`, `"namespace":"shop","subResource":"ephemeralcontainers",`},
	} {
		review := strings.Replace(pod, change[0], change[1], 1)
		if review == pod {
			t.Fatalf("%s: nothing changed", name)
		}
		if r := ask(t, h, review); !r.Allowed || r.Patch != nil || len(r.Warnings) != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestWhatCannotBeAnsweredIsLeftToTheFailurePolicy(t *testing.T) {
	h := &injection.Webhook{Associations: associated(t)}
	pod := reviewOf(fmt.Sprintf(appPod, ""))
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"nothing", "", 400},
		{"no JSON", "pod", 400},
		{"null", "null", 400},
		{"a list", "[]", 400},
		{"an old version", strings.Replace(pod, "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1), 400},
		{"another kind", strings.Replace(pod, "AdmissionReview", "ConversionReview", 1), 400},
		{"no request", `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`, 400},
		{"no uid", strings.Replace(pod, `"uid"`, `"id"`, 1), 400},
		{"too much", `{"kind":"` + strings.Repeat("x", injection.MaxReview) + `"}`, 413},
	} {
		if w := post(h, c.body); w.Code != c.status || w.Body.Len() == 0 || w.Body.Len() > 300 {
			t.Errorf("%s: status %d: %s", c.name, w.Code, w.Body)
		}
	}
	get := httptest.NewRecorder()
	h.ServeHTTP(get, httptest.NewRequest(http.MethodGet, "/mutate", nil))
	if get.Code != http.StatusMethodNotAllowed || get.Header().Get("Allow") != http.MethodPost {
		t.Errorf("GET: %d", get.Code)
	}
	form := httptest.NewRequest(http.MethodPost, "/mutate", strings.NewReader(pod))
	form.Header.Set("Content-Type", "text/plain")
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, form); w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("text/plain: %d", w.Code)
	}
}

func TestEachRequestIsOneLineOfTheLog(t *testing.T) {
	var text bytes.Buffer
	h := &injection.Webhook{Associations: associated(t), Log: slog.New(slog.NewJSONHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	down := &injection.Webhook{Log: h.Log, Associations: find(func(context.Context, string, string) (podid.Association, error) {
		return podid.Association{}, errors.New("connection refused")
	})}
	pod := reviewOf(fmt.Sprintf(appPod, ""))
	for _, c := range []struct {
		h    http.Handler
		body string
		want map[string]any
	}{
		{h, pod, map[string]any{"level": "INFO", "outcome": "injected", "namespace": "shop", "pod": "web-", "service_account": "cart", "dry_run": true}},
		{h, strings.Replace(pod, "cart", "till", 1), map[string]any{"level": "DEBUG", "outcome": "left-alone", "reason": "no-association", "service_account": "till"}},
		{down, pod, map[string]any{"level": "WARN", "outcome": "undecided", "code": "cluster-unavailable", "cause": "connection refused"}},
		{down, strings.Replace(pod, `"generateName":"web-"`, `"generateName":"web-"`+requireLabel, 1), map[string]any{"level": "WARN", "outcome": "refused"}},
		{h, "{}", map[string]any{"level": "WARN", "outcome": "unanswered", "status": float64(400)}},
	} {
		text.Reset()
		post(c.h, c.body)
		if lines := strings.Count(text.String(), "\n"); lines != 1 {
			t.Fatalf("%d lines: %s", lines, text.String())
		}
		var line map[string]any
		if err := json.Unmarshal(text.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		for key, value := range c.want {
			if line[key] != value {
				t.Errorf("%s is %v, not %v: %s", key, line[key], value, text.String())
			}
		}
	}
}

func FuzzWebhook(f *testing.F) {
	f.Add(reviewOf(fmt.Sprintf(appPod, "")))
	f.Add(reviewOf(fmt.Sprintf(appPod, requireLabel)))
	f.Add(reviewOf(`{"metadata":null,"spec":{"containers":[null]}}`))
	f.Add(reviewOf(`null`))
	f.Add(reviewOf(`{"metadata":{"labels":{"podid.dev/require":"true"}},"spec":[]}`))
	f.Add(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"x"}}`)
	h := &injection.Webhook{
		Associations: find(func(_ context.Context, namespace, _ string) (podid.Association, error) {
			if namespace == "down" {
				return podid.Association{}, errors.New("down")
			}
			return podid.Association{}, nil
		}),
		ServiceAccounts: annotations(func(context.Context, string, string) (map[string]string, error) { return nil, nil }),
	}
	f.Fuzz(func(t *testing.T, body string) {
		w := post(h, body)
		switch w.Code {
		case http.StatusOK:
			var review admissionv1.AdmissionReview
			if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil {
				t.Fatal(err)
			}
			r := review.Response
			if r == nil || r.UID == "" || r.Allowed == (r.Result != nil) || (r.Patch == nil) != (r.PatchType == nil) || !r.Allowed && r.Patch != nil {
				t.Errorf("%s", w.Body)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		default:
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	})
}

func BenchmarkInject(b *testing.B) {
	var c injectiontest.Case
	for _, one := range load(b) {
		if one.Name == "all-kinds-of-containers" {
			c = one
		}
	}
	account, settings := inputs(b, c)
	b.ReportAllocs()
	for b.Loop() {
		injection.Inject(c.Pod, account, settings)
	}
}

func BenchmarkWebhook(b *testing.B) {
	h := &injection.Webhook{Associations: associated(b), Settings: injection.Settings{Region: "eu-central-1"}}
	review := reviewOf(fmt.Sprintf(appPod, ""))
	b.ReportAllocs()
	for b.Loop() {
		post(h, review)
	}
}
