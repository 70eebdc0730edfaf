package iam

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/policy"
)

// ManagedPolicy is a customer's or AWS's managed policy, in its only version.
type ManagedPolicy struct {
	Name, Path, ARN string
	ID              string // ANPA…
	Version         string // v1; AWS's policies have AWS's number
	Description     string
	Created         time.Time
	Updated         time.Time // of the version
	Tags            []podid.Tag
	Document        Document

	// as is the document by what it is used as; reasons tell these apart.
	as map[policy.Type]*policy.Policy
}

// compile parses the document for each of its uses. IAM takes what an
// identity-based policy may say; what a session policy may not (incomplete ARNs)
// allows nothing when it is used as one.
func (p *ManagedPolicy) compile() error {
	p.as = make(map[policy.Type]*policy.Policy, 3)
	for _, t := range []policy.Type{policy.Identity, policy.Boundary, policy.Session} {
		d := p.Document
		if err := d.compile(t, p.ARN); err == nil {
			p.as[t] = d.compiled
		} else if t == policy.Identity {
			return err
		}
	}
	return nil
}

// AWS says that the policy is AWS's own.
func (p *ManagedPolicy) AWS() bool { return strings.Contains(p.ARN, ":iam::aws:policy/") }

// CreatePolicy makes the customer managed policy that p describes: Name, Path,
// Description, Tags and Document.Text are read.
func (s *State) CreatePolicy(p ManagedPolicy) (*ManagedPolicy, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	p.Path = cmp.Or(p.Path, "/")
	if !validPath(p.Path) {
		return nil, invalidPath()
	}
	p.ARN = s.arn("policy", p.Path, p.Name)
	// Before it is parsed: the parser has a limit of its own.
	if p.Document.size() > MaxManagedPolicy {
		return nil, quotaExceeded("PolicySize", MaxManagedPolicy)
	}
	var err error
	if p.Document, err = Parse(policy.Identity, p.ARN, p.Document.Text); err != nil {
		return nil, err
	}
	if p.Document.Policy().Version() != "2012-10-17" {
		return nil, malformed("Policy document must be version 2012-10-17 or greater.")
	}
	if err := p.compile(); err != nil {
		return nil, malformedPolicy(policy.Identity, err)
	}
	p.ID, p.Version = NewID("ANPA", 17), "v1"
	p.Created = s.now().UTC().Truncate(time.Second)
	p.Updated = p.Created
	p.Tags = mergeTags(nil, p.Tags)
	s.mu.RLock()
	_, exists := s.policies[fold(p.Name)]
	n := len(s.policies)
	s.mu.RUnlock()
	switch {
	case exists:
		return nil, awswire.Errorf(http.StatusConflict, "EntityAlreadyExists",
			"A policy called %s already exists. Duplicate names are not allowed.", p.Name)
	case n >= MaxPolicies:
		return nil, quotaExceeded("PoliciesPerAccount", MaxPolicies)
	}
	return &p, s.commit(func() { s.policies[fold(p.Name)] = &p }, journal.Put(policyPrefix+fold(p.Name), &p))
}

// ManagedPolicy finds a policy of the account or of AWS; NoSuchEntity.
func (s *State) ManagedPolicy(arn string) (*ManagedPolicy, error) {
	if p := s.aws[arn]; p != nil {
		return p, nil
	}
	return s.customerPolicy(arn)
}

func (s *State) customerPolicy(arn string) (*ManagedPolicy, error) {
	name := arn[strings.LastIndexByte(arn, '/')+1:]
	s.mu.RLock()
	p := s.policies[fold(name)]
	s.mu.RUnlock()
	if p != nil && p.ARN == arn {
		return p, nil
	}
	return nil, noSuchEntity("Policy %s was not found.%s", arn, s.NotCarried(arn))
}

// NotCarried is a sentence to add to an error about a managed policy that was
// not found: that AWS may have it. It is empty for a customer's.
func (s *State) NotCarried(arn string) string {
	if !strings.HasPrefix(arn, "arn:"+s.Partition+":iam::aws:policy/") {
		return ""
	}
	return " If AWS has a managed policy of this name, the local AWS does not: aws iam list-policies --scope AWS lists those it has (docs/components/localaws.md)."
}

