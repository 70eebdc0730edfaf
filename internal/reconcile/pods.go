package reconcile

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/internal/event"
	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/problem"
)

// pods tells pods why they have no access to the role of their service account.
type pods struct {
	cached cache.Cache
	// annotated finds the association of an annotation; nil where annotations are none.
	annotated injection.Associations
	settings  injection.Settings
	events    *event.Teller
}

// Indexes of pods.
const (
	byAccount = "account"
	byNode    = "node" // agents alone
	onNode    = "on"   // all of them
)

// AgentAccount is the service account of the agents.
const AgentAccount = "podid-agent"

func indexPods(ctx context.Context, cached cache.Cache, namespace string) error {
	err := cached.IndexField(ctx, new(corev1.Pod), byAccount, func(o client.Object) []string {
		return []string{injection.ServiceAccount(o.(*corev1.Pod))}
	})
	if err != nil {
		return fmt.Errorf("index pods: %w", err)
	}
	err = cached.IndexField(ctx, new(corev1.Pod), byNode, func(o client.Object) []string {
		if pod := o.(*corev1.Pod); agent(pod, namespace) {
			return []string{pod.Spec.NodeName}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index agents: %w", err)
	}
	err = cached.IndexField(ctx, new(corev1.Pod), onNode, func(o client.Object) []string {
		if node := o.(*corev1.Pod).Spec.NodeName; node != "" {
			return []string{node}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index pods: %w", err)
	}
	return nil
}

func (p *pods) start(w *workshop) error {
	sources := []source.Source{itself(p.cached, new(corev1.Pod)), others(p.cached, new(v1alpha1.PodIdentityAssociation), p.of)}
	if p.annotated != nil {
		sources = append(sources, others(p.cached, new(corev1.ServiceAccount), p.of))
	}
	return w.controller("pods", p, sources...)
}

// of are the pods of a service account, or of an association, which has its name.
func (p *pods) of(ctx context.Context, o client.Object) []reconcile.Request {
	var found corev1.PodList
	if err := p.cached.List(ctx, &found, client.InNamespace(o.GetNamespace()), client.MatchingFields{byAccount: o.GetName()}); err != nil {
		return nil // only a cache that was not started fails
	}
	requests := make([]reconcile.Request, len(found.Items))
	for i := range found.Items {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&found.Items[i])
	}
	return requests
}

// Reconcile examines one pod.
func (p *pods) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	pod := new(corev1.Pod)
	if err := p.cached.Get(ctx, request.NamespacedName, pod); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if over(pod) {
		return reconcile.Result{}, nil
	}
	findings, _, err := p.examine(ctx, pod)
	if err != nil {
		return reconcile.Result{}, err
	}
	for _, finding := range findings {
		if err := p.events.Tell(ctx, reference("Pod", pod), finding.Problem, finding.Meant); err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{}, nil
}

// examine says what keeps a pod from the role of its service account, and whether there is one.
func (p *pods) examine(ctx context.Context, pod *corev1.Pod) (findings []injection.Finding, role bool, err error) {
	association, err := p.association(ctx, types.NamespacedName{Namespace: pod.Namespace, Name: injection.ServiceAccount(pod)})
	if association == nil || err != nil {
		return nil, false, err
	}
	return injection.Examine(pod, injection.Account{Association: association}, p.settings), true, nil
}

// association is the one of a service account that gives its pods a role; nil if there is none.
func (p *pods) association(ctx context.Context, account types.NamespacedName) (*podid.Association, error) {
	o := new(v1alpha1.PodIdentityAssociation)
	switch err := p.cached.Get(ctx, account, o); {
	case apierrors.IsNotFound(err):
		return p.annotation(ctx, account)
	case err != nil:
		return nil, err
	}
	if binds := o.DeletionTimestamp == nil && kube.Check(o) == nil; !binds {
		return nil, nil
	}
	return new(kube.Association(o)), nil
}

// annotation is the association that an annotation makes, if it binds a role. Whether it
// does is asked of those alone that are annotated: most are not.
func (p *pods) annotation(ctx context.Context, account types.NamespacedName) (*podid.Association, error) {
	if p.annotated == nil {
		return nil, nil
	}
	o := new(corev1.ServiceAccount)
	if err := p.cached.Get(ctx, account, o); err != nil || o.Annotations[injection.AnnotationRole] == "" {
		return nil, client.IgnoreNotFound(err)
	}
	found, err := p.annotated.Find(ctx, account.Namespace, account.Name)
	if err != nil {
		if problem.Is(err, problem.ClusterUnavailable) {
			return nil, err
		}
		return nil, nil // it binds none, and that is no fault of the pod's
	}
	found.CreatedAt = time.Time{} // that of the service account: nobody knows when it was annotated
	return &found, nil
}

// over says that a pod needs nothing any more.
func over(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func reference(kind string, o client.Object) corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: "v1", Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID()}
}

// trimPod keeps what is looked at.
func trimPod(given any) (any, error) {
	pod, ok := given.(*corev1.Pod)
	if !ok {
		return given, nil
	}
	out := injection.Trim(pod)
	out.Spec.NodeName = pod.Spec.NodeName
	out.Status.Phase, out.Status.StartTime = pod.Status.Phase, pod.Status.StartTime
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady || condition.Type == corev1.ContainersReady {
			out.Status.Conditions = append(out.Status.Conditions, corev1.PodCondition{Type: condition.Type, Status: condition.Status})
		}
	}
	return out, nil
}
