package iam

import (
	"cmp"
	"net/http"

	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/policy"
)

// CreateRole makes the role that r describes: Name, Path, Trust.Text,
// Description, MaxSession, Boundary and Tags are read.
func (s *State) CreateRole(r Identity) (*Identity, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	r.Kind = Role
	r.MaxSession = cmp.Or(r.MaxSession, defaultSessionSeconds)
	var err error
	if r.Trust, err = s.parseTrust(&r, r.Trust.Text); err != nil {
		return nil, err
	}
	return s.create(&r)
}

// UpdateRole changes what is not nil.
func (s *State) UpdateRole(name string, description *string, maxSession *int) (*Identity, error) {
	return s.update(Role, name, func(r *Identity) error {
		if description != nil {
			r.Description = *description
		}
		if maxSession != nil {
			r.MaxSession = *maxSession
		}
		return nil
	})
}

// UpdateTrust replaces a role's trust policy.
func (s *State) UpdateTrust(name, document string) error {
	_, err := s.update(Role, name, func(r *Identity) (err error) {
		r.Trust, err = s.parseTrust(r, document)
		return err
	})
	return err
}

func (s *State) parseTrust(r *Identity, text string) (Document, error) {
	if (Document{Text: text}).size() > MaxTrustPolicy {
		return Document{}, quotaExceeded("ACLSizePerRole", MaxTrustPolicy)
	}
	d, err := Parse(policy.Trust, r.trustName(), text)
	if err != nil {
		return Document{}, err
	}
	return d, s.checkPrincipals(text)
}

// checkBoundary accepts the ARN of a managed policy, or "" for none.
func (s *State) checkBoundary(arn string) error {
	if arn == "" {
		return nil
	}
	if _, err := s.ManagedPolicy(arn); err != nil {
		return noSuchEntity("Scope ARN: %s does not exist or is not attachable.%s", arn, s.NotCarried(arn))
	}
	return nil
}

// SetBoundary sets or (empty) removes a permissions boundary. Removing one
// that is not there is NoSuchEntity, as at AWS.
func (s *State) SetBoundary(kind Kind, name, arn string) error {
	_, err := s.update(kind, name, func(i *Identity) error {
		if arn == "" && i.Boundary == "" {
			return awswire.Errorf(http.StatusNotFound, "NoSuchEntity", "The %s with name %s has no permissions boundary.", kind, name)
		}
		i.Boundary = arn
		return s.checkBoundary(arn)
	})
	return err
}
