package iam

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/policy"
)

// Caller is a proved caller: who signed the request, and what they brought along.
type Caller struct {
	policy.Principal
	// Identity is the user, or the role behind a session, as it was when the
	// request came in; nil for the service.
	Identity    *Identity
	UserID      string // aws:userid: AIDA…, AROA…:SESSION
	AccessKeyID string

	// Session is nil for long-term keys.
	Session *Session

	// SourceARN and SourceAccount are what the service principal acts for.
	SourceARN, SourceAccount string
}

// Session is what temporary credentials carry.
type Session struct {
	Issued         time.Time
	Expires        time.Time
	Tags           []podid.Tag // transitive ones included
	Transitive     []string    // keys among Tags
	SourceIdentity string
	// Policies are the session policies passed inline, PolicyARNs the managed
	// ones. Without any of both the session has what its identity has.
	Policies   []*policy.Policy
	PolicyARNs []string
}

// Request is one request on its way through the local AWS: its caller and its
// condition keys.
type Request struct {
	Caller *Caller
	Keys   policy.Keys // of the HTTP request: aws:SourceIp, aws:CurrentTime, …
}

type contextKey struct{}

// NewContext gives ctx the request.
func NewContext(ctx context.Context, r *Request) context.Context {
	return context.WithValue(ctx, contextKey{}, r)
}

// FromContext is the request that NewContext gave; nil if none.
func FromContext(ctx context.Context) *Request {
	r, _ := ctx.Value(contextKey{}).(*Request)
	return r
}

// Question is one action on one resource.
type Question struct {
	Action   string
	Resource string // ARN
	// Keys are those of this action; they win over the request's.
	Keys policy.Keys
	// Trust is the role whose trust policy has a say; nil for none.
	Trust *Identity
	// ResourceAccount is the account of the resource; this one if empty.
	ResourceAccount string
}

// Authorize answers q for the caller of r: nil, or AccessDenied with AWS's text. Also
// are further actions that the same call needs; the first that is refused is named.
//
// AWS's sentence is followed by one more that says what would allow the
// request: a stated divergence (docs/components/localaws.md), since the local
// AWS is also a teacher and keeps nobody's secrets from their owner.
func (s *State) Authorize(r *Request, q Question, also ...string) error {
	if r == nil || r.Caller == nil {
		return awswire.Errorf(http.StatusForbidden, "AccessDenied", "The request carries no proved caller.")
	}
	if q.Trust != nil && q.Trust.Trust.Policy() == nil { // without it, an identity policy alone would do
		return awswire.Errorf(http.StatusForbidden, "AccessDenied", "The trust policy of role %s is not known.", q.Trust.Name)
	}
	call := []policy.Decision{s.Decide(r, q)}
	for _, action := range also {
		next := q
		next.Action = action
		call = append(call, s.Decide(r, next))
	}
	if !slices.ContainsFunc(call, func(d policy.Decision) bool { return !d.Allowed }) {
		return nil
	}
	return denied(r.Caller, policy.ReportCall(call...))
}

// Decide is the decision that Authorize enforces, with its reasons. r has a
// caller, and a role in q.Trust its trust policy.
func (s *State) Decide(r *Request, q Question) policy.Decision {
	set := s.policiesOf(r.Caller)
	if q.Trust != nil {
		set.Resource = []*policy.Policy{q.Trust.Trust.Policy()}
	}
	return policy.Evaluate(policy.Request{
		Principal: r.Caller.Principal, Action: q.Action, Resource: q.Resource,
		ResourceAccount: cmp.Or(q.ResourceAccount, s.Account),
		Keys:            s.keysFor(r, q.Keys),
	}, set)
}

// policiesOf gathers every policy that applies to a caller.
func (s *State) policiesOf(c *Caller) policy.Set {
	var set policy.Set
	if i := c.Identity; i != nil {
		set.Identity = make([]*policy.Policy, 0, len(i.Inline)+len(i.Attached))
		for _, name := range sortedKeys(i.Inline) {
			set.Identity = append(set.Identity, i.Inline[name].Policy())
		}
		set.Identity = s.appendManaged(set.Identity, policy.Identity, i.Attached...)
		if i.Boundary != "" {
			set.Boundary = s.appendManaged([]*policy.Policy{}, policy.Boundary, i.Boundary)
		}
	}
	if c.Session != nil && len(c.Session.Policies)+len(c.Session.PolicyARNs) > 0 {
		set.Session = append([]*policy.Policy{}, c.Session.Policies...)
		set.Session = s.appendManaged(set.Session, policy.Session, c.Session.PolicyARNs...)
	}
	return set
}

// appendManaged leaves out a policy that is gone: it allows nothing.
func (s *State) appendManaged(list []*policy.Policy, t policy.Type, arns ...string) []*policy.Policy {
	for _, arn := range arns {
		if p, err := s.ManagedPolicy(arn); err == nil {
			list = append(list, p.as[t])
		}
	}
	return list
}

// keysFor merges the keys of the request, of its caller and of the action.
// Those that follow from the principal itself (aws:PrincipalArn, aws:username,
// aws:ResourceAccount, …) policy.Evaluate knows by itself.
//
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
func (s *State) keysFor(r *Request, own policy.Keys) policy.Keys {
	keys := make(policy.Keys, len(r.Keys)+len(own)+16)
	maps.Copy(keys, r.Keys)
	c := r.Caller
	set := func(key, value string) { keys[key] = []string{value} }
	if c.Kind == policy.Service {
		keys["aws:PrincipalServiceNamesList"] = []string{c.ARN}
		if c.SourceARN != "" {
			set("aws:SourceArn", c.SourceARN)
		}
		if c.SourceAccount != "" {
			set("aws:SourceAccount", c.SourceAccount)
		}
	} else {
		set("aws:userid", c.UserID)
	}
	for _, tag := range c.Tags() {
		set("aws:PrincipalTag/"+tag.Key, tag.Value)
	}
	if c.Session != nil {
		set("aws:TokenIssueTime", c.Session.Issued.UTC().Format(time.RFC3339))
		set("aws:MultiFactorAuthPresent", "false")
		if c.Session.SourceIdentity != "" {
			set("aws:SourceIdentity", c.Session.SourceIdentity)
		}
	}
	maps.Copy(keys, own)
	return keys
}

// Tags are the principal's tags: those of the user or role, the session's over them.
func (c *Caller) Tags() []podid.Tag {
	switch {
	case c.Identity == nil:
		return nil
	case c.Session == nil || len(c.Session.Tags) == 0:
		return c.Identity.Tags
	}
	return mergeTags(c.Identity.Tags, c.Session.Tags)
}

// denied words a refusal.
func denied(c *Caller, r policy.Report) *awswire.Error {
	resource := r.Resource
	if strings.HasPrefix(r.Action, "s3:") {
		resource = `"` + resource + `"`
	}
	return awswire.Errorf(http.StatusForbidden, "AccessDenied", "User: %s is not authorized to perform: %s on resource: %s %s. Fix: %s.",
		c.ARN, r.Action, resource, r.Because, r.Fix)
}
