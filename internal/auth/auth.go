// Package auth is the exchange: token → workload → association → credentials,
// spoken as AWS's EKS Auth API. An agent's call arrives at the Handler, which
// proves who calls; the Service does the exchange.
package auth

import (
	"context"
	"errors"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"
)

// Tokens proves which workload a token speaks for.
type Tokens interface {
	Verify(ctx context.Context, raw string) (token.Token, error)
}

// Associations finds the role of a service account, no older than what its caller has
// heard of: a replica that is behind says replica-behind, and never an older role.
type Associations interface {
	FindAtLeast(ctx context.Context, namespace, serviceAccount string, heard stream.Version) (podid.Association, error)
}

// Roles assumes an association's role for a workload.
type Roles interface {
	Assume(ctx context.Context, w podid.Workload, a podid.Association) (roles.Session, error)
}

// Caller is who asked for the exchange.
type Caller struct {
	// Node the calling agent runs on; pods of other nodes are refused.
	Node string
	// Token is the agent's own.
	Token token.Token
	// AccessKeyID of a caller that signed; node scope does not hold for it.
	AccessKeyID string
	// Heard is the version of the pod's association that the caller has heard of.
	Heard stream.Version
}

// Service is the exchange.
type Service struct {
	Cluster podid.Cluster
	// Tokens must return the node the pod really runs on (token.Live), since
	// node scope rests on it.
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
	start := s.now()
	g := &Grant{Caller: caller}
	err := s.exchange(ctx, g, raw)
	g.Took = s.now().Sub(start)
	switch _, told := errors.AsType[*problem.Problem](err); {
	case err == nil:
		return g, nil
	case !told && ctx.Err() != nil:
		return g, unfinished(ctx).From(err)
	}
	return g, problem.Of(err)
}

func (s *Service) exchange(ctx context.Context, g *Grant, raw string) (err error) {
	if g.Token, err = s.Tokens.Verify(ctx, raw); err != nil {
		return err
	}
	w := g.Token.Workload
	if err = nodeScope(g.Caller, w); err != nil {
		return err
	}
	if g.Association, err = s.Associations.FindAtLeast(ctx, w.Namespace, w.ServiceAccount, g.Caller.Heard); err != nil {
		if p, is := errors.AsType[*problem.Problem](err); is && p.Code == problem.AssociationMissing {
			missing := *p
			return missing.Fixed("%s", association.Creating(s.Cluster, w.Namespace, w.ServiceAccount))
		}
		return err
	}
	g.Session, err = s.Roles.Assume(ctx, w, g.Association)
	return err
}

// nodeScope lets an agent speak for the pods of its own node alone. A caller
// that signed proves no node, and was admitted on purpose.
func nodeScope(c Caller, w podid.Workload) error {
	switch {
	case c.AccessKeyID != "":
		return nil
	case w.Node == "":
		return problem.New(problem.NodeMismatch, "the pod %s/%s is not on any node yet", w.Namespace, w.Pod).
			Because("it is not scheduled yet, so nothing of it runs").
			Fixed("ask from the running pod")
	case c.Node != w.Node:
		// Neither node is named: the agent of one is told nothing of another.
		return problem.New(problem.NodeMismatch, "the pod %s/%s does not run on this agent's node", w.Namespace, w.Pod)
	}
	return nil
}

// unfinished is the problem of an exchange that ctx ended.
func unfinished(ctx context.Context) *problem.Problem {
	p := problem.New(problem.AuthUnavailable, "podid-auth did not finish the exchange in time")
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return p.Because("whoever asked is gone")
	}
	return p.Because("%v; STS or the store of associations was slow", context.Cause(ctx)).
		Fixed("nothing in the pod: it asks again; if this lasts, look at the STS endpoint and the way there")
}

func (s *Service) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}
