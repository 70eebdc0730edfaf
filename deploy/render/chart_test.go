package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"sigs.k8s.io/yaml"
)

const chartFolder = "../chart"

// values that people give, each with what is special about it.
var values = map[string]string{
	"defaults":       ``,
	"configured":     `settings: {clusterName: lab, region: eu-central-1, account: "111122223333", principal: service, annotations: "true"}`,
	"labelled scope": `{settings: {region: eu-central-1, ipv6: "true", globalSTS: "true"}, labelledScope: {enabled: true}, webhook: {enabled: false}}`,
	"cert-manager":   `certificates: {certManager: true}`,
	"your issuer":    `certificates: {certManager: true, issuerRef: {name: corporate, kind: ClusterIssuer}}`,
	"startup taint":  `startupTaint: {enabled: true}`,
	"a proxy":        `proxy: {https: "http://proxy:3128", noProxy: "10.0.0.0/8"}`,
	"web identity":   `baseCredentials: {webIdentity: {roleARN: "arn:aws:iam::111122223333:role/podid"}}`,
	"much of your own": `{images: {registry: registry.example.com/podid, tag: v2, pullSecrets: [{name: regcred}]},
  auth: {extraArgs: [--drain=9s], extraEnv: [{name: A, value: b}], podAnnotations: {a: b}, nodeSelector: {a: b}, tolerations: [{operator: Exists}],
    affinity: {nodeAffinity: {}}, extraVolumes: [{name: v, emptyDir: {}}], extraVolumeMounts: [{name: v, mountPath: /v}]},
  webhook: {extraArgs: [--drain=9s], extraEnv: [{name: A, value: b}], podAnnotations: {a: b}, nodeSelector: {a: b}, tolerations: [{operator: Exists}], affinity: {nodeAffinity: {}}},
  agent: {extraArgs: [--max-rate=9], extraEnv: [{name: A, value: b}], podAnnotations: {a: b}, nodeSelector: {a: b}, tolerations: []},
  crds: {install: false}, rbac: {aggregate: false}, namespace: {create: true}}`,
}

func render(t *testing.T, of, version string) []Object {
	t.Helper()
	objects, err := Render(chartFolder, Release{KubernetesVersion: version, Values: parse(t, of)})
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var parsed map[string]any
	if err := yaml.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

func find(t *testing.T, objects []Object, kind, name string) map[string]any {
	t.Helper()
	for _, o := range objects {
		if o.Kind == kind && o.Name == name {
			return parse(t, o.Text)
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return nil
}

func TestChartRendersWithWhatPeopleGive(t *testing.T) {
	for name, of := range values {
		t.Run(name, func(t *testing.T) {
			seen := map[string]bool{}
			for _, o := range render(t, of, "v1.37.2") {
				id := o.Kind + " " + o.Namespace + "/" + o.Name
				if seen[id] {
					t.Errorf("%s is there twice", id)
				}
				seen[id] = true
				var object map[string]any
				if err := yaml.UnmarshalStrict([]byte(o.Text), &object); err != nil {
					t.Errorf("%s: %v in\n%s", id, err, o.Text)
				}
				if strings.Contains(o.Text, "${PODID") {
					t.Errorf("%s is not filled in", id)
				}
			}
		})
	}
}

func TestHelmLintHasNothingToSay(t *testing.T) {
	for name, of := range values {
		linter := lint.RunAll(chartFolder, parse(t, of), Namespace)
		for _, m := range linter.Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %s", name, m)
			}
		}
	}
}

func TestValuesThatMeanNothingAreRefused(t *testing.T) {
	for _, of := range []string{
		`settings: {clustername: lab}`, `settings: {account: 111122223333}`, `settings: {region: "eu'+x"}`, `settings: {annotations: true}`,
		`agent: {replicas: 2}`, `images: {registry: ""}`, `webhook: {enabled: "yes"}`, `labelledscope: {enabled: true}`,
	} {
		if _, err := Render(chartFolder, Release{Values: parse(t, of)}); err == nil {
			t.Errorf("%s is accepted", of)
		}
	}
	if _, err := Render(chartFolder, Release{KubernetesVersion: "v1.35.0", Values: parse(t, `labelledScope: {enabled: true}`)}); err == nil || !strings.Contains(err.Error(), "1.36") {
		t.Errorf("the labelled scope before Kubernetes 1.36: %v", err)
	}
}

func TestPoliciesComeBeforeWhatTheyGuard(t *testing.T) {
	objects := render(t, values["labelled scope"], "v1.37.2")
	at := func(kind string) int {
		return slices.IndexFunc(objects, func(o Object) bool { return o.Kind == kind })
	}
	for _, policy := range []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"} {
		if i := at(policy); i < 0 || i > at("CustomResourceDefinition") {
			t.Errorf("%s is at %d, the custom resource at %d", policy, i, at("CustomResourceDefinition"))
		}
	}
}

