package reconcile

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/event"
	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/problem"
)

// accounts tells service accounts that their annotation has no effect, since there is an
// association that says otherwise.
type accounts struct {
	cached cache.Cache
	events *event.Teller
}

func (a *accounts) start(w *workshop) error {
	return w.controller("accounts", a, itself(a.cached, new(corev1.ServiceAccount)), itself(a.cached, new(v1alpha1.PodIdentityAssociation)))
}

// Reconcile compares one service account with its association, which has its name.
func (a *accounts) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	account, association := new(corev1.ServiceAccount), new(v1alpha1.PodIdentityAssociation)
	if err := a.cached.Get(ctx, request.NamespacedName, account); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	annotated, ok := account.Annotations[injection.AnnotationRole]
	if !ok {
		return reconcile.Result{}, nil
	}
	if err := a.cached.Get(ctx, request.NamespacedName, association); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if association.DeletionTimestamp != nil || string(association.Spec.RoleARN) == annotated {
		return reconcile.Result{}, nil
	}
	p := problem.New(problem.AssociationShadowed, "the annotation %s, %.200s, has no effect", injection.AnnotationRole, annotated).
		Because("the service account also has the PodIdentityAssociation %s with the role %s, and that decides", association.Name, association.Spec.RoleARN)
	return reconcile.Result{}, a.events.Tell(ctx, reference("ServiceAccount", account), p, false)
}

// trimAccount keeps the annotation that is looked at.
func trimAccount(given any) (any, error) {
	account, ok := given.(*corev1.ServiceAccount)
	if !ok {
		return given, nil
	}
	annotated, has := account.Annotations[injection.AnnotationRole]
	account.ManagedFields, account.Labels, account.Annotations, account.OwnerReferences = nil, nil, nil, nil
	account.Secrets, account.ImagePullSecrets = nil, nil
	if has {
		account.Annotations = map[string]string{injection.AnnotationRole: annotated}
	}
	return account, nil
}