// ManagedPolicies are the account's and AWS's policies, by ARN.
func (s *State) ManagedPolicies() []*ManagedPolicy {
	list := slices.Collect(maps.Values(s.aws))
	s.mu.RLock()
	for _, p := range s.policies {
		list = append(list, p)
	}
	s.mu.RUnlock()
	slices.SortFunc(list, func(a, b *ManagedPolicy) int { return strings.Compare(a.ARN, b.ARN) })
	return list
}

// DeletePolicy removes a customer managed policy; DeleteConflict while it is
// attached or is a boundary.
func (s *State) DeletePolicy(arn string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.aws[arn] != nil {
		return awswire.Errorf(http.StatusForbidden, "AccessDenied", "Policy %s is managed by AWS and cannot be deleted.", arn)
	}
	p, err := s.customerPolicy(arn)
	if err != nil {
		return err
	}
	if attached, boundaries := s.Usage(arn); attached+boundaries > 0 {
		return deleteConflict("Cannot delete a policy attached to entities.")
	}
	return s.commit(func() { delete(s.policies, fold(p.Name)) }, journal.Delete(policyPrefix+fold(p.Name)))
}

// Usage counts the identities that have the policy attached, and as boundary.
func (s *State) Usage(arn string) (attached, boundaries int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, i := range s.identities {
		if slices.Contains(i.Attached, arn) {
			attached++
		}
		if i.Boundary == arn {
			boundaries++
		}
	}
	return attached, boundaries
}

// Attach attaches a managed policy; again is no error.
func (s *State) Attach(kind Kind, name, arn string) error {
	_, err := s.update(kind, name, func(i *Identity) error {
		if _, err := s.ManagedPolicy(arn); err != nil {
			return noSuchEntity("Policy %s does not exist or is not attachable.%s", arn, s.NotCarried(arn))
		}
		if slices.Contains(i.Attached, arn) {
			return nil
		}
		if len(i.Attached) >= MaxAttached {
			return quotaExceeded("PoliciesPer"+title(kind), MaxAttached)
		}
		i.Attached = append(i.Attached, arn)
		return nil
	})
	return err
}

// Detach detaches a managed policy; NoSuchEntity if it is not attached.
func (s *State) Detach(kind Kind, name, arn string) error {
	_, err := s.update(kind, name, func(i *Identity) error {
		at := slices.Index(i.Attached, arn)
		if at < 0 {
			return noSuchPolicy(arn)
		}
		i.Attached = slices.Delete(i.Attached, at, at+1)
		return nil
	})
	return err
}

// PutInline sets an inline policy.
func (s *State) PutInline(kind Kind, name, policyName, document string) error {
	_, err := s.update(kind, name, func(i *Identity) error {
		most, total := MaxInlineOfRole, Document{Text: document}.size()
		if kind == User {
			most = MaxInlineOfUser
		}
		for other, o := range i.Inline {
			if other != policyName {
				total += o.size()
			}
		}
		if total > most {
			return limitExceeded("Maximum policy size of %d bytes exceeded for %s %s", most, kind, name)
		}
		d, err := Parse(policy.Identity, i.inlineName(policyName), document)
		if err != nil {
			return err
		}
		if i.Inline == nil {
			i.Inline = map[string]Document{}
		}
		i.Inline[policyName] = d
		return nil
	})
	return err
}

// Inline finds an inline policy; NoSuchEntity.
func (s *State) Inline(kind Kind, name, policyName string) (Document, error) {
	i, err := s.Identity(kind, name)
	if err != nil {
		return Document{}, err
	}
	d, ok := i.Inline[policyName]
	if !ok {
		return Document{}, noSuchInline(kind, policyName)
	}
	return d, nil
}

// DeleteInline removes an inline policy; NoSuchEntity.
func (s *State) DeleteInline(kind Kind, name, policyName string) error {
	_, err := s.update(kind, name, func(i *Identity) error {
		if _, ok := i.Inline[policyName]; !ok {
			return noSuchInline(kind, policyName)
		}
		delete(i.Inline, policyName)
		return nil
	})
	return err
}

func noSuchInline(kind Kind, policyName string) error {
	return noSuchEntity("The %s policy with name %s cannot be found.", kind, policyName)
}

// policyName is a policy's name by its ARN.
func policyName(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }
