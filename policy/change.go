package policy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// ChangeKind is what a [Change] does.
type ChangeKind string

// The kinds of changes to policies, then to the request.
const (
	AddValue        ChangeKind = "addValue"        // Values (for Principal: Add) to a clause of a statement
	ReplaceValue    ChangeKind = "replaceValue"    // Values in place of those of a condition
	ReplaceOperator ChangeKind = "replaceOperator" // With in place of the Operator of a condition
	RemoveCondition ChangeKind = "removeCondition"
	RemoveStatement ChangeKind = "removeStatement" // or narrow it
	SetVersion      ChangeKind = "setVersion"      // With as the Version of the document
	AddStatement    ChangeKind = "addStatement"    // Add to the Policy, or to a new one if that is empty
	SetKey          ChangeKind = "setKey"          // the request's Key such that Operator holds for Values
	SetResource     ChangeKind = "setResource"     // the request's resource such that it matches Values
	SignRequest     ChangeKind = "signRequest"     // as somebody who is allowed
)

// Change is one step of the smallest change that would allow a refused request:
// to a policy, or to the request itself. It never drops what keeps tenants apart,
// and never edits a policy of AWS.
type Change struct {
	Do     ChangeKind `json:"do"`
	Policy string     `json:"policy,omitempty"` // Policy.Name; empty for a new policy
	Type   string     `json:"type,omitempty"`   // of the policy; empty for a change to the request
	// Level is the organization's level of a service control policy, from 1, the root.
	Level     int             `json:"level,omitempty"`
	Statement int             `json:"statement,omitempty"` // from 1
	Clause    string          `json:"clause,omitempty"`    // Principal, Action, NotAction, Resource, NotResource or Condition
	Operator  string          `json:"operator,omitempty"`  // of the condition
	Key       string          `json:"key,omitempty"`       // of the condition
	With      string          `json:"with,omitempty"`
	Values    []string        `json:"values,omitempty"`
	Add       json.RawMessage `json:"add,omitempty"`
	// Text is the change as a clause in the imperative.
	Text string `json:"text"`
	// Instead would do as well.
	Instead *Change `json:"instead,omitempty"`
}

// step is a change that can be tried.
type step struct {
	Change
	policy *Policy              // that edit is about
	edit   func(p *Policy) bool // a copy of policy; false if that cannot be
	ask    func(r *Request)     // a copy of the request
	typ    Type                 // of a new statement
}

// plan is steps that are of use together only.
type plan []step

// Changes are what would allow the request, tried: together they do. None if it
// is allowed. Whoever asks anonymously is told to sign, which nothing can prove.
func (d Decision) Changes() []Change {
	const most = 64 // one for each Deny and each grant that is missing
	var changes []Change
	var asked asked
	for !d.Allowed && len(changes) < most {
		p, next, ok := d.smallest(asked)
		for _, s := range p {
			changes = append(changes, s.Change)
			asked.note(s.Change)
		}
		if !ok {
			break
		}
		d = next
	}
	return changes
}

// asked is what earlier changes ask of the request, the values of which nobody
// knows yet.
type asked struct {
	keys     []string // in lower case
	resource string   // what it must match
}

func (a *asked) note(ch Change) {
	switch ch.Do {
	case SetKey:
		a.keys = append(a.keys, asciiLower(ch.Key))
	case SetResource:
		a.resource = ch.Values[0]
	}
}

func (a *asked) key(lower string) bool { return slices.Contains(a.keys, lower) }

// smallest is the first plan that leaves less to do than there was, with another
// one instead of it if there is one, and the decision after it. Changes to the
// request come first, since a change to a policy speaks of the request as it is.
func (d *Decision) smallest(asked asked) (best plan, next Decision, ok bool) {
	before := d.open()
	for _, o := range d.obstacles(asked) {
		p, after := d.first(o.plans, before)
		if p == nil {
			if p = o.last(); best != nil {
				continue
			}
			after, ok = d.after(p)
			ok = ok && after.open() < before
		} else {
			ok = true
		}
		asks := slices.ContainsFunc(p, func(s step) bool { return s.ask != nil })
		if asks || best == nil {
			best, next = p, after
		}
		if asks {
			return best, next, ok
		}
	}
	return best, next, ok
}

// first is the first of the plans that is of use.
func (d *Decision) first(plans []plan, before int) (best plan, next Decision) {
	for _, p := range plans {
		after, tried := d.after(p)
		switch {
		case !tried || after.open() >= before:
		case best == nil:
			best, next = p, after
		case len(best) == 1 && len(p) == 1:
			best[0].Instead = &p[0].Change
			return best, next
		}
	}
	return best, next
}

// obstacle is something that is in the way: plans that may help, best first, and
// one that surely does.
type obstacle struct {
	plans []plan
	last  func() plan
}

func (d *Decision) obstacles(asked asked) (list []obstacle) {
	c := d.context()
	for _, a := range d.attached() {
		for i := range a.statements {
			if s := &a.statements[i]; s.deny && s.try(&c).failed == applied {
				list = append(list, d.lift(a, s, asked))
			}
		}
	}
	for _, l := range d.missing() {
		o := obstacle{last: func() plan { return d.grant(l, asked) }}
		if near := d.nearest(l); near != nil && !awsManaged(near[0].Policy) {
			o.plans = d.mend(near, asked)
		}
		list = append(list, o)
	}
	return list
}

