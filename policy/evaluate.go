package policy

import "regexp"

// clause is a part of a statement, in the order in which they are tried.
type clause int

const (
	applied clause = iota
	principalClause
	actionClause
	resourceClause
	conditionClause
)

func (c clause) String() string {
	return [...]string{"", "Principal", "Action", "Resource", "Condition"}[c]
}

// verdict is what became of one statement.
type verdict struct {
	failed  clause
	names   closeness
	at      int    // the condition that failed
	missing string // the key of a policy variable without a value
}

// try decides whether the statement applies to the request.
func (s *statement) try(c *context) verdict {
	v := verdict{names: s.names(c)}
	if v.names == unnamed {
		v.failed = principalClause
		return v
	}
	if s.matchesAction(c.req.Action) == s.notAction {
		v.failed = actionClause
		return v
	}
	if s.resources != nil {
		ok, missing := s.matchesResource(c)
		if ok == s.notResource {
			v.failed, v.missing = resourceClause, missing
			return v
		}
	}
	for i := range s.conditions {
		if ok, missing := s.conditions[i].holds(c); !ok {
			v.failed, v.at, v.missing = conditionClause, i, missing
			return v
		}
	}
	return v
}

func (s *statement) matchesAction(name string) bool {
	for i := range s.actions {
		if globFold(s.actions[i].pattern, name) {
			return true
		}
	}
	return false
}

func (s *statement) matchesResource(c *context) (ok bool, missing string) {
	for i := range s.resources {
		ok, m := s.resources[i].match(c, c.req.Resource)
		if ok {
			return true, ""
		}
		if m != "" {
			missing = m
		}
	}
	return false, missing
}

// findings is what the statements of all policies say together.
type findings struct {
	denied  [ResourceControl + 1]bool // a Deny applied, by type
	allowed [ResourceControl + 1]bool // an Allow applied, by type; of service control policies at every level
	// granted is how closely the resource policies' Allow names the caller.
	granted closeness
	// trust is set if the resource policy is a role trust policy.
	trust bool
	// must is set if the resource policy must itself allow, in the same account
	// too: that of a role or of a KMS key.
	must bool
}

var (
	keyARN        = regexp.MustCompile(`^arn:[a-z-]+:kms:[^:]*:[^:]*:key/`)
	serviceLinked = regexp.MustCompile(`^arn:[a-z-]+:iam::[0-9]{12}:role/aws-service-role/`)
)

// inIAM reports whether the caller is an account's principal, to whom identity
// policies, boundaries, session policies and service control policies apply. A
// service, a federated identity at the door and an anonymous caller have none.
func (p *Principal) inIAM() bool {
	return p.Kind == Root || p.Kind == User || p.Kind == AssumedRole || p.Kind == FederatedUser
}

// each calls do with every policy that applies to the request and the level it
// is of (0 but for service control policies), in the order of
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html.
func (s *Set) each(p *Principal, do func(p *Policy, t Type, level int)) {
	iam := p.inIAM()
	list := func(policies []*Policy, t Type, level int) {
		for _, one := range policies {
			if one != nil {
				do(one, t, level)
			}
		}
	}
	list(s.ResourceControl, ResourceControl, 0)
	if iam {
		for i, level := range s.ServiceControl {
			list(level, ServiceControl, i)
		}
	}
	list(s.Resource, Resource, 0)
	if iam {
		list(s.Identity, Identity, 0)
		list(s.Boundary, Boundary, 0)
		list(s.Session, Session, 0)
	}
}

// organization is the organization's policies that apply to the request: none to
// service-linked roles, and no resource control policies to their trust policies
// and to kms:RetireGrant
// (https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps.html#not-restricted-by-scp,
// https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_rcps.html#actions-not-restricted-by-rcps).
func (r *Request) organization(set *Set) (scp [][]*Policy, rcp []*Policy) {
	switch {
	case set.ServiceControl == nil && set.ResourceControl == nil:
	case r.Principal.Kind == AssumedRole && serviceLinked.MatchString(r.Principal.RoleARN):
		return nil, nil
	case serviceLinked.MatchString(r.Resource) || equalFold(r.Action, "kms:retiregrant"):
		return set.ServiceControl, nil
	}
	return set.ServiceControl, set.ResourceControl
}

