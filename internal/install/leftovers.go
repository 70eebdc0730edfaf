package install

import (
	"context"
	"fmt"

	"github.com/openpodidentity/podid/problem"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// made is what podid makes for itself in its namespace while it runs, so that who installed it does not know of it.
var made = []struct{ version, kind, name string }{
	{"v1", "Secret", "podid-ca"}, {"v1", "Secret", "podid-auth-tls"}, {"v1", "Secret", "podid-webhook-tls"},
	{"v1", "ConfigMap", "podid-ca"}, {"v1", "ConfigMap", "podid-annotations"},
	{"coordination.k8s.io/v1", "Lease", "podid-auth"},
}

// Leftovers removes what is left of podid once another tool has removed all that it had
// installed: the agent's address on every node, startup taints, and what podid made for itself. What people
// made in its namespace stays. Where podid still is, that is an error, and nothing happens.
//
// The options say where the agent's image is, which pullSecrets give; of r, Associations and DryRun count for nothing.
func (c Cluster) Leftovers(ctx context.Context, o Options, pullSecrets []string, r Removal) error {
	template, err := addressOf(o)
	if err != nil {
		return err
	}
	for _, name := range pullSecrets {
		template.Spec.ImagePullSecrets = append(template.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	if err := c.notThere(ctx); err != nil {
		return err
	}
	if err := c.noPods(ctx, r, address, "podid-agent", "podid-auth", "podid-webhook"); err != nil {
		return err
	}
	if err := c.liftTaints(ctx); err != nil {
		return err
	}
	if err := c.removeAddresses(ctx, *template, r); err != nil {
		return err
	}
	for _, one := range made {
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(schema.FromAPIVersionAndKind(one.version, one.kind))
		object.SetNamespace(c.Namespace)
		object.SetName(one.name)
		if err := c.API.Delete(ctx, object); absent(err) {
			continue
		} else if err != nil {
			return fmt.Errorf("remove %s: %w", Name(object), err)
		}
		r.Report(Change{Object: Name(object), Action: Removed})
	}
	return nil
}

// notThere is an error where programs of podid are, and nobody has removed them.
func (c Cluster) notThere(ctx context.Context) error {
	ours := metav1.ListOptions{LabelSelector: partOf + "=podid"}
	deployments, err := c.Typed.AppsV1().Deployments(c.Namespace).List(ctx, ours)
	if err != nil {
		return fmt.Errorf("list deployments: %w", err)
	}
	daemons, err := c.Typed.AppsV1().DaemonSets(c.Namespace).List(ctx, ours)
	if err != nil {
		return fmt.Errorf("list daemon sets: %w", err)
	}
	var there []metav1.ObjectMeta
	for _, d := range deployments.Items {
		there = append(there, d.ObjectMeta)
	}
	for _, d := range daemons.Items {
		there = append(there, d.ObjectMeta)
	}
	for _, program := range there {
		if program.DeletionTimestamp == nil {
			return problem.New(problem.Usage, "podid is still installed: %s is there", program.Name).
				Because("this removes what is left of podid, and its pods need that").
				Fixed("uninstall podid first")
		}
	}
	return nil
}

// addressOf is what the pods of podid-address are made from with these options.
func addressOf(o Options) (*corev1.PodTemplateSpec, error) {
	objects, err := Render(o)
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		if object.GetKind() != "DaemonSet" || object.GetName() != address {
			continue
		}
		var set appsv1.DaemonSet
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &set); err != nil {
			return nil, fmt.Errorf("read %s: %w", Name(object), err)
		}
		return &set.Spec.Template, nil
	}
	return nil, fmt.Errorf("install.yaml has no daemon set %s", address)
}
