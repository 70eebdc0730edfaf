package iam

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/policy"
)

// Kind is the kind of an IAM identity, spelled as in its ARN.
type Kind string

// The kinds. Groups are not implemented.
const (
	Role Kind = "role"
	User Kind = "user"
)

// Identity is a role or a user. It is immutable.
type Identity struct {
	Kind    Kind
	Name    string
	Path    string
	ARN     string
	ID      string // AROA… or AIDA…; another one when made again
	Created time.Time

	Inline   map[string]Document `json:",omitempty"` // by policy name
	Attached []string            `json:",omitempty"` // ARNs, in order of attachment
	Boundary string              `json:",omitempty"` // ARN
	Tags     []podid.Tag         `json:",omitempty"` // sorted by key

	// Of roles alone.
	Trust       Document
	Description string `json:",omitempty"`
	MaxSession  int    `json:",omitempty"` // seconds
}

// AddTagKeys adds the condition keys that tell what tags the role or user has.
func (i *Identity) AddTagKeys(keys policy.Keys) { addResourceTags(keys, i.Tags) }

func addResourceTags(keys policy.Keys, tags []podid.Tag) {
	for _, t := range tags {
		keys["aws:ResourceTag/"+t.Key] = []string{t.Value}
		keys["iam:ResourceTag/"+t.Key] = []string{t.Value}
	}
}

func (i *Identity) clone() *Identity {
	c := *i
	c.Inline = maps.Clone(i.Inline)
	c.Attached = slices.Clone(i.Attached)
	c.Tags = slices.Clone(i.Tags)
	return &c
}

// compile parses the documents that came from the journal.
func (i *Identity) compile() error {
	for name, d := range i.Inline {
		if err := d.compile(policy.Identity, i.inlineName(name)); err != nil {
			return err
		}
		i.Inline[name] = d
	}
	if i.Kind == Role {
		return i.Trust.compile(policy.Trust, i.trustName())
	}
	return nil
}

func (i *Identity) inlineName(name string) string {
	return "inline policy " + name + " of " + string(i.Kind) + " " + i.Name
}

func (i *Identity) trustName() string { return "the trust policy of role " + i.Name }

func (i *Identity) key() identityKey { return identityKey{i.Kind, fold(i.Name)} }

func (i *Identity) journalKey() string { return identityPrefix + string(i.Kind) + "/" + fold(i.Name) }

// Identity finds a role or user by its exact name; NoSuchEntity.
func (s *State) Identity(kind Kind, name string) (*Identity, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := s.identities[identityKey{kind, fold(name)}]
	if i == nil || i.Name != name {
		return nil, noSuchIdentity(kind, name)
	}
	return i, nil
}

// Identities are the roles or users whose path begins with prefix, by name.
func (s *State) Identities(kind Kind, prefix string) []*Identity {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []*Identity
	for k, i := range s.identities {
		if k.kind == kind && strings.HasPrefix(i.Path, prefix) {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b *Identity) int { return cmp.Compare(fold(a.Name), fold(b.Name)) })
	return list
}

// identityByARN finds a role or user of this account.
func (s *State) identityByARN(arn string) *Identity {
	resource, ok := strings.CutPrefix(arn, s.arn("", "", ""))
	if !ok {
		return nil
	}
	kind, rest, _ := strings.Cut(resource, "/")
	name := rest[strings.LastIndex(rest, "/")+1:]
	i, err := s.Identity(Kind(kind), name)
	if err != nil || i.ARN != arn {
		return nil
	}
	return i
}

// create adds i, whose Kind, Name, Path and documents are set, with a new ID.
func (s *State) create(i *Identity) (*Identity, error) {
	prefix, quota := "AROA", MaxRoles
	if i.Kind == User {
		prefix, quota = "AIDA", MaxUsers
	}
	i.Path = cmp.Or(i.Path, "/")
	if !validPath(i.Path) {
		return nil, invalidPath()
	}
	if err := s.checkBoundary(i.Boundary); err != nil {
		return nil, err
	}
	i.ARN = s.arn(string(i.Kind), i.Path, i.Name)
	i.ID = NewID(prefix, 17)
	i.Created = s.now().UTC().Truncate(time.Second)
	i.Tags = mergeTags(nil, i.Tags)

	s.mu.RLock()
	old := s.identities[i.key()]
	n := 0
	for k := range s.identities {
		if k.kind == i.Kind {
			n++
		}
	}
	s.mu.RUnlock()
	if old != nil {
		return nil, alreadyExists(i.Kind, i.Name)
	}
	if n >= quota {
		return nil, quotaExceeded(title(i.Kind)+"sPerAccount", quota)
	}
	return i, s.put(i)
}

// update replaces an identity by what change makes of a copy of it.
func (s *State) update(kind Kind, name string, change func(*Identity) error) (*Identity, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	old, err := s.Identity(kind, name)
	if err != nil {
		return nil, err
	}
	next := old.clone()
	if err := change(next); err != nil {
		return nil, err
	}
	return next, s.put(next)
}

func (s *State) put(i *Identity) error {
	return s.commit(func() { s.identities[i.key()] = i }, journal.Put(i.journalKey(), i))
}

// Delete removes a role or user; DeleteConflict while anything hangs on it.
// Trust policies that name it go on naming what is gone: its unique ID stands
// in them from now on, so that another of the same name is not trusted.
func (s *State) Delete(kind Kind, name string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	i, err := s.Identity(kind, name)
	if err != nil {
		return err
	}
	switch {
	case len(i.Attached) > 0:
		return deleteConflict("Cannot delete entity, must detach all policies first.")
	case len(i.Inline) > 0:
		return deleteConflict("Cannot delete entity, must delete policies first.")
	case kind == User && len(s.AccessKeys(name)) > 0:
		return deleteConflict("Cannot delete entity, must delete access keys first.")
	}
	var ops []journal.Op
	orphans, err := s.retrust(i.ARN, i.ID)
	if err != nil {
		return err
	}
	for _, o := range orphans {
		ops = append(ops, journal.Put(o.journalKey(), o))
	}
	// Last: a role may trust itself.
	ops = append(ops, journal.Delete(i.journalKey()))
	return s.commit(func() {
		for _, o := range orphans {
			s.identities[o.key()] = o
		}
		delete(s.identities, i.key())
		delete(s.used, i.ID)
	}, ops...)
}

// retrust returns the roles whose trust policy names the principal old, with
// another in its place.
func (s *State) retrust(old, replacement string) ([]*Identity, error) {
	var changed []*Identity
	for _, role := range s.Identities(Role, "/") {
		text := replacePrincipal(role.Trust.Text, old, replacement)
		if text == role.Trust.Text {
			continue
		}
		next := role.clone()
		next.Trust = Document{Text: text}
		if err := next.Trust.compile(policy.Trust, next.trustName()); err != nil {
			return nil, err
		}
		changed = append(changed, next)
	}
	return changed, nil
}
