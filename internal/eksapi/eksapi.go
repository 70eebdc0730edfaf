// Package eksapi is the EKS REST API for pod identity associations, over any
// association store: what `aws eks` and Terraform speak.
package eksapi

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
)

// Access proves who sent r (replacing r.Body by the verified payload) and that
// they may perform the EKS action on resource. Errors are *awswire.Error.
type Access func(r *http.Request, action, resource string) error

// PassRole decides whether the sender of r (already proved) may hand out role.
type PassRole func(r *http.Request, role podid.RoleARN) error

// RoleCheck says whether a role exists and its trust policy admits pod identity.
type RoleCheck func(ctx context.Context, role podid.RoleARN) error

// Handler serves the API of one cluster.
type Handler struct {
	Cluster  podid.Cluster
	Store    association.Store
	Access   Access
	PassRole PassRole
	Check    RoleCheck
	Log      *slog.Logger
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { panic("skeleton") }
