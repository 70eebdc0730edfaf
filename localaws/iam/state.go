package iam

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/problem"
)

// State is one account: its identities, customer managed policies and access
// keys. What it returns is immutable and may be kept; a change replaces it.
// It is safe for concurrent use.
type State struct {
	Account   string
	Partition string // "aws"

	journal *journal.Journal
	now     func() time.Time

	// writing is held from reading what is to be changed until the change is
	// durable and visible. Taken before mu.
	writing sync.Mutex
	mu      sync.RWMutex
	// By kind and lower-case name: names are unique whatever their case.
	identities map[identityKey]*Identity
	policies   map[string]*ManagedPolicy // by lower-case name
	keys       map[string]*AccessKey     // by access key ID
	used       map[string]Use            // by access key ID or role ID; not kept

	aws map[string]*ManagedPolicy // AWS's own, by ARN; constant
}

type identityKey struct {
	kind Kind
	name string
}

// Keys of the journal.
const (
	identityPrefix = "iam/identity/" // KIND/lower-case name
	policyPrefix   = "iam/policy/"   // lower-case name
	keyPrefix      = "iam/key/"      // access key ID
)

// Open loads the account from j (nil: it starts empty and keeps nothing).
func Open(account, partition string, j *journal.Journal, now func() time.Time) (*State, error) {
	s := &State{
		Account: account, Partition: partition, journal: j, now: now,
		identities: map[identityKey]*Identity{},
		policies:   map[string]*ManagedPolicy{},
		keys:       map[string]*AccessKey{},
		used:       map[string]Use{},
	}
	var err error
	if s.aws, err = awsManaged(partition); err != nil {
		return nil, err
	}
	// Managed policies come first: boundaries and attachments refer to them.
	if err = load(j, policyPrefix, func(p *ManagedPolicy) error {
		s.policies[fold(p.Name)] = p
		return p.compile()
	}); err != nil {
		return nil, err
	}
	if err = load(j, identityPrefix, func(i *Identity) error {
		s.identities[identityKey{i.Kind, fold(i.Name)}] = i
		return i.compile()
	}); err != nil {
		return nil, err
	}
	if err = s.checkAccount(); err != nil {
		return nil, err
	}
	if err = load(j, keyPrefix, func(k *AccessKey) error {
		s.keys[k.ID] = k
		return nil
	}); err != nil {
		return nil, err
	}
	return s, nil
}

// checkAccount refuses the data of another account or partition: its identities
// would go on under ARNs that nothing here can own.
func (s *State) checkAccount() error {
	for _, i := range s.identities {
		if !strings.HasPrefix(i.ARN, s.arn("", "", "")) {
			return problem.New(problem.Usage, "the data are of another account than %s (%s): they have the %s %s", s.Account, s.Partition, i.Kind, i.ARN).
				Fixed("start with the account and region that the data were made with, or with another data directory")
		}
	}
	return nil
}

func load[T any](j *journal.Journal, prefix string, add func(*T) error) error {
	return j.Load(prefix, func(key string, value json.RawMessage) error {
		var v T
		if err := json.Unmarshal(value, &v); err != nil {
			return damaged(key, err)
		}
		if err := add(&v); err != nil {
			return damaged(key, err)
		}
		return nil
	})
}

func damaged(key string, err error) error {
	return problem.New(problem.DataDamaged, "the journal's record %s cannot be read", key).From(err)
}

// commit makes ops durable, then lets apply change the maps. The caller holds writing.
func (s *State) commit(apply func(), ops ...journal.Op) error {
	if err := s.journal.Commit(ops...); err != nil {
		return fmt.Errorf("keep IAM: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	apply()
	return nil
}

// validPath is a path's constraint: / or /…/ of U+0021 to U+007E.
func validPath(path string) bool {
	if path == "/" {
		return true
	}
	return len(path) >= 3 && len(path) <= 512 && path[0] == '/' && path[len(path)-1] == '/' &&
		!strings.ContainsFunc(path, func(r rune) bool { return r < '!' || r > '~' })
}

func (s *State) arn(kind, path, name string) string {
	return "arn:" + s.Partition + ":iam::" + s.Account + ":" + kind + path + name
}

func fold(name string) string { return strings.ToLower(name) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// NewID is a unique ID in IAM's form: the prefix (AROA, AIDA, ANPA, AKIA, ASIA)
// and length characters of base32.
//
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
func NewID(prefix string, length int) string {
	return prefix + rand.Text()[:length]
}

// NewSecret is a secret access key: 40 characters of base64, 240 random bits.
func NewSecret() string {
	b := make([]byte, 30)
	rand.Read(b) // never fails
	return base64.StdEncoding.EncodeToString(b)
}
