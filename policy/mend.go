package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// miss is a clause of a statement that keeps it from applying; for a Deny, one
// that lets it apply.
type miss struct {
	Reason
	at        attached
	statement *statement
	condition *condition
	asked     asked
}

// place is how a fix calls the statement.
func (m *miss) place() string { return m.short() }

// change is a change to the statement.
func (m *miss) change(ch Change, edit func(s *statement) bool) plan {
	ch.Policy, ch.Type, ch.Level, ch.Statement = m.Policy, m.at.as.String(), m.at.level, m.Number
	return plan{{Change: ch, policy: m.at.Policy, edit: func(p *Policy) bool {
		i := slices.IndexFunc(p.statements, func(s statement) bool { return s.index+1 == m.Number })
		return i >= 0 && edit(&p.statements[i])
	}}}
}

// mend are the plans that make the clauses of an Allow match. Of two clauses that
// fail one at most is changed in the policy: more would allow combinations that
// nobody asked for.
func (d *Decision) mend(l lack, misses []miss, asked asked) []plan {
	c := d.context()
	for i := range misses {
		misses[i].asked = asked
	}
	if len(misses) == 1 {
		m := &misses[0]
		plans := m.options(&c)
		if all := m.statement.all(); len(plans) == 1 && plans[0][0].Clause == "Resource" && all != "" && m.statement.conditions == nil {
			plans[0][0].Text += ", which gives all of " + all + " there"
			plans = slices.Insert(plans, 0, d.grant(l, asked))
		}
		return plans
	}
	var together plan
	edits := 0
	for i := range misses {
		options := misses[i].options(&c)
		if len(options) == 0 {
			return nil
		}
		for _, s := range options[0] {
			if s.edit != nil {
				edits++
			}
		}
		together = append(together, options[0]...)
	}
	if edits > 1 {
		return nil
	}
	return []plan{together}
}

// options are the ways to make the clause match, best first; none where a
// statement of its own is better.
func (m *miss) options(c *context) []plan {
	switch m.Clause {
	case "Principal":
		return m.addPrincipal(c)
	case "Action":
		if action := c.req.Action; actionPattern.MatchString(action) {
			actions := []string{action}
			for _, also := range m.asked.actions(lack{m.at.as, m.at.level}) {
				if m.statement == nil || !m.statement.matchesAction(also) {
					actions = append(actions, also)
				}
			}
			return []plan{m.add("Action", actions, func(s *statement) bool {
				for _, name := range actions {
					s.actions = append(s.actions, newAction(name))
				}
				return true
			})}
		}
	case "Resource":
		return m.resourceOptions(c)
	case "Condition":
		return m.conditionOptions(c)
	}
	return nil
}

// newAction compiles an action.
func newAction(name string) action { return action{name, wildcards.Replace(asciiLower(name))} }

// add is the addition of values to a clause of the statement.
func (m *miss) add(clause string, values []string, edit func(s *statement) bool) plan {
	return m.change(Change{
		Do: AddValue, Clause: clause, Values: values,
		Text: fmt.Sprintf("add %s to the %s of %s", quoted(values, "and"), clause, m.place()),
	}, edit)
}

func (m *miss) addPrincipal(c *context) []plan {
	p := &c.req.Principal
	if p.Kind == Anonymous || p.Kind == Federated && !m.testsToken() || m.statement.all() != "" {
		return nil
	}
	element := p.element(m.at.as)
	return []plan{m.change(Change{
		Do: AddValue, Clause: "Principal", Add: element, Text: fmt.Sprintf("add %s to the Principal of %s", element, m.place()),
	}, func(s *statement) bool {
		var kinds map[string]string
		if json.Unmarshal(element, &kinds) != nil {
			return false
		}
		for kind, value := range kinds {
			g, wrong := compileGrantee(kind, value)
			if wrong != "" {
				return false
			}
			s.principals = append(s.principals, g)
		}
		return true
	})}
}

// all is the action of the statement that is everything, or all of a service:
// whoever or whatever is added to it gets more than was asked.
func (s *statement) all() string {
	if s == nil {
		return ""
	}
	if s.notAction {
		return "what its NotAction does not list"
	}
	for _, a := range s.actions {
		if _, name, ok := strings.Cut(a.source, ":"); a.source == "*" || ok && strings.Trim(name, "*") == "" {
			return a.source
		}
	}
	return ""
}

