package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/openpodidentity/podid/problem"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// removesWithin bounds the removal on one node: its kubelet may be away.
const removesWithin = 90 * time.Second

// removeAddresses takes the agent's addresses off every node: a pod a node runs the program that put
// them there once more, from the template of podid-address. Nodes that are not ready are told of, and passed over: their
// addresses go when they restart.
func (c Cluster) removeAddresses(ctx context.Context, template corev1.PodTemplateSpec, r Removal) error {
	if len(template.Spec.Containers) == 0 {
		return errors.New("the daemon set podid-address has no container")
	}
	nodes, err := c.Typed.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/os=linux"})
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, removesWithin)
	defer cancel()
	waiting := map[string]string{} // pod: node
	for _, node := range nodes.Items {
		if !nodeReady(node) {
			r.Addresses(node.Name, problem.New(problem.AddressUnavailable, "node %s is not ready, so the agent's address stays there", node.Name).
				Because("nobody runs pods there").Fixed("it goes when the node restarts"))
			continue
		}
		pod, err := c.Typed.CoreV1().Pods(c.Namespace).Create(ctx, removal(node.Name, template), metav1.CreateOptions{FieldManager: string(fieldManager)})
		if err != nil {
			return fmt.Errorf("remove the address of node %s: %w", node.Name, err)
		}
		waiting[pod.Name] = node.Name
	}
	return c.removed(ctx, waiting, r)
}

// removed waits for the pods, and removes each as it ends.
func (c Cluster) removed(ctx context.Context, waiting map[string]string, r Removal) error {
	err := r.until(ctx, "the removal of the nodes' addresses", func() (bool, error) {
		pods, err := c.Typed.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=podid-uninstall"})
		if err != nil {
			return false, err
		}
		for _, pod := range pods.Items {
			node, ours := waiting[pod.Name]
			if !ours || pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
				continue
			}
			var failed error
			if pod.Status.Phase == corev1.PodFailed {
				failed = problem.New(problem.AddressUnavailable, "node %s keeps the agent's address", node).
					Because("the program that removes it failed%s", c.lastLine(ctx, pod.Name, "remove", false)).Fixed("on the node: ip link delete podid0")
			}
			r.Addresses(node, failed)
			delete(waiting, pod.Name)
			if err := c.Typed.CoreV1().Pods(c.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return false, err
			}
		}
		return len(waiting) == 0, nil
	})
	if ctx.Err() == nil || err == nil {
		return err
	}
	for _, node := range waiting {
		r.Addresses(node, problem.New(problem.AddressUnavailable, "the agent's address was not removed from node %s in time", node).
			Because("the pod that removes it did not run within %s", removesWithin).Fixed("on the node: ip link delete podid0; or restart it"))
	}
	return nil
}

func nodeReady(node corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// removal is the pod that removes the addresses of a node.
func removal(node string, template corev1.PodTemplateSpec) *corev1.Pod {
	spec := template.Spec.DeepCopy()
	container := spec.Containers[0]
	container.Name = "remove"
	container.Args = append(container.Args, "--remove")
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "podid-uninstall-",
			Labels:       map[string]string{"app.kubernetes.io/name": "podid-uninstall", partOf: "podid"},
		},
		Spec: corev1.PodSpec{
			NodeName: node, HostNetwork: true, RestartPolicy: corev1.RestartPolicyNever,
			AutomountServiceAccountToken: new(bool), EnableServiceLinks: new(bool),
			Tolerations: spec.Tolerations, ImagePullSecrets: spec.ImagePullSecrets,
			SecurityContext: spec.SecurityContext, Containers: []corev1.Container{container},
			TerminationGracePeriodSeconds: new(int64),
		},
	}
}
