package install

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/openpodidentity/podid/api/v1alpha1"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Associations are all that the cluster has, as objects to be applied again: without
// what the API server and podid note on them.
func (c Cluster) Associations(ctx context.Context) ([]*unstructured.Unstructured, error) {
	all, _, err := c.associations(ctx)
	return all, err
}

// associations are as of a resource version; empty if the cluster has no such kind.
func (c Cluster) associations(ctx context.Context) (all []*unstructured.Unstructured, version string, err error) {
	list := associationList()
	if err := c.API.List(ctx, list); err != nil {
		if absent(err) {
			return nil, "", nil
		}
		return nil, "", fmt.Errorf("list associations: %w", err)
	}
	for i := range list.Items {
		all = append(all, again(&list.Items[i]))
	}
	return all, list.GetResourceVersion(), nil
}

func associationList() *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PodIdentityAssociationList"))
	return list
}

// again is an association as it can be applied again.
func again(o *unstructured.Unstructured) *unstructured.Unstructured {
	kept := &unstructured.Unstructured{Object: map[string]any{"spec": o.Object["spec"]}}
	kept.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PodIdentityAssociation"))
	kept.SetNamespace(o.GetNamespace())
	kept.SetName(o.GetName())
	kept.SetLabels(o.GetLabels())
	annotations := o.GetAnnotations()
	delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
	kept.SetAnnotations(annotations)
	return kept
}

// export saves the associations, if they go. What is returned is called when they are gone: it
// saves those that were written meanwhile, the last of one and the same last.
func (c Cluster) export(ctx context.Context, r Removal) (late func() error, err error) {
	none := func() error { return nil }
	if !r.Associations || r.Export == nil {
		return none, nil
	}
	all, version, err := c.associations(ctx)
	if err != nil || version == "" {
		return none, err
	}
	written, err := c.API.Watch(ctx, associationList(), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}})
	if err != nil {
		return none, fmt.Errorf("watch associations: %w", err)
	}
	if err := r.Export(all); err != nil {
		written.Stop()
		return none, err
	}
	return func() error {
		defer written.Stop()
		if changed := changes(written, all); len(changed) > 0 {
			return r.Export(changed)
		}
		return nil
	}, nil
}

// quiet is how long nothing is told before there is nothing more to tell.
const quiet = time.Second

// changes are the associations that were written since they were as known.
func changes(written watch.Interface, known []*unstructured.Unstructured) (changed []*unstructured.Unstructured) {
	last := map[string]*unstructured.Unstructured{}
	for _, o := range known {
		last[Name(o)] = o
	}
	for {
		select {
		case event, open := <-written.ResultChan():
			if !open {
				return changed
			}
			o, is := event.Object.(*unstructured.Unstructured)
			if !is || event.Type == watch.Deleted || o.GetDeletionTimestamp() != nil {
				continue // it goes with its kind
			}
			if o = again(o); !reflect.DeepEqual(o, last[Name(o)]) {
				last[Name(o)] = o
				changed = append(changed, o)
			}
		case <-time.After(quiet):
			return changed
		}
	}
}