// testsToken reports whether the statement asks for the subject of a token:
// without that, whoever has an account at the identity provider comes in.
func (m *miss) testsToken() bool {
	return m.statement != nil && slices.ContainsFunc(m.statement.conditions, func(k condition) bool {
		return strings.HasSuffix(k.key.lower, ":sub")
	})
}

// tagFirst is the advice for a principal's tag that is missing. A default value,
// or a statement that does without the tag, would end the isolation that the tag
// is there for.
func (m *miss) tagFirst(c *context, tag string) []plan {
	key := "aws:PrincipalTag/" + tag
	try := func(value string) plan {
		s := ask(key, "StringEquals", []string{value}, []string{value}, tagged(c.req, tag))
		req := *c.req
		req.Keys = Keys{}
		for name, v := range c.req.Keys {
			req.Keys[name] = v
		}
		s.ask(&req)
		with := context{req: &req, bounded: c.bounded}
		if m.matches(&with) {
			return plan{s}
		}
		if m.Clause == "Resource" {
			if own := m.ownResource(&with); own != nil {
				own[0].Text = "ask for " + quoted(m.Wanted, "or") + " with that tag's value"
				return append(plan{s}, own...)
			}
		} else if m.condition != nil {
			if example, ok := m.condition.example(&with); ok {
				return append(plan{s}, ask(m.Key, m.Operator, m.values(m.Wanted), example, asking(c.req, m.condition, m.Wanted)))
			}
		}
		return nil
	}
	// The tag's value is most likely a part of what is asked for.
	var best plan
	for _, value := range append(m.segments(c), "x") {
		if p := try(value); p != nil && (best == nil || len(p) < len(best)) {
			best = p
		}
	}
	if best == nil {
		return nil
	}
	return []plan{best}
}

// matches tries the clause again.
func (m *miss) matches(c *context) bool {
	switch {
	case m.condition != nil:
		ok, _ := m.condition.holds(c)
		return ok
	case m.statement != nil && m.Clause == "Resource":
		ok, _ := m.statement.matchesResource(c)
		return ok
	}
	return true
}

// segments are parts of what was found, and of what is wanted.
func (m *miss) segments(c *context) (parts []string) {
	const most = 64
	for _, list := range [][]string{m.Found, {c.req.Resource}, m.Wanted} {
		for _, s := range list {
			parts = append(parts, s)
			for p := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '/' || r == ':' }) {
				if len(parts) < most {
					parts = append(parts, p)
				}
			}
		}
	}
	return parts
}

// later is the advice to speak the newer language where variables are meant.
func (m *miss) later() plan {
	if m.at.Policy == nil || m.at.version != version2008 || !slices.ContainsFunc(m.Wanted, func(w string) bool { return strings.Contains(w, "${") }) {
		return nil
	}
	return plan{{
		Change: Change{
			Do: SetVersion, Policy: m.Policy, Type: m.at.as.String(), Level: m.at.level, With: version2012,
			Text: fmt.Sprintf(`set "Version": %q in %s: in the language of %s, ${…} is plain text`, version2012, m.document(), version2008),
		},
		policy: m.at.Policy,
		edit:   (*Policy).speak2012,
	}}
}

// speak2012 compiles the policy again, with variables.
func (p *Policy) speak2012() bool {
	p.version = version2012
	for i := range p.statements {
		s := &p.statements[i]
		for j, t := range s.resources {
			var problem string
			if s.resources[j], problem = compileTemplate(t.source, true, true); problem != "" {
				return false
			}
		}
		for j := range s.conditions {
			k := &s.conditions[j]
			values := make([]operand, len(k.values))
			for n, v := range k.values {
				var problem string
				if values[n], problem, _ = compileOperand(k.operator, v.source, true); problem != "" {
					return false
				}
			}
			k.values = values
		}
	}
	return true
}

// with is the miss of one condition of the statement.
func (m *miss) with(c *context, k *condition) *miss {
	other := *m
	other.condition, other.Clause = k, "Condition"
	other.Operator, other.Key, other.Wanted, other.Found = k.label, k.key.name, k.wanted(), c.values(&k.key)
	return &other
}
