package install

import (
	"context"
	"fmt"
	"maps"

	"github.com/openpodidentity/podid/problem"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Current is what the cluster has of an earlier installation. An installation over it
// keeps what it is not told to change.
type Current struct {
	Installed     bool
	Registry, Tag string
	Settings      map[string]string
	LabelledScope bool
	// Credentials changes with the Secret of the base credentials; empty is none.
	Credentials string
}

// Current looks at the cluster. An installation of Helm's is an error: it would be
// Helm's to change.
func (c Cluster) Current(ctx context.Context) (Current, error) {
	var current Current
	if err := c.notHelms(ctx); err != nil {
		return Current{}, err
	}
	auth, err := c.get(ctx, "apps/v1", "Deployment", "podid-auth")
	if err != nil {
		return Current{}, err
	}
	if auth != nil {
		current.Installed = true
		containers, _, _ := unstructured.NestedSlice(auth.Object, "spec", "template", "spec", "containers")
		for _, container := range containers {
			if facts, ok := container.(map[string]any); ok {
				image, _ := facts["image"].(string)
				current.Registry, _, current.Tag = splitImage(image)
			}
		}
	}
	config, err := c.get(ctx, "v1", "ConfigMap", "podid")
	if err != nil {
		return Current{}, err
	}
	if config != nil {
		current.Settings, _, _ = unstructured.NestedStringMap(config.Object, "data")
	}
	scope, err := c.get(ctx, "admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy", "inject.podid.dev")
	if err != nil {
		return Current{}, err
	}
	current.LabelledScope = scope != nil
	secret, err := c.get(ctx, "v1", "Secret", "podid-base-credentials")
	if err != nil {
		return Current{}, err
	}
	if secret != nil {
		current.Credentials = string(secret.GetUID()) + "/" + secret.GetResourceVersion()
	}
	return current, nil
}

// notHelms is an error where Helm has installed podid, in whatever namespace.
func (c Cluster) notHelms(ctx context.Context) error {
	role, err := c.get(ctx, "rbac.authorization.k8s.io/v1", "ClusterRole", "podid-auth")
	if err != nil || role == nil || role.GetLabels()[managedBy] != "Helm" {
		return err
	}
	release, namespace := role.GetAnnotations()["meta.helm.sh/release-name"], role.GetAnnotations()["meta.helm.sh/release-namespace"]
	return problem.New(problem.Usage, "podid was installed by Helm here, as release %s of namespace %s", release, namespace).
		Because("what two tools write, each takes from the other").
		Fixed("use helm upgrade, or helm uninstall %s --namespace %s", release, namespace)
}

// Keep adds to options what the cluster has and they do not say. The tag is not kept:
// another program installs another version.
func (current Current) Keep(o Options) Options {
	kept := maps.Clone(current.Settings)
	if kept == nil {
		kept = map[string]string{}
	}
	maps.Copy(kept, o.Settings)
	maps.DeleteFunc(kept, func(_, value string) bool { return value == "" })
	o.Settings = kept
	if o.Registry == "" {
		o.Registry = current.Registry
	}
	if o.LabelledScope == nil {
		o.LabelledScope = &current.LabelledScope
	}
	o.Credentials = current.Credentials
	return o
}

// get returns an object of podid's namespace, or of none; nil if there is none.
func (c Cluster) get(ctx context.Context, version, kind, name string) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.FromAPIVersionAndKind(version, kind))
	err := c.API.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, object)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %s %s: %w", kind, name, err)
	}
	return object, nil
}
