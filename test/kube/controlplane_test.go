//go:build unix

package kube_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/openpodidentity/podid/test/kube"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistration "k8s.io/api/admissionregistration/v1"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

// TestControlPlane shares one control plane, which its last part stops and starts.
func TestControlPlane(t *testing.T) {
	began := time.Now()
	cp := kube.New(t, kube.Options{})
	t.Logf("ready after %v", time.Since(began).Round(100*time.Millisecond))
	client := kubernetes.NewForConfigOrDie(cp.Config())
	makeNamespace(t, client, "test-namespace")
	makeServiceAccount(t, client, "test-namespace", "test-sa")

	t.Run("TellsItsVersion", func(t *testing.T) {
		version, err := client.Discovery().ServerVersion()
		if err != nil {
			t.Fatal(err)
		}
		if version.Major != "1" || version.Minor != "37" {
			t.Errorf("version %s.%s", version.Major, version.Minor)
		}
	})
	t.Run("KubectlReachesIt", func(t *testing.T) {
		out, err := cp.Kubectl(t.Context(), "get", "serviceaccount", "-n", "test-namespace", "-o", "name").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "serviceaccount/test-sa" {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("TokensOfPodsVerifyAgainstJWKS", func(t *testing.T) { tokensVerify(t, cp, client) })
	t.Run("RBACHoldsForOtherUsers", func(t *testing.T) { rbacHolds(t, cp, client) })
	t.Run("CustomResourceAndPolicyInCEL", func(t *testing.T) { customResourceAndPolicy(t, cp, client) })
	t.Run("PodsAreMutatedByAPolicyInCEL", func(t *testing.T) { mutatingPolicy(t, client) })
	t.Run("WebhooksOfTheTestAreCalled", func(t *testing.T) { webhook(t, cp, client) })
	t.Run("RestartKeepsData", func(t *testing.T) { restart(t, cp, client) })
}

// podOn makes a pod that names its node, as if a scheduler had been there.
func podOn(t *testing.T, client kubernetes.Interface, namespace, name, node string) *core.Pod {
	t.Helper()
	pod, err := client.CoreV1().Pods(namespace).Create(t.Context(), &core.Pod{
		ObjectMeta: meta.ObjectMeta{Name: name},
		Spec: core.PodSpec{
			ServiceAccountName: "test-sa", NodeName: node,
			Containers: []core.Container{{Name: "app", Image: "podid.test/probe"}},
		},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func tokensVerify(t *testing.T, cp *kube.ControlPlane, client kubernetes.Interface) {
	node, err := client.CoreV1().Nodes().Create(t.Context(), &core.Node{ObjectMeta: meta.ObjectMeta{Name: "paper-node"}}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := podOn(t, client, "test-namespace", "claims", node.Name)
	token := requestToken(t, client, pod)
	claims := verify(t, cp, token)
	want := podClaims{
		Namespace:      "test-namespace",
		Node:           named{node.Name, string(node.UID)},
		Pod:            named{pod.Name, string(pod.UID)},
		ServiceAccount: named{"test-sa", claims.Kubernetes.ServiceAccount.UID},
	}
	if claims.Kubernetes != want || claims.Kubernetes.ServiceAccount.UID == "" {
		t.Errorf("claims %+v, want %+v", claims.Kubernetes, want)
	}
	if claims.Issuer != cp.Issuer() || claims.Subject != "system:serviceaccount:test-namespace:test-sa" || !claims.Audience.Contains("pods.eks.amazonaws.com") {
		t.Errorf("issuer %q, subject %q, audience %q", claims.Issuer, claims.Subject, claims.Audience)
	}
	review, err := client.AuthenticationV1().TokenReviews().Create(t.Context(), &authentication.TokenReview{
		Spec: authentication.TokenReviewSpec{Token: token, Audiences: []string{"pods.eks.amazonaws.com"}},
	}, meta.CreateOptions{})
	if err != nil || !review.Status.Authenticated {
		t.Errorf("token review: %v %+v", err, review.Status)
	}
}

type named struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

type podClaims struct {
	Namespace      string `json:"namespace"`
	Node           named  `json:"node"`
	Pod            named  `json:"pod"`
	ServiceAccount named  `json:"serviceaccount"`
}

type tokenClaims struct {
	jwt.Claims
	Kubernetes podClaims `json:"kubernetes.io"`
}

func requestToken(t *testing.T, client kubernetes.Interface, pod *core.Pod) string {
	t.Helper()
	request, err := client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(t.Context(), pod.Spec.ServiceAccountName, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{
			Audiences:      []string{"pods.eks.amazonaws.com"},
			BoundObjectRef: &authentication.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
		},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// verify checks a token's signature with the cluster's published keys and returns its claims.
func verify(t *testing.T, cp *kube.ControlPlane, token string) tokenClaims {
	t.Helper()
	claims, err := claimsOf(t.Context(), cp, token)
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func claimsOf(ctx context.Context, cp *kube.ControlPlane, token string) (claims tokenClaims, err error) {
	text, err := cp.JWKS(ctx)
	if err != nil {
		return claims, err
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(text, &keys); err != nil {
		return claims, err
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return claims, err
	}
	err = parsed.Claims(keys, &claims)
	return claims, err
}

func rbacHolds(t *testing.T, cp *kube.ControlPlane, client kubernetes.Interface) {
	config, err := cp.ConfigFor("jane", "developers")
	if err != nil {
		t.Fatal(err)
	}
	jane := kubernetes.NewForConfigOrDie(config)
	if _, err := jane.CoreV1().Pods("test-namespace").List(t.Context(), meta.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("before she has a role: %v", err)
	}
	_, err = client.RbacV1().Roles("test-namespace").Create(t.Context(), &rbac.Role{
		ObjectMeta: meta.ObjectMeta{Name: "developers"},
		Rules:      []rbac.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.RbacV1().RoleBindings("test-namespace").Create(t.Context(), &rbac.RoleBinding{
		ObjectMeta: meta.ObjectMeta{Name: "developers"},
		Subjects:   []rbac.Subject{{Kind: "Group", APIGroup: rbac.GroupName, Name: "developers"}},
		RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: "developers"},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "jane lists pods", func(ctx context.Context) error {
		_, err := jane.CoreV1().Pods("test-namespace").List(ctx, meta.ListOptions{})
		return err
	})
}

var gadgets = schema.GroupVersionResource{Group: "test.podid.dev", Version: "v1", Resource: "gadgets"}

func customResourceAndPolicy(t *testing.T, cp *kube.ControlPlane, client kubernetes.Interface) {
	_, err := apiextensionsclient.NewForConfigOrDie(cp.Config()).ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), &apiextensions.CustomResourceDefinition{
		ObjectMeta: meta.ObjectMeta{Name: "gadgets.test.podid.dev"},
		Spec: apiextensions.CustomResourceDefinitionSpec{
			Group: gadgets.Group, Scope: apiextensions.NamespaceScoped,
			Names: apiextensions.CustomResourceDefinitionNames{Plural: "gadgets", Singular: "gadget", Kind: "Gadget", ListKind: "GadgetList"},
			Versions: []apiextensions.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensions.CustomResourceValidation{OpenAPIV3Schema: &apiextensions.JSONSchemaProps{
					Type: "object",
					Properties: map[string]apiextensions.JSONSchemaProps{"spec": {
						Type:         "object",
						Properties:   map[string]apiextensions.JSONSchemaProps{"role": {Type: "string"}},
						XValidations: apiextensions.ValidationRules{{Rule: "self.role.startsWith('arn:')", Message: "role is an ARN"}},
					}},
				}},
			}},
		},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	created := client.AdmissionregistrationV1()
	_, err = created.ValidatingAdmissionPolicies().Create(t.Context(), &admissionregistration.ValidatingAdmissionPolicy{
		ObjectMeta: meta.ObjectMeta{Name: "pass"},
		Spec: admissionregistration.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistration.MatchResources{ResourceRules: []admissionregistration.NamedRuleWithOperations{
				rule(gadgets.Group, "v1", "gadgets", admissionregistration.Create),
			}},
			Validations: []admissionregistration.Validation{{
				Expression:        "authorizer.group('iam.test.podid.dev').resource('roles').name(object.spec.role).check('pass').allowed()",
				MessageExpression: "'may not pass ' + object.spec.role",
			}},
		},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = created.ValidatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistration.ValidatingAdmissionPolicyBinding{
		ObjectMeta: meta.ObjectMeta{Name: "pass"},
		Spec: admissionregistration.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "pass", ValidationActions: []admissionregistration.ValidationAction{admissionregistration.Deny},
		},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.RbacV1().ClusterRoles().Create(t.Context(), &rbac.ClusterRole{
		ObjectMeta: meta.ObjectMeta{Name: "gadget-maker"},
		Rules: []rbac.PolicyRule{
			{APIGroups: []string{gadgets.Group}, Resources: []string{"gadgets"}, Verbs: []string{"create"}},
			{APIGroups: []string{"iam.test.podid.dev"}, Resources: []string{"roles"}, ResourceNames: []string{"arn:aws:iam::111122223333:role/mine"}, Verbs: []string{"pass"}},
		},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbac.ClusterRoleBinding{
		ObjectMeta: meta.ObjectMeta{Name: "gadget-maker"},
		Subjects:   []rbac.Subject{{Kind: "User", APIGroup: rbac.GroupName, Name: "maker"}},
		RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: "gadget-maker"},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := cp.ConfigFor("maker")
	if err != nil {
		t.Fatal(err)
	}
	maker := dynamic.NewForConfigOrDie(config).Resource(gadgets).Namespace("test-namespace")
	create := func(ctx context.Context, role string) error {
		_, err := maker.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "test.podid.dev/v1", "kind": "Gadget",
			"metadata": map[string]any{"generateName": "gadget-"}, "spec": map[string]any{"role": role},
		}}, meta.CreateOptions{})
		return err
	}
	// A policy acts a second or so after it was made.
	eventually(t, "a role that may not be passed is refused", func(ctx context.Context) error {
		return wants(create(ctx, "arn:aws:iam::111122223333:role/other"), "may not pass arn:aws:iam::111122223333:role/other")
	})
	eventually(t, "a role that may be passed is taken", func(ctx context.Context) error {
		return create(ctx, "arn:aws:iam::111122223333:role/mine")
	})
	if err := wants(create(t.Context(), "no-arn"), "role is an ARN"); err != nil {
		t.Error(err)
	}
}

func rule(group, version, resource string, operations ...admissionregistration.OperationType) admissionregistration.NamedRuleWithOperations {
	return admissionregistration.NamedRuleWithOperations{RuleWithOperations: admissionregistration.RuleWithOperations{
		Operations: operations,
		Rule:       admissionregistration.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: []string{resource}},
	}}
}

func mutatingPolicy(t *testing.T, client kubernetes.Interface) {
	created := client.AdmissionregistrationV1()
	_, err := created.MutatingAdmissionPolicies().Create(t.Context(), &admissionregistration.MutatingAdmissionPolicy{
		ObjectMeta: meta.ObjectMeta{Name: "mark"},
		Spec: admissionregistration.MutatingAdmissionPolicySpec{
			ReinvocationPolicy: admissionregistration.NeverReinvocationPolicy,
			MatchConstraints: &admissionregistration.MatchResources{
				ObjectSelector: &meta.LabelSelector{MatchLabels: map[string]string{"mark": "me"}},
				ResourceRules:  []admissionregistration.NamedRuleWithOperations{rule("", "v1", "pods", admissionregistration.Create)},
			},
			Mutations: []admissionregistration.Mutation{{
				PatchType:          admissionregistration.PatchTypeApplyConfiguration,
				ApplyConfiguration: &admissionregistration.ApplyConfiguration{Expression: `Object{metadata: Object.metadata{annotations: {"marked": "yes"}}}`},
			}},
		},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = created.MutatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistration.MutatingAdmissionPolicyBinding{
		ObjectMeta: meta.ObjectMeta{Name: "mark"}, Spec: admissionregistration.MutatingAdmissionPolicyBindingSpec{PolicyName: "mark"},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a pod is marked", func(ctx context.Context) error {
		return wantsAnnotation(ctx, client, map[string]string{"mark": "me"}, "marked", "yes")
	})
}

// wantsAnnotation creates a pod, dry, and looks what became of it.
func wantsAnnotation(ctx context.Context, client kubernetes.Interface, labels map[string]string, key, value string) error {
	pod, err := client.CoreV1().Pods("test-namespace").Create(ctx, &core.Pod{
		ObjectMeta: meta.ObjectMeta{GenerateName: "marked-", Labels: labels},
		Spec:       core.PodSpec{ServiceAccountName: "test-sa", Containers: []core.Container{{Name: "app", Image: "podid.test/probe"}}},
	}, meta.CreateOptions{DryRun: []string{meta.DryRunAll}})
	if err != nil {
		return err
	}
	if got := pod.Annotations[key]; got != value {
		return fmt.Errorf("annotation %s is %q", key, got)
	}
	return nil
}

// hook is an admission webhook that annotates what it is asked about.
func hook(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	patch := admissionv1.PatchTypeJSONPatch
	review.Response = &admissionv1.AdmissionResponse{
		UID: review.Request.UID, Allowed: true, PatchType: &patch,
		Patch: []byte(`[{"op":"add","path":"/metadata/annotations","value":{"hooked":"yes"}}]`),
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

// serveHook serves the webhook with a certificate for host, where l listens.
func serveHook(t *testing.T, cp *kube.ControlPlane, l net.Listener, host string) {
	t.Helper()
	certificate, err := cp.ServingCertificate(host)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(hook), TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}}
	go func() { _ = server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
}

// callHook has the API server call the webhook for pods labelled hook: me.
func callHook(t *testing.T, client kubernetes.Interface, config admissionregistration.WebhookClientConfig) {
	t.Helper()
	none := admissionregistration.SideEffectClassNone
	_, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &admissionregistration.MutatingWebhookConfiguration{
		ObjectMeta: meta.ObjectMeta{Name: "hook"},
		Webhooks: []admissionregistration.MutatingWebhook{{
			Name: "hook.test.podid.dev", SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:   config,
			ObjectSelector: &meta.LabelSelector{MatchLabels: map[string]string{"hook": "me"}},
			Rules:          []admissionregistration.RuleWithOperations{rule("", "v1", "pods", admissionregistration.Create).RuleWithOperations},
		}},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a pod is hooked", func(ctx context.Context) error {
		return wantsAnnotation(ctx, client, map[string]string{"hook": "me"}, "hooked", "yes")
	})
}

func webhook(t *testing.T, cp *kube.ControlPlane, client kubernetes.Interface) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveHook(t, cp, l, "127.0.0.1")
	url := "https://" + l.Addr().String()
	callHook(t, client, admissionregistration.WebhookClientConfig{URL: &url, CABundle: cp.CA()})
}

func restart(t *testing.T, cp *kube.ControlPlane, client kubernetes.Interface) {
	pod := podOn(t, client, "test-namespace", "before", "")
	old := requestToken(t, client, pod)
	cp.StopAPIServer()
	if _, err := client.CoreV1().Pods("test-namespace").Get(t.Context(), pod.Name, meta.GetOptions{}); err == nil {
		t.Error("an API server that is down answered")
	}
	if err := cp.RotateSigningKey(false); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := cp.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready again after %v", time.Since(began).Round(100*time.Millisecond))
	found, err := client.CoreV1().Pods("test-namespace").Get(t.Context(), pod.Name, meta.GetOptions{})
	if err != nil || found.UID != pod.UID {
		t.Errorf("the pod of before: %v", err)
	}
	if _, err := claimsOf(t.Context(), cp, old); err == nil {
		t.Error("a token of the removed key verifies")
	}
	verify(t, cp, requestToken(t, client, pod))
	if log, err := cp.Log("kube-apiserver"); err != nil || !strings.Contains(log, "Serving securely") {
		t.Errorf("log: %v, %d bytes", err, len(log))
	}
}

func makeNamespace(t testing.TB, client kubernetes.Interface, name string) {
	t.Helper()
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: name}}, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func makeServiceAccount(t testing.TB, client kubernetes.Interface, namespace, name string) {
	t.Helper()
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: name}}, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// eventually asks until check has nothing to object to, for a minute at most.
func eventually(t testing.TB, what string, check func(context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: not within a minute: %v", what, last)
	}
}

// wants is nil when err says what is expected.
func wants(err error, text string) error {
	if err == nil {
		return fmt.Errorf("no error, want %q", text)
	}
	if !strings.Contains(err.Error(), text) {
		return fmt.Errorf("%w; want %q", err, text)
	}
	return nil
}
