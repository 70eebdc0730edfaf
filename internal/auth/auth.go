// Package auth is the exchange: token → workload → association → credentials,
// spoken as AWS's EKS Auth API.
package auth

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/internal/sigv4"
	"github.com/openpodidentity/podid/internal/token"
)

// Tokens proves which workload a token speaks for.
type Tokens interface {
	Verify(ctx context.Context, raw string) (token.Token, error)
}

// Associations finds the role of a service account.
type Associations interface {
	Find(ctx context.Context, namespace, serviceAccount string) (podid.Association, error)
}

// Roles assumes an association's role for a workload.
type Roles interface {
	Assume(ctx context.Context, w podid.Workload, a podid.Association) (roles.Session, error)
}

// Caller is who asked for the exchange.
type Caller struct {
	// Node the calling agent runs on; pods of other nodes are refused.
	Node string
	// AccessKeyID of a caller that signed; node scope does not hold for it.
	AccessKeyID string
}

// Service is the exchange.
type Service struct {
	Cluster      podid.Cluster
	Tokens       Tokens
	Associations Associations
	Roles        Roles
	Now          func() time.Time
}

// Grant holds the steps that succeeded, even when a later one failed.
type Grant struct {
	Caller      Caller
	Token       token.Token       // zero until the token was verified
	Association podid.Association // zero until found
	Session     roles.Session     // zero until assumed
	Took        time.Duration
}

// Exchange reads as its specification. The error is a problem; the Grant is
// never nil.
func (s *Service) Exchange(ctx context.Context, caller Caller, raw string) (*Grant, error) {
	panic("skeleton")
}

// Handler is the EKS Auth edge: POST /clusters/{name}/assume-role-for-pod-identity.
type Handler struct {
	Service *Service
	// Agents proves agents by their own token (audience auth.podid.dev).
	Agents Tokens
	// AgentSubject is the only sub accepted: system:serviceaccount:podid-system:podid-agent.
	AgentSubject string
	// SigV4 admits callers that sign with a known access key; nil does not.
	SigV4 *sigv4.Verifier
	Log   *slog.Logger
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { panic("skeleton") }
