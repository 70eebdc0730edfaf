package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

// Namespace is podid's, unless Helm is told another.
const Namespace = "podid-system"

// order is that of kinds in the manifest. The namespace is first, since all is in it;
// policies come before the custom resource, so that no association is ever made that
// they have not seen; the webhook is registered after the programs; and the
// settings, which people edit, are at the end.
var order = []string{
	"Namespace",
	"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
	"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding",
	"CustomResourceDefinition",
	"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
	"Issuer", "Certificate",
	"Service", "PodDisruptionBudget", "Deployment", "DaemonSet",
	"MutatingWebhookConfiguration",
	"ConfigMap",
	"Job", // of Helm's alone
}

// Object is an object of the manifest, as text with its comments.
type Object struct {
	Kind, Namespace, Name string
	Text                  string
}

// Release says how the chart is rendered.
type Release struct {
	Service           string // who installs: Helm, or podid for install.yaml
	Namespace         string
	KubernetesVersion string // as Helm assumes it unless set
	Values            map[string]any
}

// Render is the chart at folder with the release's values over its own: its objects
// in their order.
func Render(folder string, release Release) ([]Object, error) {
	chart, err := loader.Load(folder)
	if err != nil {
		return nil, err
	}
	capabilities := common.DefaultCapabilities.Copy()
	if release.KubernetesVersion != "" {
		version, err := common.ParseKubeVersion(release.KubernetesVersion)
		if err != nil {
			return nil, err
		}
		capabilities.KubeVersion = *version
	}
	values, err := util.ToRenderValues(chart, release.Values,
		common.ReleaseOptions{Name: "podid", Namespace: cmp.Or(release.Namespace, Namespace), Revision: 1, IsInstall: true}, capabilities)
	if err != nil {
		return nil, err
	}
	if release.Service != "" {
		values["Release"].(map[string]any)["Service"] = release.Service
	}
	files, err := engine.Render(chart, values)
	if err != nil {
		return nil, err
	}
	var objects []Object
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasSuffix(name, ".yaml") { // NOTES.txt
			continue
		}
		found, err := split(files[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		objects = append(objects, found...)
	}
	for _, o := range objects {
		if !slices.Contains(order, o.Kind) {
			return nil, fmt.Errorf("%s %s: its kind has no place in the order", o.Kind, o.Name)
		}
	}
	slices.SortStableFunc(objects, func(a, b Object) int {
		return cmp.Compare(slices.Index(order, a.Kind), slices.Index(order, b.Kind))
	})
	return objects, nil
}

// split takes a file of YAML documents apart.
func split(file string) ([]Object, error) {
	var objects []Object
	for _, text := range strings.Split("\n"+file, "\n---\n") {
		text = strings.TrimSpace(text)
		var head struct {
			Kind     string `json:"kind"`
			Metadata struct {
				Name      string `json:"name"`
				Namespace string `json:"namespace"`
			} `json:"metadata"`
		}
		if err := yaml.Unmarshal([]byte(text), &head); err != nil {
			return nil, fmt.Errorf("%w in:\n%s", err, text)
		}
		if head.Kind == "" {
			continue
		}
		objects = append(objects, Object{head.Kind, head.Metadata.Namespace, head.Metadata.Name, text})
	}
	return objects, nil
}

const head = `# podid, whole: kubectl apply -f install.yaml
# Generated from the chart beside it by make generate; change that instead. The settings are at the end.
`

const tail = `# Base credentials, if podid-auth is to sign with a user's key. An OIDC provider or IAM Roles Anywhere is better: see docs/install.md.
# kubectl apply leaves this Secret alone as long as it is commented out.
#
# apiVersion: v1
# kind: Secret
# metadata:
#   name: podid-base-credentials
#   namespace: podid-system
# stringData:
#   AWS_ACCESS_KEY_ID: AKIA…
#   AWS_SECRET_ACCESS_KEY: …
`

// Install is install.yaml: the chart with its default values, and its namespace.
func Install(folder string) ([]byte, error) {
	objects, err := Render(folder, Release{Service: "podid", Values: map[string]any{"namespace": map[string]any{"create": true}}})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString(head)
	for _, o := range objects {
		fmt.Fprintf(&out, "---\n%s\n", o.Text)
	}
	out.WriteString("---\n" + tail)
	return out.Bytes(), nil
}
