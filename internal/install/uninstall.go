package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openpodidentity/podid/problem"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Removal says what is removed.
type Removal struct {
	// Associations removes the custom resource with all its objects, and the policy
	// that guards them; both stay otherwise. An association that is made while nothing guards it would
	// be in force after the next installation.
	Associations bool
	// Export, if set, is given the associations before they are removed, when nothing of
	// podid can write one any more; and after that those that somebody else wrote meanwhile, if any.
	Export func([]*unstructured.Unstructured) error
	DryRun bool
	// Report is told of each step, and Waiting, if it is set, what is waited for.
	Report  func(Change)
	Waiting func(what string)
	// Addresses is told how far the removal of the nodes' addresses is.
	Addresses func(node string, err error)
}

// kept stay unless associations go.
var kept = []string{
	"CustomResourceDefinition podidentityassociations.podid.dev",
	"ValidatingAdmissionPolicy pass-role.podid.dev", "ValidatingAdmissionPolicyBinding pass-role.podid.dev",
}

// Uninstall removes podid from the cluster: first what is in the way of pods, then
// the programs, then what they left on the nodes, then the rest.
func (c Cluster) Uninstall(ctx context.Context, r Removal) error {
	objects, err := c.everything(ctx)
	if err != nil {
		return err
	}
	template, err := c.addressTemplate(ctx)
	if err != nil {
		return err
	}
	var last []*unstructured.Unstructured
	for _, object := range objects {
		switch {
		case slices.Contains(kept, Name(object)):
			if r.Associations {
				last = append(last, object)
			}
			continue
		case object.GetKind() == "Namespace":
			continue
		}
		if err := c.takeAway(ctx, object, r); err != nil {
			return err
		}
	}
	// The custom resource before the policy that guards its objects.
	slices.SortStableFunc(last, func(a, b *unstructured.Unstructured) int { return strings.Compare(a.GetKind(), b.GetKind()) })
	namespace, err := c.get(ctx, "v1", "Namespace", c.Namespace)
	if err != nil {
		return err
	}
	if namespace != nil {
		last = append(last, namespace)
	}
	late := func() error { return nil }
	if !r.DryRun {
		if err := c.clearNodes(ctx, template, r); err != nil {
			return err
		}
		if late, err = c.export(ctx, r); err != nil {
			return err
		}
	}
	err = c.end(ctx, last, r)
	return errors.Join(err, late())
}

// end removes objects one after the other.
func (c Cluster) end(ctx context.Context, objects []*unstructured.Unstructured, r Removal) error {
	for _, object := range objects {
		if err := c.takeAway(ctx, object, r); err != nil {
			return err
		}
		if r.DryRun {
			continue
		}
		if err := c.gone(ctx, object, r); err != nil {
			return err
		}
	}
	return nil
}

// clearNodes takes from the nodes what the programs left there: taints that nobody would
// lift any more, and the addresses, once nobody puts them back.
func (c Cluster) clearNodes(ctx context.Context, template *corev1.PodTemplateSpec, r Removal) error {
	if err := c.liftTaints(ctx); err != nil || template == nil {
		return err
	}
	if err := c.noPods(ctx, r, address, "podid-agent"); err != nil {
		return err
	}
	return c.removeAddresses(ctx, *template, r)
}

// everything is what this version installs and what another has, in the order of removal.
func (c Cluster) everything(ctx context.Context) ([]*unstructured.Unstructured, error) {
	own, err := Render(Options{Settings: map[string]string{"annotations": "true", "startupTaint": "true"}})
	if err != nil {
		return nil, err
	}
	var all []*unstructured.Unstructured
	for _, kind := range installable {
		there, err := c.installed(ctx, kind)
		if err != nil {
			return nil, err
		}
		for _, object := range own {
			if object.GroupVersionKind() == kind && !slices.ContainsFunc(there, func(o *unstructured.Unstructured) bool { return Name(o) == Name(object) }) {
				there = append(there, object)
			}
		}
		all = append(all, there...)
	}
	for _, object := range own {
		if !slices.Contains(installable, object.GroupVersionKind()) {
			all = append(all, object)
		}
	}
	return all, nil
}

// takeAway removes an object if it is there.
func (c Cluster) takeAway(ctx context.Context, object *unstructured.Unstructured, r Removal) error {
	there := &unstructured.Unstructured{}
	there.SetGroupVersionKind(object.GroupVersionKind())
	if err := c.API.Get(ctx, client.ObjectKeyFromObject(object), there); absent(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("get %s: %w", Name(object), err)
	}
	if err := c.remove(ctx, object, r.DryRun); err != nil {
		return err
	}
	r.Report(Change{Object: Name(object), Action: Removed})
	return nil
}

// gone waits until an object is not there any more.
func (c Cluster) gone(ctx context.Context, object *unstructured.Unstructured, r Removal) error {
	there := &unstructured.Unstructured{}
	there.SetGroupVersionKind(object.GroupVersionKind())
	return r.until(ctx, "the end of "+Name(object), func() (bool, error) {
		err := c.API.Get(ctx, client.ObjectKeyFromObject(object), there)
		if absent(err) {
			return true, nil
		}
		return false, err
	})
}

// noPods waits until programs have ended: a podid-address that runs would set the addresses
// again, a podid-auth make its certificates anew.
func (c Cluster) noPods(ctx context.Context, r Removal, programs ...string) error {
	selector := fmt.Sprintf("app.kubernetes.io/name in (%s)", strings.Join(programs, ","))
	return r.until(ctx, "the end of podid's pods", func() (bool, error) {
		pods, err := c.Typed.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return false, err
		}
		return len(slices.DeleteFunc(pods.Items, ended)) == 0, nil // those of a node that is lost stay
	})
}

func (r Removal) until(ctx context.Context, what string, done func() (bool, error)) error {
	for waited := false; ; waited = true {
		ok, err := done()
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if ok {
			return nil
		}
		if !waited && r.Waiting != nil {
			r.Waiting(what)
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return problem.New(problem.InstallIncomplete, "podid was not removed in time").
					Because("it still waited for %s", what).Fixed("call podid uninstall again: it goes on from there")
			}
			return ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// startupTaint is lifted from nodes that still have it: nobody would any more.
const startupTaint = "podid.dev/agent-not-ready"

func (c Cluster) liftTaints(ctx context.Context) error {
	nodes, err := c.Typed.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	for _, node := range nodes.Items {
		is := func(t corev1.Taint) bool { return t.Key == startupTaint }
		if !slices.ContainsFunc(node.Spec.Taints, is) {
			continue
		}
		node.Spec.Taints = slices.DeleteFunc(node.Spec.Taints, is)
		if _, err := c.Typed.CoreV1().Nodes().Update(ctx, &node, metav1.UpdateOptions{FieldManager: string(fieldManager)}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("lift the startup taint of node %s: %w", node.Name, err)
		}
	}
	return nil
}

// address is the daemon set that puts the agent's addresses on the nodes.
const address = "podid-address"

// addressTemplate is what its pods are made from; nil if there are none.
func (c Cluster) addressTemplate(ctx context.Context) (*corev1.PodTemplateSpec, error) {
	set, err := c.Typed.AppsV1().DaemonSets(c.Namespace).Get(ctx, address, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get the daemon set %s: %w", address, err)
	}
	return &set.Spec.Template, nil
}
