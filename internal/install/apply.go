package install

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fieldManager is who the API server notes as the owner of what is applied.
const fieldManager = client.FieldOwner("podid")

// Action is what becomes of an object.
type Action string

// The actions.
const (
	Created   Action = "created"
	Changed   Action = "changed"
	Unchanged Action = "unchanged"
	Removed   Action = "removed"
)

// Change is what an installation did, or would do, to an object.
type Change struct {
	Object      string       `json:"object"`
	Action      Action       `json:"action"`
	Differences []Difference `json:"differences,omitempty"`
}

// Apply makes the cluster have the objects, in their order; on a dry run the API server
// says what it would do. It tells report of each, and ends at the first that is refused.
func (c Cluster) Apply(ctx context.Context, objects []*unstructured.Unstructured, dryRun bool, report func(Change)) error {
	// Nothing can be asked of a namespace that is not there.
	namespace, err := c.get(ctx, "v1", "Namespace", c.Namespace)
	if err != nil {
		return err
	}
	for _, object := range objects {
		if dryRun && namespace == nil && object.GetNamespace() != "" {
			report(Change{Object: Name(object), Action: Created})
			continue
		}
		change, err := c.apply(ctx, object, dryRun)
		if err != nil {
			return err
		}
		report(change)
	}
	return nil
}

func (c Cluster) apply(ctx context.Context, object *unstructured.Unstructured, dryRun bool) (Change, error) {
	before := &unstructured.Unstructured{}
	before.SetGroupVersionKind(object.GroupVersionKind())
	err := c.API.Get(ctx, client.ObjectKeyFromObject(object), before)
	switch {
	case absent(err):
		before = nil
	case err != nil:
		return Change{}, fmt.Errorf("get %s: %w", Name(object), err)
	}
	after := object.DeepCopy()
	options := []client.ApplyOption{fieldManager, client.ForceOwnership}
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	if err := c.API.Apply(ctx, client.ApplyConfigurationFromUnstructured(after), options...); err != nil {
		return Change{}, fmt.Errorf("apply %s: %w", Name(object), err)
	}
	if before == nil {
		return Change{Object: Name(object), Action: Created}, nil
	}
	change := Change{Object: Name(object), Action: Unchanged, Differences: Diff(before, after)}
	if len(change.Differences) > 0 {
		change.Action = Changed
	}
	return change, nil
}

// installable are the kinds that any version of podid has installed, in the order in
// which they are removed: first what stands in the way of pods, last what others are in.
// Settings and the custom resource are never pruned: they are the administrator's.
var installable = []schema.GroupVersionKind{
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingWebhookConfiguration"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingAdmissionPolicyBinding"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingAdmissionPolicy"},
	{Group: "apps", Version: "v1", Kind: "Deployment"},
	{Group: "apps", Version: "v1", Kind: "DaemonSet"},
	{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"},
	{Version: "v1", Kind: "Service"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRoleBinding"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole"},
	{Version: "v1", Kind: "ServiceAccount"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingAdmissionPolicyBinding"},
	{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingAdmissionPolicy"},
}

// Prune removes what an earlier installation made and this one, objects, does not have.
func (c Cluster) Prune(ctx context.Context, objects []*unstructured.Unstructured, dryRun bool, report func(Change)) error {
	for _, kind := range installable {
		there, err := c.installed(ctx, kind)
		if err != nil {
			return err
		}
		for _, object := range there {
			if slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool {
				return o.GroupVersionKind() == kind && o.GetNamespace() == object.GetNamespace() && o.GetName() == object.GetName()
			}) {
				continue
			}
			if err := c.remove(ctx, object, dryRun); err != nil {
				return err
			}
			report(Change{Object: Name(object), Action: Removed})
		}
	}
	return nil
}

// installed lists the objects of a kind that podid has applied.
func (c Cluster) installed(ctx context.Context, kind schema.GroupVersionKind) ([]*unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	err := c.API.List(ctx, list, client.MatchingLabels{managedBy: "podid"})
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", kind.Kind, err)
	}
	var found []*unstructured.Unstructured
	for i := range list.Items {
		list.Items[i].SetGroupVersionKind(kind)
		found = append(found, &list.Items[i])
	}
	return found, nil
}

// remove deletes an object with all that belongs to it; one that is gone is no error.
func (c Cluster) remove(ctx context.Context, object *unstructured.Unstructured, dryRun bool) error {
	options := []client.DeleteOption{client.PropagationPolicy("Background")}
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	if err := c.API.Delete(ctx, object, options...); err != nil && !absent(err) {
		return fmt.Errorf("remove %s: %w", Name(object), err)
	}
	return nil
}
