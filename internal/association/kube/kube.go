package kube

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
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

func (s *Store) ready() error {
	if s.Synced() {
		return nil
	}
	return problem.New(problem.ClusterUnavailable, "the associations have not been read yet").
		Because("podid has just started, or the API server does not answer")
}

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
