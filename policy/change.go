package policy

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"
)

// ChangeKind is what a [Change] does.
type ChangeKind string

// The kinds of changes to policies, then to the request.
const (
	AddValue        ChangeKind = "addValue"        // Values (for Principal: Add) to a clause of a statement
	ReplaceValue    ChangeKind = "replaceValue"    // Values in place of those of a condition
	ReplaceOperator ChangeKind = "replaceOperator" // With in place of the Operator of a condition
	ReplaceKey      ChangeKind = "replaceKey"      // With in place of the Key of a condition
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

// Changes are what would allow the request, tried: together they do, unless it
// takes more than 32, which then are the first. None if it is allowed. Whoever
// asks anonymously is told to sign, which nothing can prove.
func (d Decision) Changes() []Change { return d.changes(nil) }

// changes are what would allow the request and, with its policies, the refused
// requests that are a part of the same call.
func (d Decision) changes(also []Decision) []Change {
	// Most denials take one change and a few trials; the bounds are for policies
	// that somebody wrote to be slow.
	const most, trials = 32, 128
	var changes []Change
	asked := asked{also: also}
	left := trials
	for len(changes) < most {
		if d.Allowed {
			if len(asked.also) == 0 {
				break
			}
			req := d.req
			req.Action = asked.also[0].req.Action
			d, asked.also = Evaluate(req, d.set), asked.also[1:]
			continue
		}
		p, next, ok := d.smallest(asked, &left)
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
	keys     []string   // in lower case
	resource string     // what it must match
	also     []Decision // refused parts of the same call
}

// actions are those of the same call that lack the grant as well.
func (a *asked) actions(l lack) (names []string) {
	for i := range a.also {
		if o := &a.also[i]; slices.Contains(o.missing(), l) && actionPattern.MatchString(o.req.Action) {
			names = append(names, o.req.Action)
		}
	}
	return names
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
func (d *Decision) smallest(asked asked, left *int) (best plan, next Decision, ok bool) {
	before := d.open()
	for o := range d.obstacles(asked) {
		if *left <= 0 && best != nil {
			break
		}
		p, after := d.first(o.plans, before, left)
		switch {
		case slices.ContainsFunc(p, func(s step) bool { return s.ask != nil }):
			return p, after, true
		case best != nil:
		case p != nil:
			best, next, ok = p, after, true
		default:
			best = o.last()
			next, ok = d.after(best)
			ok = ok && next.open() < before
		}
	}
	return best, next, ok
}

// first is the first of the plans that is of use.
func (d *Decision) first(plans []plan, before int, left *int) (best plan, next Decision) {
	for _, p := range plans {
		if *left--; *left < 0 {
			break
		}
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

func (d *Decision) obstacles(asked asked) iter.Seq[obstacle] {
	return func(yield func(obstacle) bool) {
		c := d.context()
		for _, a := range d.attached() {
			for i := range a.statements {
				if s := &a.statements[i]; s.deny && s.try(&c).failed == applied && !yield(d.lift(a, s, asked)) {
					return
				}
			}
		}
		for _, l := range d.missing() {
			o := obstacle{last: func() plan { return d.grant(l, asked) }}
			if near := d.nearest(l); near != nil && !awsManaged(near[0].Policy) {
				o.plans = d.mend(l, near, asked)
			}
			if !yield(o) {
				return
			}
		}
	}
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

func (d *Decision) context() context {
	return context{req: &d.req, bounded: d.set.Boundary != nil}
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
