package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/openpodidentity/podid/deploy"
	"github.com/openpodidentity/podid/deploy/policies"
	"github.com/openpodidentity/podid/internal/association/annotation"
	"github.com/openpodidentity/podid/internal/settings"
	"github.com/openpodidentity/podid/problem"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Options change what is installed.
type Options struct {
	// Registry is where the images are, such as registry.example.com/podid; that of
	// the manifest unless set. Tag likewise.
	Registry, Tag string
	// Settings are the data of the ConfigMap podid.
	Settings map[string]string
	// LabelledScope has the API server inject pods labelled podid.dev/inject: enabled
	// (Kubernetes 1.36 and later); nil is no, or as it is.
	LabelledScope *bool
	// Credentials changes with the base credentials: podid-auth reads them at the start.
	Credentials string
}

const (
	managedBy = "app.kubernetes.io/managed-by"
	partOf    = "app.kubernetes.io/part-of"
	// checksum and credentials are annotations of pods by which a change of the settings,
	// or of the base credentials, is a new pod.
	checksum    = "podid.dev/settings"
	credentials = "podid.dev/base-credentials"
)

// Render is what is installed with the options, in the order in which it is applied.
// Settings that podid would refuse are an error; settings that it waits for are not.
func Render(o Options) ([]*unstructured.Unstructured, error) {
	known, err := settings.Parse(o.Settings)
	if err != nil && !problem.Is(err, problem.ConfigurationMissing) {
		return nil, err
	}
	text := deploy.Install
	if o.LabelledScope != nil && *o.LabelledScope {
		if known.Cluster.Region == "" {
			return nil, problem.New(problem.ConfigurationMissing, "the labelled scope needs the cluster's region").
				Because("it is written into the policy, which no later setting changes").
				Fixed("give --region too")
		}
		text = append(bytes.Clone(text), "\n---\n"+labelledScope(known)...)
	}
	if known.Annotations {
		text = slices.Concat(text, []byte("\n---\n"), policies.PassRoleAnnotation)
	}
	objects, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("read install.yaml: %w", err)
	}
	if known.StartupTaint {
		objects = append(objects, startupTaintBinding())
	}
	for _, object := range objects {
		labels := object.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[partOf], labels[managedBy] = "podid", "podid"
		object.SetLabels(labels)
		if err := o.change(object); err != nil {
			return nil, fmt.Errorf("%s: %w", Name(object), err)
		}
	}
	return objects, nil
}

// Guards are those of the objects that have to be there before the annotation door may
// open: the policy that says who may annotate, and the namespace.
func Guards(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool {
		return o.GetKind() != "Namespace" && o.GetName() != annotation.PolicyName
	})
}

func decode(text []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := documents.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(object.Object) > 0 { // a document of comments alone has nothing
			objects = append(objects, object)
		}
	}
}

// labelledScope fills the policies in. The values become part of expressions: settings
// have been checked.
func labelledScope(known settings.Settings) string {
	values := map[string]string{
		"PODID_NAMESPACE": Namespace, "PODID_REGION": known.Cluster.Region, "PODID_IP_FAMILY": "ipv4", "PODID_STS_ENDPOINTS": "regional",
	}
	if known.IPv6 {
		values["PODID_IP_FAMILY"] = "ipv6"
	}
	if known.GlobalSTS {
		values["PODID_STS_ENDPOINTS"] = "global"
	}
	return os.Expand(policies.Inject, func(name string) string {
		if value, ok := values[name]; ok {
			return value
		}
		return "$" + name // not ours: a regular expression's end
	})
}

// startupTaintBinding lets podid-auth lift the taint: the right to change nodes is
// given only where it is used.
func startupTaintBinding() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
		"metadata": map[string]any{"name": "podid-startup-taint"},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "podid-startup-taint"},
		"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": "podid-auth", "namespace": Namespace}},
	}}
}

func (o Options) change(object *unstructured.Unstructured) error {
	switch object.GetKind() {
	case "ConfigMap":
		data := map[string]any{}
		for key, value := range o.Settings {
			if value != "" {
				data[key] = value
			}
		}
		return unstructured.SetNestedMap(object.Object, data, "data")
	case "Deployment":
		if err := unstructured.SetNestedField(object.Object, o.sum(), "spec", "template", "metadata", "annotations", checksum); err != nil {
			return err
		}
		if object.GetName() == "podid-auth" && o.Credentials != "" {
			if err := unstructured.SetNestedField(object.Object, o.Credentials, "spec", "template", "metadata", "annotations", credentials); err != nil {
				return err
			}
		}
		return o.changeImages(object)
	case "DaemonSet":
		return o.changeImages(object)
	}
	return nil
}

// sum changes with the settings.
func (o Options) sum() string {
	text, _ := json.Marshal(o.Settings) // keys in order
	return fmt.Sprintf("%x", sha256.Sum256(text))[:16]
}

func (o Options) changeImages(object *unstructured.Unstructured) error {
	path := []string{"spec", "template", "spec", "containers"}
	containers, _, err := unstructured.NestedSlice(object.Object, path...)
	if err != nil {
		return err
	}
	for _, c := range containers {
		container := c.(map[string]any)
		container["image"] = o.image(container["image"].(string))
	}
	return unstructured.SetNestedSlice(object.Object, containers, path...)
}

func (o Options) image(given string) string {
	registry, name, tag := splitImage(given)
	if o.Registry != "" {
		registry = strings.TrimSuffix(o.Registry, "/")
	}
	if o.Tag != "" {
		tag = o.Tag
	}
	return registry + "/" + name + ":" + tag
}

func splitImage(image string) (registry, name, tag string) {
	slash := strings.LastIndex(image, "/")
	name, tag, _ = strings.Cut(image[slash+1:], ":")
	return image[:max(slash, 0)], name, tag
}
