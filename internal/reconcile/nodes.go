package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// StartupTaint keeps pods off a node until its agent is ready. Whoever makes nodes puts
// it there (the kubelet's --register-with-taints, or a provisioner); podid only takes it
// away, and the agent, which has no rights in the cluster, not even that.
const StartupTaint = "podid.dev/agent-not-ready"

// nodes lifts the startup taint.
type nodes struct {
	machines, pods cache.Cache
	api            client.Client
	namespace      string
	log            *slog.Logger
}

func (n *nodes) start(w *workshop) error {
	return w.controller("nodes", n, itself(n.machines, new(corev1.Node)), others(n.pods, new(corev1.Pod), n.of))
}

// of is the node of an agent.
func (n *nodes) of(_ context.Context, o client.Object) []reconcile.Request {
	if pod, ok := o.(*corev1.Pod); ok && agent(pod, n.namespace) && ready(pod) {
		return []reconcile.Request{request(pod.Spec.NodeName)}
	}
	return nil
}

// Reconcile takes the taint from one node, if its agent is ready.
func (n *nodes) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	node := new(corev1.Node)
	if err := n.machines.Get(ctx, request.NamespacedName, node); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !slices.ContainsFunc(node.Spec.Taints, startup) {
		return reconcile.Result{}, nil
	}
	var agents corev1.PodList
	if err := n.pods.List(ctx, &agents, client.InNamespace(n.namespace), client.MatchingFields{byNode: node.Name}); err != nil {
		return reconcile.Result{}, err
	}
	if !slices.ContainsFunc(agents.Items, func(pod corev1.Pod) bool { return ready(&pod) }) {
		return reconcile.Result{}, nil
	}
	// A list of taints is replaced as a whole: another's taint that came since must not be lost.
	patch := client.MergeFromWithOptions(node.DeepCopy(), client.MergeFromWithOptimisticLock{})
	node.Spec.Taints = slices.DeleteFunc(node.Spec.Taints, startup)
	switch err := n.api.Patch(ctx, node, patch, owner); {
	case apierrors.IsConflict(err):
		return reconcile.Result{Requeue: true}, nil
	case client.IgnoreNotFound(err) != nil:
		return reconcile.Result{}, fmt.Errorf("lift the startup taint of node %s: %w", node.Name, err)
	case err == nil:
		n.log.Info("startup taint lifted", "node", node.Name)
	}
	return reconcile.Result{}, nil
}

func startup(taint corev1.Taint) bool { return taint.Key == StartupTaint }

func agent(pod *corev1.Pod, namespace string) bool {
	return pod.Namespace == namespace && pod.Spec.ServiceAccountName == AgentAccount && pod.Spec.NodeName != ""
}

func ready(pod *corev1.Pod) bool { return !over(pod) && holds(pod, corev1.PodReady) }

func holds(pod *corev1.Pod, condition corev1.PodConditionType) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == condition && c.Status == corev1.ConditionTrue
	})
}

// trimNode keeps the name and the taints.
func trimNode(given any) (any, error) {
	node, ok := given.(*corev1.Node)
	if !ok {
		return given, nil
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion},
		Spec:       corev1.NodeSpec{Taints: node.Spec.Taints},
	}, nil
}
