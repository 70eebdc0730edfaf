package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association/kube"
)

// statuses writes the status of associations, for people.
type statuses struct {
	cached  cache.Cache
	api     client.Client
	cluster podid.Cluster
	log     *slog.Logger
}

func (s *statuses) start(w *workshop) error {
	return w.controller("status", s, itself(s.cached, new(v1alpha1.PodIdentityAssociation)))
}

// Reconcile writes a status that is not what it should be, in one patch.
func (s *statuses) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	o := new(v1alpha1.PodIdentityAssociation)
	if err := s.cached.Get(ctx, request.NamespacedName, o); err != nil || o.DeletionTimestamp != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	fault := kube.Check(o)
	status := kube.Status(o, s.cluster, fault, time.Now())
	if equality.Semantic.DeepEqual(o.Status, status) {
		return reconcile.Result{}, nil
	}
	patch := client.MergeFrom(o.DeepCopy())
	o.Status = status
	if err := s.api.Status().Patch(ctx, o, patch, owner); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("write the status of association %s: %w", request, err)
	}
	s.log.Debug("status", "association", request.String(), "accepted", fault == nil)
	return reconcile.Result{}, nil
}

// trimAssociation keeps what a status is made of.
func trimAssociation(given any) (any, error) {
	if o, ok := given.(*v1alpha1.PodIdentityAssociation); ok {
		o.ManagedFields, o.Labels, o.Annotations, o.OwnerReferences, o.Finalizers = nil, nil, nil, nil, nil
	}
	return given, nil
}
