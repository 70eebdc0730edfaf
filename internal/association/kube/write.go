package kube

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/problem"
)

// Create implements association.Store. The limit is of what the informer has told: a few
// that create at the same moment may exceed it. The same token for another service
// account finds its original only once the informer has told of that.
func (s *Store) Create(ctx context.Context, a podid.Association) (podid.Association, error) {
	if err := ctx.Err(); err != nil {
		return podid.Association{}, err
	}
	if err := association.Validate(a); err != nil {
		return podid.Association{}, err
	}
	if err := s.ready(); err != nil {
		return podid.Association{}, err
	}
	n := name{a.Namespace, a.ServiceAccount}
	if a.ClientToken != "" {
		if e := s.index.made(a.ClientToken, n); e != nil {
			return association.Clone(e.association), nil
		}
	}
	if s.index.size() >= association.MaxAssociations {
		if e, err := s.read(ctx, n); e != nil || err != nil {
			return original(a, e, err)
		}
		return podid.Association{}, association.Full()
	}
	return s.create(ctx, a)
}

// attempts bounds how often a write that met another's is made again.
func attempts() *wait.Backoff {
	return &wait.Backoff{Duration: 5 * time.Millisecond, Factor: 1.5, Jitter: 1, Cap: 300 * time.Millisecond, Steps: 16}
}

func (s *Store) create(ctx context.Context, a podid.Association) (podid.Association, error) {
	for pause := attempts(); ; {
		o := Object(a)
		err := s.api.Create(ctx, o, Owner)
		switch {
		case err == nil:
			created := Association(o)
			s.await(ctx, created, s.index.has)
			return created, nil
		case !apierrors.IsAlreadyExists(err):
			return podid.Association{}, unwritten(ctx, "create", a, err)
		}
		e, readErr := s.read(ctx, name{a.Namespace, a.ServiceAccount})
		if e != nil || readErr != nil {
			return original(a, e, readErr)
		}
		// It was deleted between the two calls.
		if !again(ctx, pause) {
			return podid.Association{}, unwritten(ctx, "create", a, apierrors.NewConflict(resource, a.ServiceAccount, err))
		}
	}
}

var resource = v1alpha1.GroupVersion.WithResource("podidentityassociations").GroupResource()

// original answers a create that found e, in its place: the association itself if
// the same request made it.
func original(a podid.Association, e *entry, err error) (podid.Association, error) {
	switch {
	case err != nil:
		return podid.Association{}, err
	case e.ending:
		return podid.Association{}, problem.New(problem.AssociationExists, "Association already exists: %s", e.association.ID()).
			Because("it is being deleted, and finalizers on the object %s/%s hold it", a.Namespace, a.ServiceAccount).
			Fixed("see kubectl get pia %s -n %s -o yaml; whoever put the finalizers there removes them", a.ServiceAccount, a.Namespace)
	case a.ClientToken != "" && a.ClientToken == e.association.ClientToken:
		return association.Clone(e.association), nil
	}
	return podid.Association{}, association.Exists(e.association)
}

// again waits before another attempt, unless there have been enough.
func again(ctx context.Context, pause *wait.Backoff) bool {
	if pause.Steps < 1 {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause.Step()):
		return true
	}
}

// Update implements association.Store. It changes what the API server has now, and sends
// only what differs: labels, and fields that a newer podid knows, stay.
func (s *Store) Update(ctx context.Context, id string, change func(*podid.Association) error) (podid.Association, error) {
	found, err := s.lookup(ctx, id)
	if err != nil {
		return podid.Association{}, err
	}
	for pause := attempts(); ; {
		o, err := s.current(ctx, id, found)
		if err != nil {
			return podid.Association{}, err
		}
		was := Association(o)
		is, changed, err := association.Change(was, change, time.Now())
		if err != nil {
			return podid.Association{}, err
		}
		if !changed {
			return was, nil
		}
		patch := client.MergeFromWithOptions(o.DeepCopy(), client.MergeFromWithOptimisticLock{})
		setSpec(&o.Spec, is)
		err = s.api.Patch(ctx, o, patch, Owner)
		switch {
		case err == nil:
			is = Association(o)
			s.await(ctx, is, s.index.has)
			return is, nil
		case absent(err):
			return podid.Association{}, association.NotFound(id)
		case !apierrors.IsConflict(err) || !again(ctx, pause):
			return podid.Association{}, unwritten(ctx, "update", was, err)
		}
	}
}

// current is the object of an entry as the API server has it.
func (s *Store) current(ctx context.Context, id string, e *entry) (*v1alpha1.PodIdentityAssociation, error) {
	o, err := s.object(ctx, e.name())
	if err != nil {
		return nil, err
	}
	if o == nil || string(o.UID) != e.association.UID || o.DeletionTimestamp != nil {
		return nil, association.NotFound(id)
	}
	return o, nil
}

// Delete implements association.Store. An object that has finalizers stays until they are
// removed, and gives no role any more.
func (s *Store) Delete(ctx context.Context, id string) (podid.Association, error) {
	found, err := s.lookup(ctx, id)
	if err != nil {
		return podid.Association{}, err
	}
	for pause := attempts(); ; {
		o, err := s.current(ctx, id, found)
		if err != nil {
			return podid.Association{}, err
		}
		was := Association(o)
		err = s.api.Delete(ctx, o, client.Preconditions(metav1.Preconditions{UID: &o.UID, ResourceVersion: &o.ResourceVersion}))
		switch {
		case err == nil:
			s.await(ctx, was, s.index.lost)
			return was, nil
		case absent(err):
			return podid.Association{}, association.NotFound(id)
		case !apierrors.IsConflict(err) || !again(ctx, pause):
			return podid.Association{}, unwritten(ctx, "delete", was, err)
		}
	}
}

// await returns when the index has been told of what was written. What was written is
// written all the same if that takes too long: then the watch is broken, or slow.
func (s *Store) await(ctx context.Context, a podid.Association, told func(podid.Association) (bool, <-chan struct{})) {
	limit := time.NewTimer(lag)
	defer limit.Stop()
	for {
		done, news := told(a)
		if done {
			return
		}
		select {
		case <-news:
		case <-ctx.Done():
			return
		case <-limit.C:
			s.Log.Warn("the API server has not told of a write", "namespace", a.Namespace, "service_account", a.ServiceAccount)
			return
		}
	}
}