// A cluster whose annotations are IRSA's is not told who may annotate.
func TestAnnotationsAreGuardedWhereTheDoorIsOpenAndNowhereElse(t *testing.T) {
	const guard = "pass-role-annotation.podid.dev"
	for of, want := range map[string][]string{
		``:                                 nil,
		`settings: {annotations: "false"}`: nil,
		`settings: {annotations: "true"}`:  {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"},
	} {
		var got []string
		for _, o := range render(t, of, "v1.37.2") {
			if o.Name == guard {
				got = append(got, o.Kind)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: the guard is %v", of, got)
		}
	}
}

// One node, or one replica, that goes away stops nobody, and pods that do not ask for it are never refused for podid's sake.
func TestWhatServesIsThereMoreThanOnce(t *testing.T) {
	for name, of := range values {
		objects := render(t, of, "v1.37.2")
		for _, program := range []string{"podid-auth", "podid-webhook"} {
			if !slices.ContainsFunc(objects, func(o Object) bool { return o.Kind == "Deployment" && o.Name == program }) {
				continue
			}
			selector := map[string]any{"app.kubernetes.io/name": program}
			spec := at(find(t, objects, "Deployment", program), "spec").(map[string]any)
			if replicas, _ := spec["replicas"].(float64); replicas < 2 {
				t.Errorf("%s: %s has %v replicas", name, program, spec["replicas"])
			}
			if got := at(spec, "strategy", "rollingUpdate"); !reflect.DeepEqual(got, any(map[string]any{"maxUnavailable": 0., "maxSurge": 1.})) {
				t.Errorf("%s: %s is rolled out with %v", name, program, got)
			}
			var want []any
			for _, key := range []string{"kubernetes.io/hostname", "topology.kubernetes.io/zone"} {
				want = append(want, map[string]any{
					"maxSkew": 1., "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway",
					"labelSelector": map[string]any{"matchLabels": selector}, "matchLabelKeys": []any{"pod-template-hash"},
				})
			}
			if got := at(spec, "template", "spec", "topologySpreadConstraints"); !reflect.DeepEqual(got, any(want)) {
				t.Errorf("%s: %s is spread as %v", name, program, got)
			}
			budget := map[string]any{"maxUnavailable": 1., "selector": map[string]any{"matchLabels": selector}, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
			if got := find(t, objects, "PodDisruptionBudget", program)["spec"]; !reflect.DeepEqual(got, any(budget)) {
				t.Errorf("%s: the budget of %s is %v", name, program, got)
			}
			for _, path := range [][]string{{"spec", "selector", "matchLabels"}, {"spec", "template", "metadata", "labels"}} {
				if at(find(t, objects, "Deployment", program), path...).(map[string]any)["app.kubernetes.io/name"] != program {
					t.Errorf("%s: nothing selects the pods of %s", name, program)
				}
			}
		}
	}
}

// The first entry is for all pods, and admits them while podid-webhook is away; the second for those that say that
// they must not go without.
func TestThePodsThatAskForItAreRefusedAndNoOthers(t *testing.T) {
	entries := find(t, render(t, "", "v1.37.2"), "MutatingWebhookConfiguration", "podid")["webhooks"].([]any)
	var got []string
	for _, e := range entries {
		entry := e.(map[string]any)
		if entry["timeoutSeconds"] != 2. {
			t.Errorf("%s may take %v s", entry["name"], entry["timeoutSeconds"])
		}
		for _, m := range at(entry, "objectSelector", "matchExpressions").([]any) {
			if match := m.(map[string]any); match["key"] == "podid.dev/require" {
				got = append(got, fmt.Sprint(entry["name"], " ", match["operator"], " ", match["values"], " ", entry["failurePolicy"]))
			}
		}
	}
	if !slices.Equal(got, []string{"inject.podid.dev NotIn [true] Ignore", "require.podid.dev In [true] Fail"}) {
		t.Error(got)
	}
}

// Who may patch nodes may do much: only where somebody asks for the taint to be lifted.
func TestNodesMayBeChangedWhereTheStartupTaintIsOnAndNowhereElse(t *testing.T) {
	for name, of := range values {
		bound := slices.ContainsFunc(render(t, of, "v1.37.2"), func(o Object) bool {
			return strings.HasSuffix(o.Kind, "Binding") && strings.Contains(o.Text, "podid-startup-taint")
		})
		if on := name == "startup taint"; bound != on {
			t.Errorf("%s: bound %v", name, bound)
		}
	}
	binding := find(t, render(t, values["startup taint"], "v1.37.2"), "ClusterRoleBinding", "podid-startup-taint")
	if got := binding["subjects"]; !reflect.DeepEqual(got, any([]any{map[string]any{"kind": "ServiceAccount", "name": "podid-auth", "namespace": Namespace}})) {
		t.Errorf("it binds to %v", got)
	}
	if at(binding, "roleRef", "name") != "podid-startup-taint" {
		t.Errorf("it binds %v", binding["roleRef"])
	}
}

// An association that is made while nothing guards it would be in force after the next installation.
func TestWhatGuardsAssociationsStaysAsLongAsTheyDo(t *testing.T) {
	guards := []string{"CustomResourceDefinition podidentityassociations.podid.dev", "ValidatingAdmissionPolicy pass-role.podid.dev", "ValidatingAdmissionPolicyBinding pass-role.podid.dev"}
	for of, want := range map[string]bool{``: true, `crds: {keep: false}`: false} {
		for _, o := range render(t, of, "v1.37.2") {
			stays := at(parse(t, o.Text), "metadata", "annotations", "helm.sh/resource-policy") == "keep"
			if stays != (want && slices.Contains(guards, o.Kind+" "+o.Name)) {
				t.Errorf("with %q %s %s stays: %v", of, o.Kind, o.Name, stays)
			}
		}
	}
}

// Every container runs as somebody who is not root, may not become more, writes nowhere, and has no capability but the
// one it needs.
func TestContainersMayLittle(t *testing.T) {
	capability := map[string][]any{"agent": {"NET_BIND_SERVICE"}, "address": {"NET_ADMIN"}}
	for name, of := range values {
		for _, o := range render(t, of, "v1.37.2") {
			if o.Kind != "Deployment" && o.Kind != "DaemonSet" && o.Kind != "Job" {
				continue
			}
			spec := at(parse(t, o.Text), "spec", "template", "spec").(map[string]any)
			if at(spec, "securityContext", "runAsNonRoot") != true || at(spec, "securityContext", "seccompProfile", "type") != "RuntimeDefault" {
				t.Errorf("%s, %s: %v", name, o.Name, spec["securityContext"])
			}
			if host := spec["hostNetwork"]; (host == true) != (o.Kind == "DaemonSet") {
				t.Errorf("%s, %s: hostNetwork %v", name, o.Name, host)
			}
			for _, c := range spec["containers"].([]any) {
				container := c.(map[string]any)
				context := container["securityContext"].(map[string]any)
				added, _ := at(context, "capabilities", "add").([]any)
				if context["allowPrivilegeEscalation"] != false || context["readOnlyRootFilesystem"] != true ||
					!slices.Equal(at(context, "capabilities", "drop").([]any), []any{"ALL"}) || !slices.Equal(added, capability[container["name"].(string)]) {
					t.Errorf("%s, container %s: %v", name, container["name"], context)
				}
				if at(container, "resources", "requests", "memory") == nil || at(container, "resources", "limits", "memory") == nil {
					t.Errorf("%s, container %s: resources %v", name, container["name"], container["resources"])
				}
			}
		}
	}
}

// at walks into maps.
func at(in any, path ...string) any {
	for _, key := range path {
		facts, ok := in.(map[string]any)
		if !ok {
			return nil
		}
		in = facts[key]
	}
	return in
}

// The rights of a program are those that its packages say they need, under "Permissions" in their comments.
func TestRightsAreWhatThePackagesSay(t *testing.T) {
	objects := render(t, "", "v1.37.2")
	for role, want := range map[string][]string{
		"ClusterRole podid-auth": {
			// internal/token/kube
			"pods: get list watch", "serviceaccounts: get list watch", "/.well-known/openid-configuration: get", "/openid/v1/jwks: get",
			// internal/association/kube, internal/accesskey
			"podidentityassociations.podid.dev: create delete get list patch watch", "iamroles.iam.podid.dev: pass",
			"subjectaccessreviews.authorization.k8s.io: create",
			// internal/association/annotation
			"validatingadmissionpolicies.admissionregistration.k8s.io [pass-role-annotation.podid.dev]: get list watch",
			"validatingadmissionpolicybindings.admissionregistration.k8s.io [pass-role-annotation.podid.dev]: get list watch",
			// internal/reconcile
			"podidentityassociations/status.podid.dev: patch", "events: create",
			"mutatingwebhookconfigurations.admissionregistration.k8s.io [podid]: get list patch watch",
		},
		"Role podid-auth": {
			"secrets: create get list watch", "secrets [podid-auth-tls podid-ca podid-webhook-tls]: update",
			"configmaps: create", "configmaps [podid-ca]: get list patch watch", "configmaps [podid-annotations]: get update",
			"leases.coordination.k8s.io: create", "leases.coordination.k8s.io [podid-auth]: get update",
		},
		"ClusterRole podid-webhook": {
			"serviceaccounts: get list watch", "podidentityassociations.podid.dev: get list watch",
			"validatingadmissionpolicies.admissionregistration.k8s.io [pass-role-annotation.podid.dev]: get list watch",
			"validatingadmissionpolicybindings.admissionregistration.k8s.io [pass-role-annotation.podid.dev]: get list watch",
		},
		"Role podid-webhook":              {"secrets [podid-webhook-tls]: get list watch", "configmaps [podid-annotations]: get"},
		"ClusterRole podid-startup-taint": {"nodes: get list patch watch"},
		// internal/install, after `helm uninstall`
		"ClusterRole podid-clean-up": {"nodes: list"},
		"Role podid-clean-up": {
			"deployments.apps: list", "daemonsets.apps: list", "pods: create delete list", "pods/log: get",
			"secrets [podid-auth-tls podid-ca podid-webhook-tls]: delete", "configmaps [podid-annotations podid-ca]: delete",
			"leases.coordination.k8s.io [podid-auth]: delete",
		},
	} {
		kind, name, _ := strings.Cut(role, " ")
		got := rights(find(t, objects, kind, name))
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", role, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
	for _, o := range objects {
		if strings.HasSuffix(o.Kind, "Binding") && (strings.Contains(o.Text, "podid-agent") || strings.Contains(o.Text, "podid-address")) {
			t.Errorf("a program of the nodes has rights: %s %s", o.Kind, o.Name)
		}
	}
}

// rights are a role's, "resource.group [names]: verbs".
func rights(role map[string]any) []string {
	verbs := map[string][]string{}
	for _, r := range role["rules"].([]any) {
		rule := r.(map[string]any)
		about := slices.Clone(list(rule["nonResourceURLs"]))
		for _, group := range list(rule["apiGroups"]) {
			for _, resource := range list(rule["resources"]) {
				name := strings.TrimSuffix(resource+"."+group, ".")
				if names := list(rule["resourceNames"]); names != nil {
					name += fmt.Sprint(" ", names)
				}
				about = append(about, name)
			}
		}
		for _, name := range about {
			verbs[name] = append(verbs[name], list(rule["verbs"])...)
		}
	}
	var all []string
	for name, of := range verbs {
		slices.Sort(of)
		all = append(all, name+": "+strings.Join(of, " "))
	}
	slices.Sort(all)
	return all
}

func list(of any) []string {
	var all []string
	items, _ := of.([]any)
	for _, item := range items {
		all = append(all, item.(string))
	}
	slices.Sort(all)
	return all
}

// Programs read the settings when they start, so a change is a rollout; a comment in the next version is none.
func TestPodsFollowTheSettingsAndNotTheirComments(t *testing.T) {
	for name, of := range values {
		objects := render(t, of, "v1.37.2")
		data := find(t, objects, "ConfigMap", "podid")["data"]
		if data == nil {
			data = map[string]any{}
		}
		text, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%x", sha256.Sum256(text))[:16]
		for _, o := range objects {
			if o.Kind != "Deployment" {
				continue
			}
			if got := at(parse(t, o.Text), "spec", "template", "metadata", "annotations", "podid.dev/settings"); got != want {
				t.Errorf("%s: pods of %s have %v, the settings %s", name, o.Name, got, want)
			}
		}
	}
}

func TestProxyIsForWhatLeavesTheCluster(t *testing.T) {
	objects := render(t, values["a proxy"], "v1.37.2")
	for _, name := range []string{"podid-webhook"} {
		if text := fmt.Sprint(find(t, objects, "Deployment", name)); strings.Contains(text, "HTTPS_PROXY") {
			t.Errorf("%s has a proxy", name)
		}
	}
	if text := fmt.Sprint(find(t, objects, "DaemonSet", "podid-agent")); strings.Contains(text, "HTTPS_PROXY") {
		t.Error("podid-agent has a proxy")
	}
	text := fmt.Sprint(find(t, objects, "Deployment", "podid-auth"))
	for _, direct := range []string{"$(KUBERNETES_SERVICE_HOST)", ".svc", "169.254.0.0/16", "10.0.0.0/8"} {
		if !strings.Contains(text, direct) {
			t.Errorf("%s goes through the proxy: %s", direct, text)
		}
	}
}

func TestSettingsAreCommentedAtTheEndOfInstallYAML(t *testing.T) {
	manifest, err := Install(chartFolder)
	if err != nil {
		t.Fatal(err)
	}
	last := manifest[bytes.LastIndex(manifest, []byte("kind: ConfigMap")):]
	for _, key := range []string{"clusterName", "region", "account", "stsEndpoint", "annotations"} {
		if !bytes.Contains(last, []byte("# "+key+": ")) {
			t.Errorf("%s is not in the commented ConfigMap", key)
		}
	}
	if !bytes.Contains(last, []byte("# kind: Secret")) {
		t.Error("there is no commented Secret")
	}
}

func TestGeneratedFilesAreUpToDate(t *testing.T) {
	manifest, err := Install(chartFolder)
	if err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile("../install.yaml")
	if err != nil || !bytes.Equal(manifest, committed) {
		t.Errorf("deploy/install.yaml is not what the chart gives: run make generate (%v)", err)
	}
	for _, folder := range []string{"policies", "crds"} {
		files, err := filepath.Glob("../" + folder + "/*.yaml")
		if err != nil || files == nil {
			t.Fatal(err)
		}
		for _, file := range files {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(chartFolder, "files", folder, filepath.Base(file)))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("the chart's copy of %s is old: run make generate (%v)", file, err)
			}
		}
	}
}
