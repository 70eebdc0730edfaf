package reconcile

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openpodidentity/podid/problem"
)

// agents tells pods that have a role, and on whose node no agent answers. An agent that is
// replaced, or comes with a new node, is waited for.
type agents struct {
	pods      *pods
	namespace string
	patience  time.Duration

	// since is when a node was first seen without an agent. One goroutine alone reconciles.
	since map[string]time.Time
}

func (a *agents) start(w *workshop) error {
	a.since = map[string]time.Time{}
	return w.controller("agents", a, others(a.pods.cached, new(corev1.Pod), nodeOf))
}

func nodeOf(_ context.Context, o client.Object) []reconcile.Request {
	if pod, ok := o.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
		return []reconcile.Request{request(pod.Spec.NodeName)}
	}
	return nil
}

// Reconcile looks at one node.
func (a *agents) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	var there, served corev1.PodList
	if err := a.pods.cached.List(ctx, &there, client.InNamespace(a.namespace), client.MatchingFields{byNode: request.Name}); err != nil {
		return reconcile.Result{}, err
	}
	if err := a.pods.cached.List(ctx, &served, client.MatchingFields{onNode: request.Name}); err != nil {
		return reconcile.Result{}, err
	}
	if len(served.Items) == 0 || slices.ContainsFunc(there.Items, answers) {
		delete(a.since, request.Name)
		return reconcile.Result{}, nil
	}
	since, known := a.since[request.Name]
	if !known {
		since = time.Now()
		a.since[request.Name] = since
	}
	return a.tell(ctx, served.Items, since)
}

// answers says whether an agent does, as its kubelet said last: of a node that is away the
// pods are not ready, and nobody knows whether the agent is.
func answers(pod corev1.Pod) bool { return !over(&pod) && holds(&pod, corev1.ContainersReady) }

// tell tells the pods of a node that has had no agent since then, each when it has waited.
func (a *agents) tell(ctx context.Context, served []corev1.Pod, since time.Time) (reconcile.Result, error) {
	var next reconcile.Result
	for i := range served {
		pod := &served[i]
		if !asks(pod, since) {
			continue
		}
		began := since
		if at := pod.Status.StartTime.Time; at.After(began) {
			began = at
		}
		if wait := a.patience - time.Since(began); wait > 0 {
			if next.RequeueAfter == 0 || wait < next.RequeueAfter {
				next.RequeueAfter = wait
			}
			continue
		}
		findings, role, err := a.pods.examine(ctx, pod)
		switch {
		case err != nil:
			return reconcile.Result{}, err
		case !role, len(findings) > 0: // it asks no agent, whatever is there
			continue
		}
		p := problem.New(problem.AgentMissing, "no agent is ready on the pod's node %s", pod.Spec.NodeName)
		if err := a.pods.events.Tell(ctx, reference("Pod", pod), p, false); err != nil {
			return reconcile.Result{}, err
		}
	}
	return next, nil
}

// asks says whether a pod may have asked in vain since then: it runs, or it began later, and
// has failed.
func asks(pod *corev1.Pod, since time.Time) bool {
	started := pod.Status.StartTime
	switch {
	case started == nil, pod.DeletionTimestamp != nil, pod.Status.Phase == corev1.PodSucceeded:
		return false
	case pod.Status.Phase == corev1.PodFailed:
		return !started.Time.Before(since.Truncate(time.Second)) // times of objects are in seconds
	}
	return true
}
