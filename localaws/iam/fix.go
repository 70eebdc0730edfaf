package iam

import (
	"fmt"
	"strings"

	"github.com/openpodidentity/podid/policy"
)

// fix says what would allow the request, in the policy that is the first to
// stand in the way.
func fix(c *Caller, q Question, set policy.Set, d policy.Decision) string {
	reasons := d.Reasons()
	if d.Explicit {
		for _, r := range reasons {
			if r.Applied && r.Effect == "Deny" {
				return fmt.Sprintf("remove or narrow the Deny %s of %s", statement(r), r.Policy)
			}
		}
	}
	var where string
	t := missing(q, set, reasons)
	switch t {
	case policy.Trust:
		where = fmt.Sprintf("allow %s to %s in the trust policy of role %s", q.Action, trusted(c), q.Trust.Name)
	case policy.Boundary:
		where = fmt.Sprintf("allow %s on %s in %s, the permissions boundary of %s", q.Action, q.Resource, c.Identity.Boundary, c.describe())
	case policy.Session:
		where = fmt.Sprintf("allow %s on %s in the session policy that the session was made with", q.Action, q.Resource)
	default:
		where = fmt.Sprintf("allow %s on %s in a policy of %s", q.Action, q.Resource, c.describe())
	}
	return where + nearMiss(t, reasons)
}

// missing is the type of policy that has to allow and does not.
func missing(q Question, set policy.Set, reasons []policy.Reason) policy.Type {
	allows := func(t policy.Type) bool {
		for _, r := range reasons {
			if r.Type == t && r.Applied && r.Effect == "Allow" {
				return true
			}
		}
		return false
	}
	switch {
	case q.Trust != nil && !allows(policy.Trust):
		return policy.Trust
	case !allows(policy.Identity):
		return policy.Identity
	case set.Boundary != nil && !allows(policy.Boundary):
		return policy.Boundary
	case set.Session != nil && !allows(policy.Session):
		return policy.Session
	}
	return policy.Identity
}

// trusted is the principal that a trust policy would name.
func trusted(c *Caller) string {
	if c.Kind == policy.AssumedRole {
		return c.RoleARN
	}
	return c.ARN
}

// nearMiss names an Allow statement that would do but for its condition.
func nearMiss(t policy.Type, reasons []policy.Reason) string {
	for _, r := range reasons {
		if r.Type == t && !r.Applied && r.Effect == "Allow" && r.Clause == "Condition" {
			return fmt.Sprintf("; the %s of %s would, but for its condition %s on %s (wanted %s, the request has %s)",
				statement(r), r.Policy, r.Operator, r.Key, values(r.Wanted), values(r.Found))
		}
	}
	return ""
}

func statement(r policy.Reason) string {
	if r.Sid != "" {
		return "statement " + r.Sid
	}
	return fmt.Sprintf("statement %d", r.Index+1)
}

func values(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
