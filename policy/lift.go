package policy

import (
	"slices"
)

// lift is what ends a Deny.
func (d *Decision) lift(a attached, s *statement, asked asked) obstacle {
	c := d.context()
	m := miss{Reason: s.reason(&c, a.Policy, verdict{}), at: a, statement: s, asked: asked}
	plans := m.liftOptions(&c)
	if awsManaged(a.Name) {
		plans = slices.DeleteFunc(plans, func(p plan) bool { return p[0].edit != nil })
	}
	return obstacle{plans: plans, last: func() plan {
		return plan{{
			Change: Change{Do: RemoveStatement, Policy: m.Policy, Type: a.as.String(), Level: a.level, Statement: m.Number, Text: d.removal(&m)},
			policy: a.Policy,
			edit: func(p *Policy) bool {
				p.statements = slices.DeleteFunc(p.statements, func(other statement) bool { return other.index == s.index })
				return true
			},
		}}
	}}
}

// removal is the advice to do without a Deny.
func (d *Decision) removal(m *miss) string {
	switch {
	case !awsManaged(m.Policy) && (m.at.as == ServiceControl || m.at.as == ResourceControl):
		return "have the organization's administrators remove " + m.place() + ", or narrow it so that it no longer covers this request"
	case !awsManaged(m.Policy):
		return "remove " + m.place() + ", or narrow it so that it no longer covers this request"
	case m.at.as == Boundary:
		return "use " + ofYourOwn(Boundary, m.Policy)
	case m.at.as == Session:
		return "leave " + m.Policy + " out of the session's policies"
	case m.at.as == ServiceControl:
		return "detach " + m.Policy + " from " + d.level(m.at.level)
	}
	return "detach " + m.Policy + " from " + d.holder()
}

// liftOptions are the ways to end a Deny that is meant for others: what its
// conditions ask of the request, then one more exception.
func (m *miss) liftOptions(c *context) (plans []plan) {
	s := m.statement
	for i := range s.conditions {
		plans = append(plans, m.with(c, &s.conditions[i]).denied(c)...)
	}
	if action := c.req.Action; s.notAction && actionPattern.MatchString(action) {
		plans = append(plans, m.add("NotAction", []string{action}, func(s *statement) bool {
			s.actions = append(s.actions, newAction(action))
			return true
		}))
	}
	if value := m.resourceToAdd(c.req.Resource); s.notResource && value != "*" && value != "" {
		plans = append(plans, m.add("NotResource", []string{value}, func(s *statement) bool {
			t, problem := compileTemplate(value, true, m.variables())
			s.resources = append(s.resources, t)
			return problem == ""
		}))
	}
	return plans
}
