// Package agent answers the SDKs on a node: GET /v1/credentials with the pod's
// token gives the role's credentials, cached by pod UID.
package agent

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/token"
)

// Tokens verifies the pods' tokens on the node, offline.
type Tokens interface {
	Verify(ctx context.Context, raw string) (token.Token, error)
}

// Exchange asks podid-auth for credentials.
type Exchange interface {
	Exchange(ctx context.Context, raw string) (podid.Credentials, error)
}

// Server answers the SDKs. Fields are its dependencies.
type Server struct {
	Tokens   Tokens
	Exchange Exchange
	Now      func() time.Time
	Log      *slog.Logger
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { panic("skeleton") }

// AuthClient is the Exchange over HTTP, as podid-auth and EKS Auth speak it.
type AuthClient struct {
	// Endpoint is the base URL of podid-auth; Cluster the cluster's name.
	Endpoint string
	Cluster  string
	// Token returns the agent's own token (audience auth.podid.dev).
	Token func() (string, error)
	HTTP  *http.Client
}

// Exchange implements Exchange. Problems of podid-auth come back as problems
// with the same code, what, why and fix.
func (c *AuthClient) Exchange(ctx context.Context, raw string) (podid.Credentials, error) {
	panic("skeleton")
}
