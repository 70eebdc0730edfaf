// Package association keeps which role a service account may use: the contract
// of a store, the rules every store enforces, and (in sub-packages) the stores.
//
// The exchange asks it (Find) after the token is proved and before a role is
// assumed; the EKS API is the door through which associations are written.
package association

import (
	"context"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/stream"
)

// Limits of the EKS API
// (https://docs.aws.amazon.com/eks/latest/userguide/service-quotas.html).
const (
	MaxAssociations = 5000
	MaxTags         = 50
	MaxPolicy       = 2048
)

// Filter narrows a List; empty fields match all.
type Filter struct {
	Namespace      string
	ServiceAccount string
}

// Store keeps associations. associationtest holds the scenarios that every
// implementation passes. Errors are problems, but for those of a context that
// has ended. What a store returns, the caller may change without effect on it.
type Store interface {
	// Find returns the association of a service account; association-missing
	// if there is none.
	Find(ctx context.Context, namespace, serviceAccount string) (podid.Association, error)
	// FindAtLeast is Find for who has heard of a version: the answer is not older,
	// whichever replica gives it, and says so in its Version. replica-behind if
	// that cannot be had; the zero Version asks for nothing.
	FindAtLeast(ctx context.Context, namespace, serviceAccount string, heard stream.Version) (podid.Association, error)
	// Heard is the version that this replica has heard of, without asking anybody:
	// of the association, or of there being none; the zero Version if it has heard
	// of neither.
	Heard(namespace, serviceAccount string) stream.Version
	// Get returns an association by its ID; association-not-found.
	Get(ctx context.Context, id string) (podid.Association, error)
	// List returns up to limit associations in a stable order, starting after
	// the cursor ("" for the start), and the cursor of the next page ("" at the
	// end). A walk over all pages meets every association that existed
	// throughout it exactly once. request-invalid for a cursor it did not give.
	List(ctx context.Context, filter Filter, cursor string, limit int) ([]podid.Association, string, error)
	// Create stores a new association: association-exists when the service
	// account has one, association-limit, and the errors of Validate. It sets
	// UID, Version, CreatedAt and ModifiedAt. The same ClientToken again returns
	// the association it made as it is now, whatever else is asked, until that
	// is deleted.
	Create(ctx context.Context, a podid.Association) (podid.Association, error)
	// Update applies change to the association of this ID and stores it with a
	// new Version; a change that changes nothing keeps the Version. Namespace and
	// service account cannot change (association-invalid); what Create sets is
	// kept. An error of change is returned as it is. change may run more than
	// once and must not call the store.
	Update(ctx context.Context, id string, change func(*podid.Association) error) (podid.Association, error)
	// Delete removes it and returns what it was; association-not-found.
	Delete(ctx context.Context, id string) (podid.Association, error)
}