// Evaluate decides. It has no error: what it does not know denies, with a
// reason that names it.
//
// The logic is AWS's
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html):
// a Deny that applies in any policy decides. Service control and resource
// control policies, boundary and session policy limit. Within one account an
// identity policy or a resource policy grants; across accounts both must. How
// closely a resource policy names the caller decides what limits its grant: the
// user, the session or everyone — nothing but the organization's policies; the
// role or user behind the session — boundary and session policy too; the account
// — it only permits that account's identity policies to grant. The policies of a role
// (its trust policy) and of a KMS key must always allow themselves.
//
// A federated user's session has what its user has (everything, for the root
// user), limited by its session policy; without one it has only what a resource
// policy that names the session grants
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_getfederationtoken.html).
func Evaluate(req Request, set Set) Decision {
	req.ResourceAccount = req.resourceAccount()
	d := Decision{req: req, set: set}
	d.set.ServiceControl, d.set.ResourceControl = req.organization(&set)
	f := &d.findings
	c := context{req: &d.req, bounded: set.Boundary != nil}
	levels := 0 // of service control policies that allow, without a gap from the root
	d.set.each(&d.req.Principal, func(p *Policy, t Type, level int) {
		if t == Resource {
			f.trust = f.trust || p.Type == Trust
			f.must = f.trust || keyARN.MatchString(d.req.Resource)
		}
		for i := range p.statements {
			s := &p.statements[i]
			v := s.try(&c)
			switch {
			case v.failed != applied:
			case s.deny:
				f.denied[t] = true
			case t == ServiceControl:
				if level == levels {
					levels++
				}
			default:
				f.allowed[t] = true
				if t == Resource {
					f.granted = max(f.granted, v.names)
				}
			}
		}
	})
	f.allowed[ServiceControl] = levels > 0 && levels == len(set.ServiceControl)
	for _, denied := range f.denied {
		if denied {
			d.Explicit = true
			return d
		}
	}
	d.Allowed = d.lacks() == 0
	return d
}

// lacks is the set of grants that an implicit denial lacks: one bit by Type, in
// the order in which AWS checks ([checks]).
type lacks uint8

func (l *lacks) add(t Type, missing bool) {
	if missing {
		*l |= 1 << t
	}
}

func (l lacks) has(t Type) bool { return l&(1<<t) != 0 }

// checks is the order in which AWS looks at the types of policies
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html).
var checks = [...]Type{ResourceControl, ServiceControl, Resource, Identity, Boundary, Session}

// lacks says which grants are missing; none means that the request is allowed.
func (d *Decision) lacks() (l lacks) {
	f, p := &d.findings, &d.req.Principal
	if !p.inIAM() {
		l.add(Resource, f.granted != namedDirectly)
		return l
	}
	l.add(ServiceControl, d.set.ServiceControl != nil && !f.allowed[ServiceControl])
	sameAccount := d.req.ResourceAccount == p.Account
	if sameAccount && f.granted == namedDirectly {
		return l
	}
	resource := (f.must || !sameAccount) && f.granted == unnamed
	l.add(Resource, resource)
	if resource && sameAccount && (p.Kind == User || p.Kind == FederatedUser) {
		return l // a resource policy that names the user is all it takes
	}
	// In one account a resource policy that names the role grants by itself; a
	// trust policy that names nobody would do so too, once it did.
	grants := f.granted == namedRole || resource
	if !sameAccount || !grants {
		l.add(Identity, !f.allowed[Identity] && p.Kind != Root && !p.federatedRoot())
	}
	l.add(Boundary, d.set.Boundary != nil && !f.allowed[Boundary])
	l.add(Session, (d.set.Session != nil || p.Kind == FederatedUser) && !f.allowed[Session])
	return l
}

