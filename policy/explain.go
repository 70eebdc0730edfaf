package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Explain is the decision in words: the answer, the statement that decides with
// its place, and for a denial what was asked, what was found, and the smallest
// change that would allow the request.
func (d Decision) Explain() string {
	var b strings.Builder
	answer, verb := "Yes", "may"
	if !d.Allowed {
		answer, verb = "No", "may not"
	}
	fmt.Fprintf(&b, "%s. %s %s %s", answer, d.req.Principal, verb, d.req.Action)
	if d.req.Resource != "" {
		fmt.Fprintf(&b, " on %s", d.req.Resource)
	}
	b.WriteString(".\n")
	switch {
	case d.Explicit:
		d.explainDeny(&b)
	case d.Allowed:
		d.explainAllow(&b)
	default:
		d.explainLacks(&b)
	}
	return strings.TrimRight(b.String(), "\n")
}

func (d *Decision) explainDeny(b *strings.Builder) {
	for _, r := range d.Reasons() {
		if r.Applied && r.Effect == "Deny" {
			fmt.Fprintf(b, "%s denies it explicitly, and a Deny beats every Allow.\n", capital(r.Statement()))
		}
	}
	fmt.Fprintf(b, "To allow it: %s.\n", d.Fix())
}

// Fix is the smallest change to the policies that would allow the request, as a
// clause in the imperative; empty if it is allowed.
func (d Decision) Fix() string {
	var changes []string
	if d.Explicit {
		for _, r := range d.Reasons() {
			if r.Applied && r.Effect == "Deny" {
				changes = append(changes, d.lift(r))
			}
		}
	}
	for _, t := range d.Missing() {
		changes = append(changes, d.change(t, d.nearest(t)))
	}
	return strings.Join(changes, "; and ")
}

// lift is the smallest change that ends a Deny.
func (d *Decision) lift(r Reason) string {
	switch {
	case !awsManaged(r.Policy):
		return "remove " + r.short() + ", or narrow it so that it no longer covers this request"
	case r.Type == Boundary:
		return "use " + ofYourOwn(r.Type, r.Policy)
	case r.Type == Session:
		return "leave " + r.Policy + " out of the session's policies"
	}
	return "detach " + r.Policy + " from " + cmp.Or(d.req.Principal.identityARN(), "the caller")
}

// change is the smallest change to policies of type t: to the nearest statement,
// or a statement of its own.
func (d *Decision) change(t Type, near []Reason) string {
	if near == nil || awsManaged(near[0].Policy) {
		return "add a statement such as " + d.allow(t) + " to " + d.where(t)
	}
	changes := make([]string, len(near))
	for i, r := range near {
		changes[i] = r.Remedy(&d.req)
	}
	return strings.Join(changes, ", and ")
}

func (d *Decision) explainAllow(b *strings.Builder) {
	if d.req.Principal.Kind == Root && !d.findings.allowed[Identity] && d.findings.granted != namedDirectly {
		b.WriteString("The root user of an account may do everything in it.\n")
	}
	for _, r := range d.Reasons() {
		if r.Applied && r.Effect == "Allow" {
			fmt.Fprintf(b, "%s allows it.\n", capital(r.Statement()))
		}
	}
}

func (d *Decision) explainLacks(b *strings.Builder) {
	for _, t := range d.Missing() {
		near := d.nearest(t)
		fmt.Fprintf(b, "No %s allows it%s.\n", t, d.role(t))
		if near != nil {
			mismatches := make([]string, len(near))
			for i, r := range near {
				mismatches[i] = r.Mismatch()
			}
			fmt.Fprintf(b, "The nearest is %s, but %s.\n", near[0].Statement(), strings.Join(mismatches, ", and "))
		}
		fmt.Fprintf(b, "To allow it: %s.\n", d.change(t, near))
	}
}

// role says why the type counts, where that is not plain.
func (d *Decision) role(t Type) string {
	sameAccount := d.req.ResourceAccount == "" || d.req.ResourceAccount == d.req.Principal.Account
	switch {
	case t == Boundary || t == Session || t == ServiceControl || t == ResourceControl:
		return ", and it limits what the others grant"
	case t == Identity && d.findings.trust && d.findings.granted == namedAccount && sameAccount:
		return "; the trust policy names the account only, so that the caller's own policies must allow it as well"
	case d.req.Principal.inIAM() && !sameAccount:
		return "; the resource is in account " + d.req.ResourceAccount + ", and across accounts both sides must allow"
	case t == Trust:
		return "; a role is assumed only by whom its trust policy allows"
	}
	return ""
}

