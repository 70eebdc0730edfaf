package policy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

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

// grant is the least statement that would do.
func (d *Decision) grant(l lack, asked asked) plan {
	s := step{Change: Change{Do: AddStatement, Type: l.String(), Level: l.level}, typ: l.Type}
	s.policy = d.own(l)
	if s.policy != nil && s.policy.version == version2008 && strings.Contains(asked.resource, "${") {
		s.policy = nil
	}
	if s.policy != nil {
		s.Policy = s.policy.Name
	}
	s.Add = d.statement(l, s.policy, asked)
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
func (d *Decision) statement(l lack, beside *Policy, asked asked) json.RawMessage {
	t, p := l.Type, &d.req.Principal
	escape := beside == nil || beside.version == version2012
	s := statementJSON{Effect: "Allow", Action: d.req.Action, Resource: cmp.Or(asked.resource, literal(d.req.Resource, escape))}
	if more := asked.actions(l); more != nil {
		s.Action = append([]string{d.req.Action}, more...)
	}
	if t != Resource && !strings.HasPrefix(d.req.Resource, "arn:") || s.Resource == "" {
		s.Resource = "*"
	}
	switch t {
	case Trust:
		s.Principal, s.Resource = p.element(t), ""
	case Resource:
		s.Principal = p.element(t)
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
