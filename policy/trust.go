package policy

import "slices"

// TrustOutcome is what a trust policy says of a session.
type TrustOutcome int

// The outcomes, the useful cause first where several hold.
const (
	// TrustAllowed: every action is allowed by the trust policy. (A principal
	// that is named through its account needs its identity policy as well.)
	TrustAllowed TrustOutcome = iota
	// TrustDenied: a Deny statement applies.
	TrustDenied
	// TrustPrincipal: no Allow statement names the principal.
	TrustPrincipal
	// TrustAction: statements name the principal, and none of them has the action.
	TrustAction
	// TrustCondition: a statement names principal and action, and a condition does not hold.
	TrustCondition
)

// TrustVerdict is the outcome with the statement that shows it.
type TrustVerdict struct {
	Outcome TrustOutcome
	// Action is the one of the asked actions that was refused; empty if allowed.
	Action string
	// Reason is what the deciding statement contributed: the Deny that applied, or
	// the Allow that came nearest. Its Policy is empty if the document has no Allow.
	Reason Reason
}

// Providers are the identity providers that the Allow statements of a trust policy
// name, each once, in the document's order.
func (p *Policy) Providers() (names []string) {
	for i := range p.statements {
		for _, g := range p.statements[i].principals {
			if g.kind == federatedGrantee && !p.statements[i].deny && !slices.Contains(names, g.value) {
				names = append(names, g.value)
			}
		}
	}
	return names
}

// ExplainTrust says whether trust policy p lets req.Principal perform all of
// actions on the role (sts:AssumeRole and sts:TagSession together, for a session
// with tags), and if not, the most useful cause. req.Action is ignored.
func ExplainTrust(p *Policy, req Request, actions ...string) TrustVerdict {
	worst := TrustVerdict{}
	for _, a := range actions {
		req.Action = a
		v := p.explainTrust(req)
		if v.Outcome == TrustAllowed {
			continue
		}
		v.Action = a
		if worst.Outcome == TrustAllowed || v.Outcome < worst.Outcome {
			worst = v
		}
	}
	return worst
}

func (p *Policy) explainTrust(req Request) TrustVerdict {
	c := context{req: &req}
	best := TrustVerdict{Outcome: TrustPrincipal}
	allowed := false
	var names closeness
	misses := 0 // of the best
	for i := range p.statements {
		s := &p.statements[i]
		v := s.try(&c)
		if s.deny {
			if v.failed == applied {
				return TrustVerdict{Outcome: TrustDenied, Reason: s.reason(&c, p, v)}
			}
			continue
		}
		outcome := TrustPrincipal
		switch v.failed {
		case applied:
			allowed = true
			continue
		case actionClause:
			outcome = TrustAction
		case conditionClause:
			outcome = TrustCondition
		}
		open := len(s.misses(&c, attached{Policy: p, as: Trust}))
		nearer := outcome > best.Outcome || outcome == best.Outcome && (v.names > names || v.names == names && open < misses)
		if best.Reason.Effect == "" || nearer {
			best = TrustVerdict{Outcome: outcome, Reason: s.reason(&c, p, v)}
			names, misses = v.names, open
		}
	}
	if allowed {
		return TrustVerdict{}
	}
	return best
}
