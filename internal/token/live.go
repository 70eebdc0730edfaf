package token

import (
	"context"
	"errors"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"
)

// Pod is what the cluster knows of a pod.
type Pod struct {
	Namespace, Name, UID              string
	ServiceAccount, ServiceAccountUID string
	Node                              string
	Finished                          bool // Succeeded or Failed
}

// Pods finds the live pod that w names: ok is false when there is none of this name; an
// error means that nobody knows (cluster-unavailable), never that there is none. What
// is remembered and contradicts w is asked for anew before it is answered: a watch that
// lags refuses nobody.
type Pods interface {
	Pod(ctx context.Context, w podid.Workload) (pod Pod, ok bool, err error)
}

// Live proves a token against the running cluster: the pod exists with that UID,
// has not finished, and its service account is the one of the token. It returns
// the workload with the pod's live node. A pod that is terminating is still
// served: applications flush on shutdown.
type Live struct {
	Verifier *Verifier
	Pods     Pods
}

// Verify is Verifier.Verify and the live facts.
func (l *Live) Verify(ctx context.Context, raw string) (Token, error) {
	t, err := l.Verifier.Verify(ctx, raw)
	if err != nil {
		return Token{}, err
	}
	return l.Look(ctx, t)
}

// Look holds a token that Verifier has verified to the live facts, which may cost a
// question to the API server: pod-gone, pod-finished, service-account-gone,
// cluster-unavailable.
func (l *Live) Look(ctx context.Context, t Token) (Token, error) {
	w := t.Workload
	pod, ok, err := l.Pods.Pod(ctx, w)
	if err != nil {
		if p, is := errors.AsType[*problem.Problem](err); is {
			return Token{}, p
		}
		return Token{}, problem.New(problem.ClusterUnavailable, "whether %s still runs is not known", w).From(err)
	}
	name := w.Namespace + "/" + w.Pod
	switch {
	case !ok:
		return Token{}, problem.New(problem.PodGone, "there is no pod %s", name)
	case pod.UID != w.PodUID:
		return Token{}, problem.New(problem.PodGone, "the pod %s of this token is gone, another has its name", name)
	case pod.Finished:
		return Token{}, problem.New(problem.PodFinished, "the pod %s has finished", name)
	case pod.ServiceAccount != w.ServiceAccount:
		return Token{}, problem.New(problem.ServiceAccountGone, "the pod %s does not run as the service account %s", name, w.ServiceAccount).
			Because("a pod keeps its service account for life, so this token was not made for this pod").
			Fixed("use the token that the kubelet mounted into the pod")
	case pod.ServiceAccountUID != w.ServiceAccountUID:
		return Token{}, problem.New(problem.ServiceAccountGone, "the service account %s/%s of this token is gone", w.Namespace, w.ServiceAccount)
	}
	t.Workload.Node = pod.Node
	return t, nil
}