// open counts what is in the way: every Deny that applies and every grant that
// is missing.
func (d *Decision) open() int {
	if d.Allowed {
		return 0
	}
	n := len(d.missing())
	c := d.context()
	for _, a := range d.attached() {
		for i := range a.statements {
			if s := &a.statements[i]; s.deny && s.try(&c).failed == applied {
				n++
			}
		}
	}
	return n
}

// after is the decision once the plan is carried out; false if it cannot be.
func (d *Decision) after(p plan) (Decision, bool) {
	req, set := d.req, d.set
	for _, s := range p {
		switch {
		case s.ask != nil:
			req.Keys = maps.Clone(req.Keys)
			if req.Keys == nil {
				req.Keys = make(Keys)
			}
			s.ask(&req)
		case s.edit != nil:
			edited := s.policy.clone()
			if !s.edit(edited) {
				return Decision{}, false
			}
			set = set.replace(s.policy, edited)
		case s.Add != nil:
			added, err := parseStatement(s.typ, s.policy, s.Add)
			if err != nil {
				return Decision{}, false
			}
			set = set.add(s.typ, s.Level, added)
		default:
			return Decision{}, false
		}
	}
	return Evaluate(req, set), len(p) > 0
}

// attached is a policy with the place that it has in the set.
type attached struct {
	*Policy
	as    Type // Trust for a resource policy that is one
	level int  // of a service control policy, from 1
}

func (d *Decision) attached() (list []attached) {
	d.set.each(&d.req.Principal, func(p *Policy, t Type, level int) {
		a := attached{Policy: p, as: t}
		switch {
		case t == Resource && p.Type == Trust:
			a.as = Trust
		case t == ServiceControl:
			a.level = level + 1
		}
		list = append(list, a)
	})
	return list
}

// lack is a grant that is missing: of a type, and of a level of service control
// policies.
type lack struct {
	Type
	level int
}

// of reports whether the policy could give the grant.
func (l lack) of(a attached) bool { return a.as == l.Type && a.level == l.level }

// missing are the grants that are missing, also where a Deny decides.
func (d *Decision) missing() (list []lack) {
	bits := d.lacks()
	for _, t := range checks {
		switch {
		case !bits.has(t):
		case t == ServiceControl:
			list = append(list, d.silent()...)
		case t == Resource && d.findings.trust:
			list = append(list, lack{Type: Trust})
		default:
			list = append(list, lack{Type: t})
		}
	}
	return list
}

// silent are the levels of service control policies that do not allow.
func (d *Decision) silent() (list []lack) {
	c := d.context()
	allows := make([]bool, max(1, len(d.set.ServiceControl)))
	for _, a := range d.attached() {
		for i := range a.statements {
			if s := &a.statements[i]; a.as == ServiceControl && !s.deny && s.try(&c).failed == applied {
				allows[a.level-1] = true
			}
		}
	}
	for i, yes := range allows {
		if !yes {
			list = append(list, lack{ServiceControl, i + 1})
		}
	}
	return list
}

func (d *Decision) context() context {
	return context{req: &d.req, bounded: d.set.Boundary != nil}
}

// added is the name of a policy that a plan has added.
const added = "\x00"

// parseStatement compiles one statement as a part of beside, whose language it
// speaks.
func parseStatement(t Type, beside *Policy, statement json.RawMessage) (*Policy, error) {
	version := version2012
	if beside != nil {
		version = beside.version
	}
	return Parse(t, added, slices.Concat([]byte(`{"Version":"`+version+`","Statement":`), statement, []byte("}")))
}

// clone is a copy whose statements may be changed.
func (p *Policy) clone() *Policy {
	other := *p
	other.statements = slices.Clone(p.statements)
	for i := range other.statements {
		s := &other.statements[i]
		s.principals, s.actions = slices.Clone(s.principals), slices.Clone(s.actions)
		s.resources, s.conditions = slices.Clone(s.resources), slices.Clone(s.conditions)
	}
	return &other
}

func (s Set) replace(old, by *Policy) Set {
	in := func(list []*Policy) []*Policy {
		if list == nil {
			return nil
		}
		list = append([]*Policy{}, list...)
		for i, p := range list {
			if p == old {
				list[i] = by
			}
		}
		return list
	}
	s.Identity, s.Resource, s.Boundary = in(s.Identity), in(s.Resource), in(s.Boundary)
	s.Session, s.ResourceControl = in(s.Session), in(s.ResourceControl)
	s.ServiceControl = slices.Clone(s.ServiceControl)
	for i := range s.ServiceControl {
		s.ServiceControl[i] = in(s.ServiceControl[i])
	}
	return s
}

