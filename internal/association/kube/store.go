package kube

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// Store implements association.Store. Reads are of what the informer has told, and of
// the API server where it has told nothing; a write returns once it has been told, so that
// who wrote here reads here what they wrote. Other replicas learn of it when the API
// server tells them, which is within milliseconds as a rule.
type Store struct {
	// OnChange, if set, is called after each change of a spec and of what there is,
	// whoever made it, one at a time, and before the call that made it returns. It may
	// read the store and must not write to it. What is there at the start is not
	// reported. Set it before the cache is started.
	OnChange func(namespace, serviceAccount string)
	// Log is told of what is odd and not answered to anybody; nothing, unless it is set.
	Log *slog.Logger

	api    client.Client
	index  *index
	synced func() bool
}

var _ association.Store = (*Store)(nil)

const (
	// lag bounds how long a write waits for its own event.
	lag = 2 * time.Second
	// Owner is who the API server notes as the writer of fields.
	Owner = client.FieldOwner("podid")
	// readWithin bounds what Find asks the API server: who waits for it waits for less
	// than a second in all, and should still be told why.
	readWithin = 500 * time.Millisecond
	// onItsWay is how long Find waits for an event that another replica has had already.
	onItsWay = 20 * time.Millisecond
	// pageSize of what is read through when an ID is unknown.
	pageSize = 500
)

// New returns a store that reads through informers and writes through api. The scheme
// of both knows v1alpha1; api reads from no cache, and its configuration sets no rate
// (QPS -1): client-go's five requests a second would hold up pods. Whoever calls New
// starts informers, with [Trim] as the transformation of PodIdentityAssociation.
func New(ctx context.Context, informers cache.Cache, api client.Client) (*Store, error) {
	s := &Store{Log: slog.New(slog.DiscardHandler), api: api}
	s.index = newIndex(func(namespace, serviceAccount string) {
		if s.OnChange != nil {
			s.OnChange(namespace, serviceAccount)
		}
	})
	informer, err := informers.GetInformer(ctx, &v1alpha1.PodIdentityAssociation{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, unread(ctx, err)
	}
	var registration toolscache.ResourceEventHandlerRegistration
	if registration, err = informer.AddEventHandler(s.index.handler()); err != nil {
		return nil, fmt.Errorf("follow associations: %w", err)
	}
	s.synced = registration.HasSynced
	return s, nil
}

// Synced reports whether what was there at the start has been read. Until then only
// Find answers.
func (s *Store) Synced() bool { return s.synced() }

// Find implements association.Store. An association that breaks a rule gives no role;
// the problem says which.
func (s *Store) Find(ctx context.Context, namespace, serviceAccount string) (podid.Association, error) {
	return s.FindAtLeast(ctx, namespace, serviceAccount, stream.Version{})
}

// FindAtLeast implements association.Store. What the API server says is as new as can be.
func (s *Store) FindAtLeast(ctx context.Context, namespace, serviceAccount string, heard stream.Version) (podid.Association, error) {
	if err := ctx.Err(); err != nil {
		return podid.Association{}, err
	}
	n := name{namespace, serviceAccount}
	behind := s.behind(ctx, n, heard)
	e := s.index.find(n)
	if (e == nil || behind) && n.possible() {
		within, cancel := context.WithTimeout(ctx, readWithin)
		defer cancel()
		var err error
		switch e, err = s.read(within, n); {
		case err != nil && behind && !s.index.heard(n).Older(heard):
			e = s.index.find(n) // it was told of in the meantime
		case err != nil && behind && ctx.Err() == nil:
			return podid.Association{}, association.Behind(namespace, serviceAccount, err)
		case err != nil && within.Err() != nil:
			return podid.Association{}, unread(ctx, err)
		case err != nil:
			return podid.Association{}, err
		}
	}
	switch {
	case e == nil || e.ending:
		return podid.Association{}, association.Missing(namespace, serviceAccount)
	case e.fault != nil:
		return podid.Association{}, fmt.Errorf("association of %s/%s: %w", namespace, serviceAccount, e.fault)
	}
	return association.AsOf(association.Clone(e.association), heard), nil
}

// behind says whether the informer has told something older than heard. Whoever heard did
// so from another replica, a moment ago as a rule: the event is on its way, and waiting
// for it spares the API server the question of every node.
func (s *Store) behind(ctx context.Context, n name, heard stream.Version) bool {
	var limit <-chan time.Time
	for {
		is, news := s.index.heardAnd(n)
		if !is.Older(heard) {
			return false
		}
		if limit == nil {
			timer := time.NewTimer(onItsWay)
			defer timer.Stop()
			limit = timer.C
		}
		select {
		case <-news:
		case <-limit:
			return true
		case <-ctx.Done():
			return true
		}
	}
}

// Heard implements association.Store: it is what the informer has told.
func (s *Store) Heard(namespace, serviceAccount string) stream.Version {
	return s.index.heard(name{namespace, serviceAccount})
}

// possible says whether an object can have this name. What cannot be part of a path
// is not sent to the API server.
func (n name) possible() bool {
	for _, s := range []string{n.namespace, n.serviceAccount} {
		if s == "" || len(content.IsPathSegmentName(s)) > 0 {
			return false
		}
	}
	return true
}

// read asks the API server; nil is an object that is not there.
func (s *Store) read(ctx context.Context, n name) (*entry, error) {
	o, err := s.object(ctx, n)
	if o == nil || err != nil {
		return nil, err
	}
	return newEntry(o), nil
}

func (s *Store) object(ctx context.Context, n name) (*v1alpha1.PodIdentityAssociation, error) {
	o := new(v1alpha1.PodIdentityAssociation)
	switch err := s.api.Get(ctx, types.NamespacedName{Namespace: n.namespace, Name: n.serviceAccount}, o); {
	case absent(err):
		return nil, nil
	case err != nil:
		return nil, unread(ctx, err)
	}
	return o, nil
}

func (s *Store) ready() error {
	if s.Synced() {
		return nil
	}
	return problem.New(problem.ClusterUnavailable, "the associations have not been read yet").
		Because("podid has just started, or the API server does not answer")
}