// Because is AWS's own clause for a denial: "because no identity-based policy
// allows the s3:ListBucket action", "with an explicit deny in a permissions
// boundary", … It is empty for an allowed request. AWS writes it after "User: ARN
// is not authorized to perform: ACTION on resource: ARN "
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html).
func (d Decision) Because(req Request) string {
	if d.Allowed {
		return ""
	}
	if d.Explicit {
		return "with an explicit deny in " + d.denier()
	}
	lacks := d.lacks()
	for _, t := range checks {
		if lacks.has(t) {
			return "because no " + d.called(t) + " allows the " + req.Action + " action"
		}
	}
	return ""
}

// denier is the first type of policy whose Deny applied.
func (d *Decision) denier() string {
	for _, t := range checks {
		if d.findings.denied[t] {
			switch name := d.called(t); {
			case t == Resource && d.findings.trust:
				return "the " + name
			case t == Identity:
				return "an " + name
			default:
				return "a " + name
			}
		}
	}
	return ""
}

// Missing are the types of the policies that had to allow and did not, in the
// order in which AWS checks; none if the request is allowed or explicitly denied.
// A role's missing resource policy is Trust.
func (d Decision) Missing() []Type {
	if d.Allowed || d.Explicit {
		return nil
	}
	var missing []Type
	lacks := d.lacks()
	for _, t := range checks {
		switch {
		case !lacks.has(t):
		case t == Resource && d.findings.trust:
			missing = append(missing, Trust)
		default:
			missing = append(missing, t)
		}
	}
	return missing
}

// called is AWS's name of a type; the resource policy of a role is its trust policy.
func (d *Decision) called(t Type) string {
	if t == Resource && d.findings.trust {
		t = Trust
	}
	return t.String()
}

// Reasons are what every statement of every policy contributed: those that decide,
// or came nearest, are marked, and each that did not apply has the first clause
// that failed. The order is that of AWS's evaluation, then that of the documents.
func (d Decision) Reasons() []Reason {
	c := d.context()
	reasons := []Reason{}
	for _, a := range d.attached() {
		for i := range a.statements {
			s := &a.statements[i]
			v := s.try(&c)
			r := s.reason(&c, a.Policy, v)
			r.Level = a.level
			r.Decides = r.Applied && (d.Explicit && s.deny || d.Allowed && d.lets(a, v))
			reasons = append(reasons, r)
		}
	}
	for _, l := range d.missing() {
		if near := d.nearest(l); near != nil && !d.Explicit {
			for i := range reasons {
				r := &reasons[i]
				r.Nearest = r.Nearest || r.Policy == near[0].Policy && r.Type == near[0].Type && r.Level == near[0].Level && r.Number == near[0].Number
			}
		}
	}
	return reasons
}

// reason turns a verdict into what people read.
func (s *statement) reason(c *context, p *Policy, v verdict) Reason {
	r := Reason{
		Policy: p.Name, Type: p.Type, Sid: s.sid, Number: s.index + 1, Effect: "Allow",
		Applied: v.failed == applied, Clause: v.failed.String(), Variable: v.missing, Line: s.line, Column: s.col,
	}
	if s.deny {
		r.Effect = "Deny"
	}
	switch v.failed {
	case principalClause:
		r.Clause = negated(s.notPrincipal, r.Clause)
		for i := range s.principals {
			r.Wanted = append(r.Wanted, s.principals[i].source)
		}
		r.Found = []string{c.req.Principal.String()}
	case actionClause:
		r.Clause = negated(s.notAction, r.Clause)
		for i := range s.actions {
			r.Wanted = append(r.Wanted, s.actions[i].source)
		}
		r.Found = []string{c.req.Action}
	case resourceClause:
		r.Clause = negated(s.notResource, r.Clause)
		for i := range s.resources {
			r.Wanted = append(r.Wanted, s.resources[i].source)
		}
		r.Found, r.Key = []string{c.req.Resource}, v.missing
	case conditionClause:
		k := &s.conditions[v.at]
		r.Operator, r.Key, r.Wanted = k.label, k.key.name, k.wanted()
		r.Found = c.values(&k.key)
	}
	return r
}

func negated(not bool, clause string) string {
	if not {
		return "Not" + clause
	}
	return clause
}