// nearest is what the Allow statement of type t that came nearest to applying
// misses; nil if none came near: then a statement of its own is the smaller change.
func (d *Decision) nearest(t Type) (best []Reason) {
	const near = 2
	c := context{req: &d.req, bounded: d.set.Boundary != nil}
	d.set.each(&d.req.Principal, func(p *Policy, of Type, _ int) {
		if of == Resource {
			of = p.Type
		}
		if of != t {
			return
		}
		for i := range p.statements {
			s := &p.statements[i]
			if s.deny {
				continue
			}
			misses := s.misses(&c, p)
			if len(misses) > near || slices.ContainsFunc(misses, Reason.foreign) {
				continue
			}
			if best == nil || len(misses) < len(best) || len(misses) == len(best) && later(misses[0], best[0]) {
				best = misses
			}
		}
	})
	return best
}

// misses are all clauses of a statement that fail, not only the first one.
func (s *statement) misses(c *context, p *Policy) (misses []Reason) {
	add := func(v verdict) { misses = append(misses, s.reason(c, p, v)) }
	if s.names(c) == unnamed {
		add(verdict{failed: principalClause})
	}
	if s.matchesAction(c.req.Action) == s.notAction {
		add(verdict{failed: actionClause})
	}
	if s.resources != nil {
		if ok, missing := s.matchesResource(c); ok == s.notResource {
			add(verdict{failed: resourceClause, missing: missing})
		}
	}
	for i := range s.conditions {
		if ok, missing := s.conditions[i].holds(c); !ok {
			add(verdict{failed: conditionClause, at: i, missing: missing})
		}
	}
	return misses
}

// foreign reports whether the clause that failed is about the actions of other services.
func (r Reason) foreign() bool {
	if r.Clause != "Action" {
		return false
	}
	service, _, _ := strings.Cut(asciiLower(r.Found[0]), ":")
	return !slices.ContainsFunc(r.Wanted, func(s string) bool { return strings.HasPrefix(asciiLower(s), service+":") })
}

// later reports whether a's clause is tried after b's.
func later(a, b Reason) bool {
	order := []string{"Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
	return slices.Index(order, a.Clause) > slices.Index(order, b.Clause)
}

// where is the policy of type t that a statement may be added to: the one that
// applies, or a description where there are several or none.
func (d *Decision) where(t Type) string {
	if t == Identity {
		return "a policy of " + cmp.Or(d.req.Principal.identityARN(), "the caller")
	}
	var names []string
	d.set.each(&d.req.Principal, func(p *Policy, _ Type, _ int) {
		if p.Type == t {
			names = append(names, p.Name)
		}
	})
	switch {
	case len(names) != 1 || names[0] == "":
		return "the " + t.String()
	case awsManaged(names[0]):
		return ofYourOwn(t, names[0])
	case strings.Contains(names[0], t.String()) || t == Trust:
		return names[0]
	}
	return "the " + t.String() + " " + names[0]
}

// awsManaged reports whether the policy of this name is AWS's own, which nobody
// else can change.
func awsManaged(name string) bool {
	return strings.HasPrefix(name, "arn:") && strings.Contains(name, ":iam::aws:policy/")
}

// ofYourOwn is the policy of type t to use where AWS's own does not do. There is
// one boundary, and any number of session policies.
func ofYourOwn(t Type, managed string) string {
	if t == Boundary {
		return "a " + t.String() + " of your own, in place of " + managed
	}
	return "a " + t.String() + " of your own"
}

// allow is the statement that would do, in JSON.
func (d *Decision) allow(t Type) string {
	statement := statementJSON{Effect: "Allow", Action: d.req.Action, Resource: cmp.Or(d.req.Resource, "*")}
	switch t {
	case Trust:
		statement.Principal, statement.Resource = d.req.Principal.element(), ""
	case Resource:
		statement.Principal = d.req.Principal.element()
	case ResourceControl:
		statement.Principal = json.RawMessage(`"*"`)
	}
	text, err := marshal(statement, "", "")
	if err != nil {
		return "an Allow of " + d.req.Action
	}
	return string(text)
}

// element is the principal as a Principal element names it.
func (p *Principal) element() json.RawMessage {
	var v any = "*"
	switch p.Kind {
	case Service:
		v = map[string]string{"Service": p.ARN}
	case Federated:
		v = map[string]string{"Federated": p.ARN}
	case Root, User, AssumedRole:
		v = map[string]string{"AWS": cmp.Or(p.identityARN(), p.ARN)}
	}
	text, _ := json.Marshal(v) // strings and maps of strings always marshal
	return text
}
