package kube

import (
	"context"
	"regexp"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/problem"
)

var associationID = regexp.MustCompile(`^a-[a-z0-9]{17}$`)

// lookup finds the entry of an ID. One that the informer has not told of is looked
// for at the API server, among all: an ID derives from the UID, which cannot be asked for.
func (s *Store) lookup(ctx context.Context, id string) (*entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e := s.index.get(id)
	if e == nil && associationID.MatchString(id) {
		var err error
		if e, err = s.search(ctx, id); err != nil {
			return nil, err
		}
	}
	if e == nil || e.ending {
		return nil, association.NotFound(id)
	}
	return e, nil
}

func (s *Store) search(ctx context.Context, id string) (*entry, error) {
	for next := ""; ; {
		// A new one each time: what is absent from an answer would stay of the one before.
		var page v1alpha1.PodIdentityAssociationList
		if err := s.api.List(ctx, &page, client.Limit(pageSize), client.Continue(next)); err != nil {
			return nil, unread(ctx, err)
		}
		for i := range page.Items {
			if e := newEntry(&page.Items[i]); e.association.ID() == id {
				return e, nil
			}
		}
		if next = page.Continue; next == "" {
			return nil, nil
		}
	}
}

// Get implements association.Store.
func (s *Store) Get(ctx context.Context, id string) (podid.Association, error) {
	e, err := s.lookup(ctx, id)
	if err != nil {
		return podid.Association{}, err
	}
	return association.Clone(e.association), nil
}

// List implements association.Store. It lists what the informer has told: pages of one
// walk may come from several replicas.
func (s *Store) List(ctx context.Context, filter association.Filter, cursor string, limit int) ([]podid.Association, string, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	if limit < 1 {
		return nil, "", problem.New(problem.RequestInvalid, "a page of %d associations was asked for", limit)
	}
	var after association.Cursor
	if cursor != "" {
		var err error
		if after, err = association.ParseCursor(cursor); err != nil {
			return nil, "", err
		}
	}
	if err := s.ready(); err != nil {
		return nil, "", err
	}
	last := &entry{association: podid.Association{Namespace: after.Namespace, ServiceAccount: after.ServiceAccount}}
	found := s.index.all(func(e *entry) bool {
		return (filter.Namespace == "" || e.association.Namespace == filter.Namespace) &&
			(filter.ServiceAccount == "" || e.association.ServiceAccount == filter.ServiceAccount) &&
			before(last, e) < 0
	})
	slices.SortFunc(found, before)
	next := ""
	if len(found) > limit {
		found = found[:limit]
		end := found[limit-1].association
		next = association.Cursor{Namespace: end.Namespace, ServiceAccount: end.ServiceAccount}.String()
	}
	var page []podid.Association
	for _, e := range found {
		page = append(page, association.Clone(e.association))
	}
	return page, next, nil
}
