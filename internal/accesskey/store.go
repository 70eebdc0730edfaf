package accesskey

import (
	"context"
	"reflect"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/problem"
)

// Store is inner for callers that [Door.Access] has proved: each call is reviewed for
// their account, in the namespace of the association that it is about.
func (d *Door) Store(inner association.Store) association.Store { return reviewed{inner, d} }

// reviewed leaves Find and its kin as they are: the EKS API has no use for them.
type reviewed struct {
	association.Store
	door *Door
}

// Get does not tell an association that the caller may not get from one that is not there.
func (s reviewed) Get(ctx context.Context, id string) (podid.Association, error) {
	a, err := s.Store.Get(ctx, id)
	if err == nil {
		err = s.door.may(ctx, "get", a.Namespace, a.ServiceAccount)
	}
	if problem.Is(err, problem.AssociationNotFound) || problem.Is(err, problem.PermissionDenied) {
		return podid.Association{}, problem.New(problem.AssociationNotFound, "No service account role association found for ID: %s", id).
			Because("there is none, or it is in a namespace where this access key's service account may not get %s", associations).
			Fixed("list those that it may see: aws eks list-pod-identity-associations --cluster-name CLUSTER --namespace NAMESPACE").From(err)
	}
	if err != nil {
		return podid.Association{}, err
	}
	return a, nil
}

func (s reviewed) List(ctx context.Context, filter association.Filter, cursor string, limit int) ([]podid.Association, string, error) {
	if err := s.door.may(ctx, "list", filter.Namespace, filter.ServiceAccount); err != nil {
		return nil, "", err
	}
	return s.Store.List(ctx, filter, cursor, limit)
}

func (s reviewed) Create(ctx context.Context, a podid.Association) (podid.Association, error) {
	if err := s.door.may(ctx, "create", a.Namespace, ""); err != nil {
		return podid.Association{}, err
	}
	if err := s.passes(ctx, a); err != nil {
		return podid.Association{}, err
	}
	created, err := s.Store.Create(ctx, a)
	if err == nil && (created.Namespace != a.Namespace || created.ServiceAccount != a.ServiceAccount) {
		// The clientRequestToken is that of another association.
		err = s.door.may(ctx, "get", created.Namespace, created.ServiceAccount)
	}
	if err != nil {
		return podid.Association{}, err
	}
	return created, nil
}

// Update asks for pass when anything changes, as the policy does: what was dropped may be
// what held the role back.
func (s reviewed) Update(ctx context.Context, id string, change func(*podid.Association) error) (podid.Association, error) {
	a, err := s.Get(ctx, id)
	if err != nil {
		return podid.Association{}, err
	}
	if err := s.door.may(ctx, "patch", a.Namespace, a.ServiceAccount); err != nil {
		return podid.Association{}, err
	}
	return s.Store.Update(ctx, id, func(a *podid.Association) error {
		was := association.Clone(*a)
		if err := change(a); err != nil {
			return err
		}
		if reflect.DeepEqual(was, association.Clone(*a)) {
			return nil
		}
		return s.passes(ctx, *a)
	})
}

func (s reviewed) Delete(ctx context.Context, id string) (podid.Association, error) {
	a, err := s.Get(ctx, id)
	if err != nil {
		return podid.Association{}, err
	}
	if err := s.door.may(ctx, "delete", a.Namespace, a.ServiceAccount); err != nil {
		return podid.Association{}, err
	}
	return s.Store.Delete(ctx, id)
}

// passes asks for pass on both roles. What is not a role is for the inner store to say.
func (s reviewed) passes(ctx context.Context, a podid.Association) error {
	for _, role := range []podid.RoleARN{a.Role, a.Target} {
		if role == "" {
			continue
		}
		if err := s.door.pass(ctx, role); err != nil {
			return err
		}
	}
	return nil
}