func (s Set) add(t Type, level int, p *Policy) Set {
	switch t {
	case Identity:
		s.Identity = append(slices.Clone(s.Identity), p)
	case Boundary:
		s.Boundary = append(slices.Clone(s.Boundary), p)
	case Session:
		s.Session = append(slices.Clone(s.Session), p)
	case ServiceControl:
		s.ServiceControl = slices.Clone(s.ServiceControl)
		if level > len(s.ServiceControl) {
			s.ServiceControl = append(s.ServiceControl, nil)
		}
		s.ServiceControl[level-1] = append(slices.Clone(s.ServiceControl[level-1]), p)
	default:
		s.Resource = append(slices.Clone(s.Resource), p)
	}
	return s
}

// grant is the least statement that would do.
func (d *Decision) grant(l lack, asked asked) plan {
	s := step{Change: Change{Do: AddStatement, Type: l.Type.String(), Level: l.level}, typ: l.Type}
	s.policy = d.own(l)
	if s.policy != nil && s.policy.version == version2008 && strings.Contains(asked.resource, "${") {
		s.policy = nil
	}
	if s.policy != nil {
		s.Policy = s.policy.Name
	}
	s.Add = d.statement(l.Type, s.policy, asked)
	s.Text = "add a statement such as " + string(s.Add) + " to " + d.where(l)
	if d.req.Principal.Kind == Anonymous {
		public := s.Change
		public.Text = "to let everyone in, " + public.Text
		return plan{{Change: Change{Do: SignRequest, Text: "sign the request as somebody who is allowed", Instead: &public}}}
	}
	return plan{s}
}

// own is the policy that a statement may be added to: the first that is not
// AWS's; none for identity policies, of which there may be any number.
func (d *Decision) own(l lack) *Policy {
	if l.Type == Identity {
		return nil
	}
	for _, a := range d.attached() {
		if l.of(a) && !awsManaged(a.Name) && a.Name != added {
			return a.Policy
		}
	}
	return nil
}

// statement is the least statement that would do, in JSON, in the language of
// the policy that it is to be part of. What is asked of the request has no value
// yet.
func (d *Decision) statement(t Type, beside *Policy, asked asked) json.RawMessage {
	p := &d.req.Principal
	escape := beside == nil || beside.version == version2012
	s := statementJSON{Effect: "Allow", Action: d.req.Action, Resource: cmp.Or(asked.resource, literal(d.req.Resource, escape))}
	if t != Resource && !strings.HasPrefix(d.req.Resource, "arn:") || s.Resource == "" {
		s.Resource = "*"
	}
	switch t {
	case Trust:
		s.Principal, s.Resource = p.element(), ""
	case Resource:
		s.Principal = p.element()
	}
	s.Condition = d.tenancy(t, escape, asked)
	text, err := marshal(s, "", "")
	if err != nil {
		return json.RawMessage("{}")
	}
	return bytes.TrimSpace(text)
}

// tenancy is what a new statement asks besides: which token of an identity
// provider, for which resource a service calls, and the tags that the statements
// there are ask for.
func (d *Decision) tenancy(t Type, escape bool, asked asked) map[string]map[string]string {
	c := d.context()
	conditions := make(map[string]map[string]string)
	add := func(operator, name string) {
		key := newContextKey(name)
		if found := c.values(&key); len(found) == 1 && !key.multivalued && found[0] != "" && !asked.key(key.lower) {
			if conditions[operator] == nil {
				conditions[operator] = make(map[string]string)
			}
			conditions[operator][name] = literal(found[0], escape)
		}
	}
	switch {
	case t != Identity && t != Resource && t != Trust:
		return nil
	case t != Identity && d.req.Principal.Kind == Federated:
		for name := range d.req.Keys {
			if l := asciiLower(name); strings.HasSuffix(l, ":sub") || strings.HasSuffix(l, ":aud") {
				add("StringEquals", name)
			}
		}
	case t != Identity && d.req.Principal.Kind == Service:
		add("StringEquals", "aws:SourceAccount")
		if key := newContextKey("aws:SourceArn"); len(c.values(&key)) == 1 && isARN(c.values(&key)[0]) && !strings.ContainsAny(c.values(&key)[0], "*?$") {
			add("ArnEquals", "aws:SourceArn")
		}
	}
	for _, a := range d.attached() {
		for i := range a.statements {
			if s := &a.statements[i]; (lack{Type: t}).of(a) && !s.deny {
				for _, name := range s.tags() {
					add("StringEquals", name)
				}
			}
		}
	}
	return conditions
}

// tags are the condition keys of tags that the statement asks for, in conditions
// and in variables.
func (s *statement) tags() (names []string) {
	take := func(k contextKey) {
		if isTag(k.lower) && !slices.ContainsFunc(names, func(n string) bool { return equalFold(n, k.lower) }) {
			names = append(names, k.name)
		}
	}
	for i := range s.resources {
		for _, p := range s.resources[i].parts {
			take(p.key)
		}
	}
	for i := range s.conditions {
		take(s.conditions[i].key)
		for _, v := range s.conditions[i].values {
			for _, p := range v.parts {
				take(p.key)
			}
		}
	}
	return names
}

// literal is a value that means s itself, where "${" begins a variable.
func literal(s string, variables bool) string {
	if !variables {
		return s
	}
	return strings.ReplaceAll(s, "${", "${$}{")
}
