package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"
)

// Pods implements token.Pods.
type Pods struct {
	// OnPod, if set, is called for every pod there is, when it comes to its node and
	// when it finishes, and OnGone for one that is deleted, by its UID; by one goroutine
	// that they must not hold up. Set them before the cache is started.
	OnPod  func(token.Pod)
	OnGone func(uid string)

	pods, accounts toolscache.SharedIndexInformer
	told           func() bool
	api            client.Reader
}

var _ token.Pods = (*Pods)(nil)

// NewPods follows pods and service accounts with informers, and asks api, which reads
// from no cache, for what they have not told. Whoever calls it starts informers, with
// [TrimPod] and [TrimServiceAccount] as transformations.
func NewPods(ctx context.Context, informers cache.Cache, api client.Reader) (*Pods, error) {
	p := &Pods{api: api}
	var err error
	if p.pods, err = informer(ctx, informers, new(corev1.Pod)); err != nil {
		return nil, fmt.Errorf("follow pods: %w", err)
	}
	if p.accounts, err = informer(ctx, informers, new(corev1.ServiceAccount)); err != nil {
		return nil, fmt.Errorf("follow service accounts: %w", err)
	}
	registration, err := p.pods.AddEventHandler(p.handler())
	if err != nil {
		return nil, fmt.Errorf("follow pods: %w", err)
	}
	p.told = registration.HasSynced
	return p, nil
}

func informer(ctx context.Context, informers cache.Cache, of client.Object) (toolscache.SharedIndexInformer, error) {
	i, err := informers.GetInformer(ctx, of, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	shared, ok := i.(toolscache.SharedIndexInformer)
	if !ok {
		return nil, errors.New("the cache shares its informers with nobody") // a cache by namespace does
	}
	return shared, nil
}

// Synced reports whether what was there at the start has been told.
func (p *Pods) Synced() bool { return p.told() && p.accounts.HasSynced() }

func (p *Pods) handler() toolscache.ResourceEventHandler {
	put := func(given any) {
		if pod, ok := given.(*corev1.Pod); ok && p.OnPod != nil {
			p.OnPod(facts(pod))
		}
	}
	gone := func(given any) {
		if unknown, ok := given.(toolscache.DeletedFinalStateUnknown); ok {
			given = unknown.Obj
		}
		if pod, ok := given.(*corev1.Pod); ok && p.OnGone != nil {
			p.OnGone(string(pod.UID))
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: put,
		UpdateFunc: func(before, after any) {
			was, _ := before.(*corev1.Pod)
			is, _ := after.(*corev1.Pod)
			switch {
			case was == nil || is == nil:
			case was.UID != is.UID: // the end of the one was missed
				gone(was)
				put(is)
			case facts(was) != facts(is):
				put(is)
			}
		},
		DeleteFunc: gone,
	}
}

// Pod implements token.Pods.
func (p *Pods) Pod(ctx context.Context, w podid.Workload) (token.Pod, bool, error) {
	pod, ok, err := p.pod(ctx, w)
	if !ok || err != nil {
		return token.Pod{}, false, err
	}
	pod.ServiceAccountUID, err = p.account(ctx, pod, w)
	return pod, err == nil, err
}

func (p *Pods) pod(ctx context.Context, w podid.Workload) (token.Pod, bool, error) {
	o, found := lookUp[corev1.Pod](p.pods, w.Namespace, w.Pod)
	// Whoever has a token of a pod that the kubelet mounted runs on a node already.
	if found && string(o.UID) == w.PodUID && o.Spec.NodeName != "" {
		return facts(o), true, nil
	}
	o = new(corev1.Pod)
	if found, err := p.read(ctx, w.Namespace, w.Pod, o); !found {
		return token.Pod{}, false, err
	}
	return facts(o), true, nil
}

// account is the UID of the pod's service account, empty if there is none.
func (p *Pods) account(ctx context.Context, pod token.Pod, w podid.Workload) (string, error) {
	o, found := lookUp[corev1.ServiceAccount](p.accounts, pod.Namespace, pod.ServiceAccount)
	if found && string(o.UID) == w.ServiceAccountUID {
		return string(o.UID), nil
	}
	o = new(corev1.ServiceAccount)
	if found, err := p.read(ctx, pod.Namespace, pod.ServiceAccount, o); !found {
		return "", err
	}
	return string(o.UID), nil
}

// lookUp is what an informer has told of an object.
func lookUp[T any](i toolscache.SharedIndexInformer, namespace, name string) (*T, bool) {
	given, found, err := i.GetStore().GetByKey(namespace + "/" + name)
	if !found || err != nil {
		return nil, false
	}
	o, ok := given.(*T)
	return o, ok
}

// readWithin bounds the read of one object: who waits for it waits for less than a second in
// all, and should still be told why.
const readWithin = 500 * time.Millisecond

// read asks the API server. That it does not answer, or not as it should, says nothing of
// the object.
func (p *Pods) read(ctx context.Context, namespace, name string, into client.Object) (found bool, err error) {
	within, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	switch err := p.api.Get(within, types.NamespacedName{Namespace: namespace, Name: name}, into); {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil && ctx.Err() != nil:
		return false, fmt.Errorf("read pods: %w", ctx.Err())
	case err != nil:
		unread := problem.New(problem.ClusterUnavailable, "whether the pod of this token runs is not known").From(err)
		if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			return false, unread.Because("podid may not read pods and service accounts").
				Fixed("give podid-auth's service account get, list and watch on pods and serviceaccounts")
		}
		return false, unread.Because("podid has not been told of it yet, and the API server does not answer")
	}
	return true, nil
}

// facts are what is read of a pod but the UID of its service account.
func facts(o *corev1.Pod) token.Pod {
	account := o.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	return token.Pod{
		Namespace: o.Namespace, Name: o.Name, UID: string(o.UID), ServiceAccount: account, Node: o.Spec.NodeName,
		Finished: o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed,
	}
}
