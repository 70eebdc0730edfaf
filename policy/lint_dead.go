package policy

import (
	"fmt"
	"slices"
)

// unreachable finds Allow statements of which a Deny statement leaves nothing.
func (l *linter) unreachable() {
	for i := range l.statements {
		allow := &l.statements[i]
		if allow.deny {
			continue
		}
		if deny := l.denier(allow); deny != nil {
			l.add(allow, allow.node.start, Warning, "the statement allows nothing: "+deny.called()+" denies all of it",
				"a Deny beats every Allow, and it covers whatever this statement applies to",
				"remove this statement, or narrow the Deny")
		}
	}
}

func (l *linter) denier(allow *lintStatement) *lintStatement {
	for j := range l.statements {
		if deny := &l.statements[j]; deny.deny && l.covers(deny, allow) {
			return deny
		}
	}
	return nil
}

// shadowed finds statements that add nothing to another one with their effect.
// Of two that are equal the later one is shadowed. What is found may be taken out
// together: nothing shadows by a statement that is itself shadowed.
func (l *linter) shadowed() {
	gone := make([]bool, len(l.statements))
	for i := len(l.statements) - 1; i >= 0; i-- {
		s := &l.statements[i]
		for j := range l.statements {
			other := &l.statements[j]
			if i == j || gone[j] || other.deny != s.deny || !l.covers(other, s) {
				continue
			}
			gone[i] = true
			l.add(s, s.node.start, Warning, "the statement adds nothing to "+other.called(),
				"that one applies to everything that this one applies to, with the same effect and no further condition",
				"remove this statement")
			break
		}
	}
}

// redundantValues finds values that another value of the list covers, and those
// that are there twice.
func (l *linter) redundantValues() {
	for i := range l.statements {
		s := &l.statements[i]
		l.redundantItems(s, "Action", s.actionSet.items)
		l.redundantItems(s, "Resource", s.resources.items)
		l.redundantPrincipals(s)
		for j := range s.conditions {
			k := &s.conditions[j]
			nodes := values(k.values)
			seen := make(map[string]bool, len(nodes))
			for n := range k.condition.values {
				source := k.condition.values[n].source
				if seen[source] {
					l.add(s, nodes[n].start, Notice, excerpt(source)+" is there twice",
						"the values of a condition are alternatives", "remove one of them")
					break
				}
				seen[source] = true
			}
		}
	}
}

// redundantItems reports once for a list: a * beside many values says it all.
func (l *linter) redundantItems(s *lintStatement, element string, items []setItem) {
	nodes := values(s.element(element))
	if len(nodes) != len(items) {
		return
	}
	gone := make([]bool, len(items))
	first, by, count := -1, 0, 0
	for i := len(items) - 1; i >= 0; i-- {
		for j := range items {
			if i != j && !gone[j] && l.itemCovers(items[j], items[i]) {
				gone[i] = true
				first, by, count = i, j, count+1
				break
			}
		}
	}
	if count == 0 {
		return
	}
	what := excerpt(items[first].source) + " is covered by " + excerpt(items[by].source)
	if items[first].source == items[by].source {
		what = excerpt(items[first].source) + " is there twice"
	}
	if count > 1 {
		what += fmt.Sprintf("; of the whole list %d values are covered by others", count)
	}
	l.add(s, nodes[first].start, Notice, what, "what one value matches need not be matched by another of the same list", "remove what is covered")
}

func (l *linter) redundantPrincipals(s *lintStatement) {
	n := s.element("Principal")
	if n.kind != objectNode || s.principals == nil {
		return
	}
	at := 0 // in s.principals
	for _, m := range n.members {
		list := values(m.value)
		group := s.principals[at : at+len(list)]
		at += len(list)
		for i := len(group) - 1; i >= 0; i-- {
			by := slices.IndexFunc(group, func(g grantee) bool {
				return g.kind == everyone || g.kind == group[i].kind && g.value == group[i].value
			})
			if by != i {
				l.add(s, list[i].start, Notice, excerpt(list[i].text)+" is covered by "+excerpt(list[by].text),
					"they name the same principals, or one names them all", "remove what is covered")
				break
			}
		}
	}
}

// neverHolds finds conditions of one statement that contradict one another.
func (l *linter) neverHolds() {
	for i := range l.statements {
		s := &l.statements[i]
		for j := range s.conditions {
			k := &s.conditions[j]
			if at := slices.IndexFunc(s.conditions[:j], func(other lintCondition) bool { return l.contradict(other.condition, k.condition) }); at >= 0 {
				other := &s.conditions[at]
				effect := "allows"
				if s.deny {
					effect = "denies"
				}
				l.add(s, k.at, Warning, fmt.Sprintf("%s and %s on %s never hold together: the statement %s nothing", other.label, k.label, k.key.name, effect),
					"all conditions of a statement must hold, and no value of the key fulfils both", "put what is meant as alternatives into one list, or into two statements")
			}
		}
	}
}

// contradict reports whether two conditions on one key surely never hold together.
func (l *linter) contradict(a, b *condition) bool {
	l.work--
	if l.work < 0 || a.key.lower != b.key.lower || a.quantifier != scalar || b.quantifier != scalar || len(a.values) == 0 || len(b.values) == 0 {
		return false
	}
	if b.kind == null || b.negated && a.kind != null {
		a, b = b, a
	}
	needs := b.kind != null && b.demands()
	switch {
	case a.kind == null:
		absent := !slices.ContainsFunc(a.values, func(v operand) bool { return !v.truth })
		return absent && needs
	case b.negated || !needs && a.ifExists || !a.text() || !b.text():
		return false
	case a.negated:
		// b's values are all refused by a.
		return needs && l.listCovers(operands(a), operands(b))
	}
	for _, x := range operands(a) {
		for _, y := range operands(b) {
			if !x.disjoint(y.pattern, &l.work) {
				return false
			}
		}
	}
	return true
}

// text reports whether the condition compares text with patterns.
func (k *condition) text() bool { return k.kind == stringEquals || k.kind == stringLike }

// operands are the values of a condition that compares text.
func operands(k *condition) []setItem {
	items := make([]setItem, len(k.values))
	for i := range k.values {
		items[i] = newItem(&k.values[i].template)
		items[i].source = k.label + " " + items[i].source
	}
	return items
}

// emptyConditions finds lists and objects without values.
func (l *linter) emptyConditions() {
	for i := range l.statements {
		s := &l.statements[i]
		body := s.node.member("Condition")
		if body == nil {
			continue
		}
		if len(body.members) == 0 {
			l.add(s, body.start, Notice, "the Condition has no operators", "it holds for every request", "remove it, or write what was meant")
		}
		for _, operator := range body.members {
			if len(operator.value.members) == 0 {
				l.add(s, operator.start, Notice, operator.key+" has no keys", "it holds for every request", "remove it, or write what was meant")
			}
		}
		for j := range s.conditions {
			if k := &s.conditions[j]; len(k.condition.values) == 0 {
				l.add(s, k.values.start, Warning, k.label+" on "+k.key.name+" has no values",
					"nothing equals one of no values: a plain operator never holds, a negated one always does", "write the values, or remove the condition")
			}
		}
	}
}
