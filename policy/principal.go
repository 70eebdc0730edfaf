package policy

import (
	"regexp"
	"strings"
)

// grantee is one compiled value of a Principal element
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html).
type grantee struct {
	kind   granteeKind
	value  string // the account for an account, the ARN, service, provider otherwise
	prefix string // of the ARNs of an account's principals: "arn:aws:" if it is named by its ARN
	source string // TYPE:value as written
}

type granteeKind int

const (
	everyone granteeKind = iota
	accountGrantee
	arnGrantee // user, role or session
	serviceGrantee
	federatedGrantee
	canonicalGrantee
	uniqueIDGrantee // what IAM leaves in place of a deleted user or role
)

// closeness says how closely a Principal element names who makes the request;
// it decides which other policies limit the grant.
type closeness int

const (
	unnamed       closeness = iota
	namedAccount            // the account: its administrator must allow too
	namedRole               // the role, or the federated user's user, behind the session: boundary and session policy still limit
	namedDirectly           // the user, the session, the service, or everyone
)

var (
	accountID    = regexp.MustCompile(`^[0-9]{12}$`)
	rootARN      = regexp.MustCompile(`^(arn:[a-z-]+:)iam::([0-9]{12}):root$`)
	principalARN = regexp.MustCompile(`^arn:[a-z-]+:(iam::[0-9]{12}:(user|role)/|iam::cloudfront:user/|sts::[0-9]{12}:(assumed-role/[^/]+/|federated-user/))[^*?]+$`)
	uniqueID     = regexp.MustCompile(`^A[A-Z0-9]{15,127}$`)
	serviceName  = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*\.[a-z0-9.-]+$`)
	canonicalID  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// compileGrantee compiles one value of a Principal element of the given type;
// expected says what belongs there if it does not compile.
func compileGrantee(kind, value string) (g grantee, expected string) {
	g.source = kind + ":" + value
	g.value = value
	switch kind {
	case "AWS":
		switch {
		case value == "*":
			g.kind = everyone
		case accountID.MatchString(value):
			g.kind = accountGrantee
		case rootARN.MatchString(value):
			root := rootARN.FindStringSubmatch(value)
			g.kind, g.prefix, g.value = accountGrantee, root[1], root[2]
		case principalARN.MatchString(value):
			g.kind = arnGrantee
		case uniqueID.MatchString(value):
			g.kind = uniqueIDGrantee
		default:
			return g, `"*", an account ID, or the whole ARN of an account's root, a user, a role or a session (no wildcards)`
		}
	case "Service":
		g.kind = serviceGrantee
		if !serviceName.MatchString(value) {
			return g, "the name of a service, such as pods.eks.amazonaws.com"
		}
	case "Federated":
		g.kind = federatedGrantee
		if value == "" || strings.ContainsAny(value, "*?") {
			return g, "the ARN of an identity provider, or a provider's domain name"
		}
	case "CanonicalUser":
		g.kind = canonicalGrantee
		if !canonicalID.MatchString(value) {
			return g, "a canonical user ID of 64 hexadecimal digits"
		}
	}
	return g, ""
}

// names reports how closely g names p.
func (g *grantee) names(p *Principal) closeness {
	switch g.kind {
	case everyone:
		return namedDirectly
	case accountGrantee:
		if p.Account == g.value && p.inIAM() && strings.HasPrefix(p.ARN, g.prefix) {
			return namedAccount
		}
	case canonicalGrantee:
		if p.CanonicalID == g.value && p.inIAM() {
			return namedAccount
		}
	case arnGrantee:
		switch {
		case p.Kind != Root && p.inIAM() && p.ARN == g.value:
			return namedDirectly
		case p.behind() == g.value:
			return namedRole
		}
	case serviceGrantee:
		if p.Kind == Service && p.ARN == g.value {
			return namedDirectly
		}
	case federatedGrantee:
		if p.Kind == Federated && p.ARN == g.value {
			return namedDirectly
		}
	}
	return unnamed
}

// names reports how closely the statement's Principal element names the caller.
// A statement without one speaks of whoever the policy is attached to.
func (s *statement) names(c *context) closeness {
	if s.principals == nil {
		return namedDirectly
	}
	p := &c.req.Principal
	if s.notPrincipal {
		if s.excepts(c) {
			return unnamed
		}
		return namedDirectly
	}
	best := unnamed
	for i := range s.principals {
		best = max(best, s.principals[i].names(p))
	}
	return best
}

// behind is the ARN of the role or the user that a session was made of; empty for
// others, and for a federated root user, who is behind as the account.
func (p *Principal) behind() string {
	switch {
	case p.Kind == AssumedRole:
		return p.RoleARN
	case p.Kind == FederatedUser && !p.federatedRoot():
		return p.UserARN
	}
	return ""
}

// federatedRoot reports whether the root user called sts:GetFederationToken.
func (p *Principal) federatedRoot() bool {
	return p.Kind == FederatedUser && rootARN.MatchString(p.UserARN)
}

// excepts reports whether NotPrincipal exempts the caller: only if it lists the
// caller with everything it is made of — the account, and for a session the role
// or user and the session — and never if the caller has a permissions boundary
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html).
func (s *statement) excepts(c *context) bool {
	p := &c.req.Principal
	if c.bounded && p.inIAM() && p.Kind != Root {
		return false
	}
	var account, role, self bool
	for i := range s.principals {
		g := &s.principals[i]
		if g.kind == everyone {
			return true
		}
		switch g.names(p) {
		case namedAccount:
			account = true
		case namedRole:
			role = true
		case namedDirectly:
			self = true
		}
	}
	switch p.Kind {
	case Root:
		return account
	case User:
		return account && self
	case AssumedRole, FederatedUser:
		return account && (role || p.behind() == "") && self
	}
	return self
}

// String is how reasons call the principal.
func (p Principal) String() string {
	switch {
	case p.Kind == Anonymous:
		return "Anyone (anonymous)"
	case p.Kind == AssumedRole && p.RoleARN != "":
		return p.ARN + " (a session of " + p.RoleARN + ")"
	case p.Kind == FederatedUser && p.UserARN != "":
		return p.ARN + " (federated by " + p.UserARN + ")"
	}
	return p.ARN
}
