// Package association keeps which role a service account may use: the contract
// of a store, the rules every store enforces, and (in sub-packages) the stores.
package association

import (
	"context"

	"github.com/openpodidentity/podid"
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
// implementation passes. Errors are problems.
type Store interface {
	// Find returns the association of a service account; association-missing
	// if there is none.
	Find(ctx context.Context, namespace, serviceAccount string) (podid.Association, error)
	// Get returns an association by its ID; association-not-found.
	Get(ctx context.Context, id string) (podid.Association, error)
	// List returns up to limit associations in a stable order, starting after
	// the cursor ("" for the start), and the cursor of the next page ("" at the end).
	List(ctx context.Context, filter Filter, cursor string, limit int) ([]podid.Association, string, error)
	// Create stores a new association: association-exists when the service
	// account has one, association-limit, association-invalid. The same
	// ClientToken again returns the original.
	Create(ctx context.Context, a podid.Association) (podid.Association, error)
	// Update applies change to the association of this ID and stores it.
	Update(ctx context.Context, id string, change func(*podid.Association) error) (podid.Association, error)
	// Delete removes it and returns what it was.
	Delete(ctx context.Context, id string) (podid.Association, error)
}
