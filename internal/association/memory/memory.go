// Package memory keeps associations in memory and, if given one, in a journal:
// the store of the local world and of tests.
package memory

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// Store implements association.Store. Reads see what is durable, and never wait
// for the disk.
type Store struct {
	// Now is the clock. Set it before the first use, if at all.
	Now func() time.Time
	// OnChange, if set, is called after each change, before the call that made
	// it returns; it may call the store. Changes made at the same time may be
	// reported in another order: look up what is now. Set it before the first use.
	OnChange func(namespace, serviceAccount string)

	journal *journal.Journal

	// writing admits one writer at a time, for as long as its commit takes; mu
	// guards the fields below for as long as they are read or changed.
	writing sync.Mutex
	mu      sync.RWMutex
	// byName is ordered by namespace and service account and holds each pair
	// once. Values are immutable: a change puts a new one in place.
	byName  []*podid.Association
	byID    map[string]*podid.Association
	byToken map[string]*podid.Association
	version uint64
}

var _ association.Store = (*Store)(nil)

const prefix = "associations/"

// New returns a store with what j holds. A nil j keeps nothing.
func New(j *journal.Journal) (*Store, error) {
	s := &Store{
		Now:     time.Now,
		journal: j,
		byID:    map[string]*podid.Association{},
		byToken: map[string]*podid.Association{},
	}
	if j == nil {
		return s, nil
	}
	err := j.Load(prefix, func(key string, value json.RawMessage) error {
		a := new(podid.Association)
		if err := json.Unmarshal(value, a); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		version, err := strconv.ParseUint(a.Version, 10, 64)
		if err != nil || a.UID == "" || key != keyOf(a) {
			return fmt.Errorf("%s: not what was written there", key)
		}
		s.version = max(s.version, version)
		s.put(a)
		return nil
	})
	if err != nil {
		return nil, problem.New(problem.DataDamaged, "the associations in the journal cannot be read").From(err)
	}
	return s, nil
}

func keyOf(a *podid.Association) string {
	return prefix + a.Namespace + "/" + a.ServiceAccount
}

