package iam

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/openpodidentity/podid/internal/journal"
)

// CreateUser makes the user that u describes: Name, Path, Boundary and Tags are read.
func (s *State) CreateUser(u Identity) (*Identity, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	u.Kind = User
	return s.create(&u)
}

// RenameUser gives a user another name or path; empty keeps the old one. Its
// access keys and the trust policies that name it follow.
func (s *State) RenameUser(name, newName, newPath string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	old, err := s.Identity(User, name)
	if err != nil {
		return err
	}
	next := old.clone()
	next.Name, next.Path = cmp.Or(newName, old.Name), cmp.Or(newPath, old.Path)
	if !validPath(next.Path) {
		return invalidPath()
	}
	next.ARN = s.arn(string(User), next.Path, next.Name)
	if other := s.identityAt(next.key()); other != nil && other.ID != old.ID {
		return alreadyExists(User, next.Name)
	}
	if err := next.compile(); err != nil { // reasons name the user
		return err
	}
	ops := []journal.Op{journal.Delete(old.journalKey()), journal.Put(next.journalKey(), next)}
	var keys []*AccessKey
	for _, k := range s.AccessKeys(name) {
		renamed := *k
		renamed.User = next.Name
		keys = append(keys, &renamed)
		ops = append(ops, journal.Put(keyPrefix+k.ID, &renamed))
	}
	roles, err := s.retrust(old.ARN, next.ARN)
	if err != nil {
		return err
	}
	for _, r := range roles {
		ops = append(ops, journal.Put(r.journalKey(), r))
	}
	return s.commit(func() {
		delete(s.identities, old.key())
		s.identities[next.key()] = next
		for _, k := range keys {
			s.keys[k.ID] = k
		}
		for _, r := range roles {
			s.identities[r.key()] = r
		}
	}, ops...)
}

func (s *State) identityAt(k identityKey) *Identity {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.identities[k]
}

// AccessKey is a user's long-term key. It is immutable.
type AccessKey struct {
	ID      string // AKIA…
	User    string
	Secret  string
	Active  bool
	Created time.Time
}

// String keeps the secret out of %v.
func (k AccessKey) String() string { return "access key " + k.ID }

// GoString keeps the secret out of %#v.
func (k AccessKey) GoString() string { return k.String() }

// LogValue keeps the secret out of logs.
func (k AccessKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Status is the key's status as the API spells it.
func (k *AccessKey) Status() string {
	if k.Active {
		return "Active"
	}
	return "Inactive"
}

// CreateAccessKey makes a key of a user.
func (s *State) CreateAccessKey(user string) (*AccessKey, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if _, err := s.Identity(User, user); err != nil {
		return nil, err
	}
	if len(s.AccessKeys(user)) >= MaxKeys {
		return nil, quotaExceeded("AccessKeysPerUser", MaxKeys)
	}
	k := &AccessKey{ID: NewID("AKIA", 16), User: user, Secret: NewSecret(), Active: true, Created: s.now().UTC().Truncate(time.Second)}
	return k, s.putKey(k)
}

// AccessKey finds a key, active or not; nil if there is none.
func (s *State) AccessKey(id string) *AccessKey {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.keys[id]
}

// AccessKeys are a user's keys, oldest first.
func (s *State) AccessKeys(user string) []*AccessKey {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []*AccessKey
	for _, k := range s.keys {
		if k.User == user {
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b *AccessKey) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return list
}

// SetKeyActive switches a user's key on or off.
func (s *State) SetKeyActive(user, id string, active bool) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	k, err := s.keyOf(user, id)
	if err != nil {
		return err
	}
	changed := *k
	changed.Active = active
	return s.putKey(&changed)
}

// DeleteAccessKey removes a user's key.
func (s *State) DeleteAccessKey(user, id string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if _, err := s.keyOf(user, id); err != nil {
		return err
	}
	return s.commit(func() {
		delete(s.keys, id)
		delete(s.used, id)
	}, journal.Delete(keyPrefix+id))
}

func (s *State) keyOf(user, id string) (*AccessKey, error) {
	if _, err := s.Identity(User, user); err != nil {
		return nil, err
	}
	k := s.AccessKey(id)
	if k == nil || k.User != user {
		return nil, noSuchEntity("The Access Key with id %s cannot be found.", id)
	}
	return k, nil
}

func (s *State) putKey(k *AccessKey) error {
	return s.commit(func() { s.keys[k.ID] = k }, journal.Put(keyPrefix+k.ID, k))
}

// Use is the last use of an access key or of a role.
type Use struct {
	At              time.Time
	Service, Region string
}

// Used notes that an access key (or a role, by its ID) was used. It is kept in
// memory only: a record per request would be most of the journal.
func (s *State) Used(id string, u Use) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[id] = u
}

// LastUse is the last use since the process started; ok is false without any.
func (s *State) LastUse(id string) (u Use, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	u, ok = s.used[id]
	return u, ok
}
