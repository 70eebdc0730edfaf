package auth

import (
	"errors"
	"net/http"
	"strings"

	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/internal/sigv4"
	"github.com/openpodidentity/podid/problem"
)

// caller proves who sent r, by the agent's own token or, where that is admitted,
// by a signature; r.Body is replaced by the verified payload then.
func (h *Handler) caller(r *http.Request) (Caller, error) {
	scheme, rest, err := authorization(r)
	switch {
	case err != nil:
		return Caller{}, err
	case strings.EqualFold(scheme, "Bearer"):
		return h.agent(r, rest)
	case scheme == "AWS4-HMAC-SHA256":
		if h.SigV4 == nil {
			return Caller{}, problem.New(problem.SigV4AgentsOff, "the request is signed with an access key")
		}
		return h.signer(r)
	}
	return Caller{}, problem.New(problem.CallerUnproven, "the request's Authorization is neither a bearer token nor an AWS signature")
}

// listener proves who wants to listen: an agent. A signature proves no node.
func (h *Handler) listener(r *http.Request) (Caller, error) {
	scheme, rest, err := authorization(r)
	switch {
	case err != nil:
		return Caller{}, err
	case !strings.EqualFold(scheme, "Bearer"):
		return Caller{}, problem.New(problem.CallerUnproven, "the stream is for agents, and the request's Authorization is no bearer token")
	}
	return h.agent(r, rest)
}

func authorization(r *http.Request) (scheme, rest string, err error) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", "", problem.New(problem.CallerUnproven, "the request has %d Authorization headers, not one", len(values))
	}
	scheme, rest, _ = strings.Cut(values[0], " ")
	return scheme, strings.TrimSpace(rest), nil
}

// agent is the agent of the node that the token's pod runs on. The node is the
// live pod's, never a claim alone: whoever may create tokens can claim one.
func (h *Handler) agent(r *http.Request, raw string) (Caller, error) {
	if h.Agents == nil || h.AgentSubject == "" {
		return Caller{}, problem.New(problem.CallerUnproven, "no agents are admitted here")
	}
	t, err := h.Agents.Verifier.Verify(r.Context(), raw)
	if err == nil {
		// The subject first: whoever may create tokens can have one of this audience for
		// a pod that is gone, and each would cost a question to the API server.
		if subject := t.Workload.Subject(); subject != h.AgentSubject {
			return Caller{}, problem.New(problem.CallerUnproven, "%s is not the agent's service account", subject)
		}
		t, err = h.Agents.Look(r.Context(), t)
	}
	if err != nil {
		if _, told := errors.AsType[*problem.Problem](err); !told && r.Context().Err() != nil {
			return Caller{}, unfinished(r.Context()).From(err)
		}
		p := problem.Of(err)
		if problem.Lookup(p.Code).Kind != problem.Refused {
			return Caller{}, p
		}
		return Caller{}, problem.New(problem.CallerUnproven, "the agent's own token is refused, %s: %s", p.Code, p.What).From(err)
	}
	if t.Workload.Node == "" {
		return Caller{}, problem.New(problem.CallerUnproven, "the agent's pod %s is on no node", t.Workload.Pod)
	}
	return Caller{Node: t.Workload.Node, Token: t}, nil
}

const signingName = "eks-auth"

func (h *Handler) signer(r *http.Request) (Caller, error) {
	v, err := h.SigV4.Verify(r)
	if err != nil {
		if _, is := errors.AsType[*http.MaxBytesError](err); is {
			return Caller{}, tooLarge()
		}
		e, is := errors.AsType[*sigv4.Error](err)
		if is && e.Status >= http.StatusInternalServerError {
			return Caller{}, problem.New(problem.AuthUnavailable, "the caller's access key could not be looked up").From(err)
		}
		p := problem.New(problem.CallerUnproven, "the request's signature is refused").
			Because("whoever signs must sign with an access key that is known here").
			Fixed("check the caller's access key, secret, session token and clock").From(err)
		if is {
			p.What += ", " + e.Code + ": " + e.Message
		}
		return Caller{}, p
	}
	if err := h.scope(v); err != nil {
		return Caller{}, err
	}
	if h.Permit != nil {
		if err := h.Permit(r); err != nil {
			if p, is := errors.AsType[*problem.Problem](err); is {
				return Caller{}, p
			}
			return Caller{}, problem.New(problem.PermissionDenied, "%s", awswire.AsError(err).Message).
				Because("whoever signs as an agent needs a permission that pods must not have").
				Fixed("allow eks-auth:AssumeRoleForPodIdentity to the agent's role").From(err)
		}
	}
	return Caller{AccessKeyID: v.AccessKeyID}, nil
}

// scope holds a signature to EKS Auth in the cluster's region: one made for
// another service or region was not made for this request.
func (h *Handler) scope(v sigv4.Verified) error {
	region := h.Service.Cluster.Region
	var p *problem.Problem
	switch {
	case v.Service != signingName:
		p = problem.New(problem.CallerUnproven, "the request is signed for the service %q, not for %q", v.Service, signingName).
			Fixed("sign for the service %s", signingName)
	case v.Region != region:
		p = problem.New(problem.CallerUnproven, "the request is signed for the region %q, and the cluster's is %q", v.Region, region).
			Fixed("set the client's region to %s", region)
	default:
		return nil
	}
	return p.Because("whoever signs must sign for %s in the cluster's region", signingName)
}