// Find implements association.Store.
func (s *Store) Find(ctx context.Context, namespace, serviceAccount string) (podid.Association, error) {
	if err := ctx.Err(); err != nil {
		return podid.Association{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if at, ok := s.search(namespace, serviceAccount); ok {
		return association.Clone(*s.byName[at]), nil
	}
	return podid.Association{}, association.Missing(namespace, serviceAccount)
}

// FindAtLeast implements association.Store. There are no other replicas, so it is never
// behind.
func (s *Store) FindAtLeast(ctx context.Context, namespace, serviceAccount string, heard stream.Version) (podid.Association, error) {
	a, err := s.Find(ctx, namespace, serviceAccount)
	if err != nil {
		return podid.Association{}, err
	}
	return association.AsOf(a, heard), nil
}

// Heard implements association.Store.
func (s *Store) Heard(namespace, serviceAccount string) stream.Version {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if at, ok := s.search(namespace, serviceAccount); ok {
		return association.VersionOf(*s.byName[at])
	}
	return stream.Version{Revision: s.version}
}

// Get implements association.Store.
func (s *Store) Get(ctx context.Context, id string) (podid.Association, error) {
	if err := ctx.Err(); err != nil {
		return podid.Association{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a, ok := s.byID[id]; ok {
		return association.Clone(*a), nil
	}
	return podid.Association{}, association.NotFound(id)
}

// List implements association.Store.
func (s *Store) List(ctx context.Context, filter association.Filter, cursor string, limit int) ([]podid.Association, string, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	if limit < 1 {
		return nil, "", problem.New(problem.RequestInvalid, "a page of %d associations was asked for", limit)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	start, _ := s.search(filter.Namespace, "")
	if cursor != "" {
		after, err := association.ParseCursor(cursor)
		if err != nil {
			return nil, "", err
		}
		at, found := s.search(after.Namespace, after.ServiceAccount)
		if found {
			at++
		}
		start = max(start, at)
	}
	var page []podid.Association
	for _, a := range s.byName[start:] {
		switch {
		case filter.Namespace != "" && a.Namespace != filter.Namespace:
			return page, "", nil // past the namespace: the order is by namespace first
		case filter.ServiceAccount != "" && a.ServiceAccount != filter.ServiceAccount:
			continue
		case len(page) == limit:
			last := page[limit-1]
			return page, association.Cursor{Namespace: last.Namespace, ServiceAccount: last.ServiceAccount}.String(), nil
		}
		page = append(page, association.Clone(*a))
	}
	return page, "", nil
}

// Create implements association.Store.
func (s *Store) Create(ctx context.Context, a podid.Association) (podid.Association, error) {
	if err := association.Validate(a); err != nil {
		return podid.Association{}, err
	}
	created, isNew, err := s.create(ctx, association.Clone(a))
	if err != nil {
		return podid.Association{}, err
	}
	if isNew {
		s.changed(created)
	}
	return association.Clone(*created), nil
}

func (s *Store) create(ctx context.Context, a podid.Association) (created *podid.Association, isNew bool, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	// Only writers change the fields, and this is the only one: reading them
	// needs no lock.
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	if original, ok := s.byToken[a.ClientToken]; ok && a.ClientToken != "" {
		return original, false, nil
	}
	if at, ok := s.search(a.Namespace, a.ServiceAccount); ok {
		return nil, false, association.Exists(*s.byName[at])
	}
	if len(s.byName) >= association.MaxAssociations {
		return nil, false, association.Full()
	}
	a.UID = uuid.NewString()
	a.Version = strconv.FormatUint(s.version+1, 10)
	a.CreatedAt = s.now()
	a.ModifiedAt = a.CreatedAt
	if err := s.keep(&a); err != nil {
		return nil, false, fmt.Errorf("create association: %w", err)
	}
	return &a, true, nil
}

// Update implements association.Store.
func (s *Store) Update(ctx context.Context, id string, change func(*podid.Association) error) (podid.Association, error) {
	is, changed, err := s.update(ctx, id, change)
	if err != nil {
		return podid.Association{}, err
	}
	if changed {
		s.changed(is)
	}
	return association.Clone(*is), nil
}

func (s *Store) update(ctx context.Context, id string, change func(*podid.Association) error) (*podid.Association, bool, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	was, ok := s.byID[id]
	if !ok {
		return nil, false, association.NotFound(id)
	}
	is, changed, err := association.Change(*was, change, s.now())
	if err != nil || !changed {
		return &is, false, err
	}
	is.Version = strconv.FormatUint(s.version+1, 10)
	if err := s.keep(&is); err != nil {
		return nil, false, fmt.Errorf("update association: %w", err)
	}
	return &is, true, nil
}

// Delete implements association.Store.
func (s *Store) Delete(ctx context.Context, id string) (podid.Association, error) {
	was, err := s.delete(ctx, id)
	if err != nil {
		return podid.Association{}, err
	}
	s.changed(was)
	return association.Clone(*was), nil
}

func (s *Store) delete(ctx context.Context, id string) (*podid.Association, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	was, ok := s.byID[id]
	if !ok {
		return nil, association.NotFound(id)
	}
	if s.journal != nil {
		if err := s.journal.Commit(journal.Delete(keyOf(was))); err != nil {
			return nil, fmt.Errorf("delete association: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, _ := s.search(was.Namespace, was.ServiceAccount)
	s.byName = slices.Delete(s.byName, at, at+1)
	delete(s.byID, id)
	delete(s.byToken, was.ClientToken)
	s.version++ // that there is none is news as well
	return was, nil
}

// keep commits a, then lets readers see it. The caller holds writing.
func (s *Store) keep(a *podid.Association) error {
	if s.journal != nil {
		if err := s.journal.Commit(journal.Put(keyOf(a), a)); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.put(a)
	return nil
}

func (s *Store) put(a *podid.Association) {
	if at, found := s.search(a.Namespace, a.ServiceAccount); found {
		s.byName[at] = a
	} else {
		s.byName = slices.Insert(s.byName, at, a)
	}
	s.byID[a.ID()] = a
	if a.ClientToken != "" {
		s.byToken[a.ClientToken] = a
	}
}

func (s *Store) search(namespace, serviceAccount string) (int, bool) {
	return slices.BinarySearchFunc(s.byName, association.Cursor{Namespace: namespace, ServiceAccount: serviceAccount},
		func(a *podid.Association, c association.Cursor) int {
			return cmp.Or(strings.Compare(a.Namespace, c.Namespace), strings.Compare(a.ServiceAccount, c.ServiceAccount))
		})
}

func (s *Store) changed(a *podid.Association) {
	if s.OnChange != nil {
		s.OnChange(a.Namespace, a.ServiceAccount)
	}
}

// now has the precision that survives the EKS API's epoch seconds.
func (s *Store) now() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }
