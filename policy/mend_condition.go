package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// conditionOptions are the ways to make a condition hold.
func (m *miss) conditionOptions(c *context) []plan {
	k := m.condition
	if k == nil || m.asked.key(k.key.lower) {
		return nil
	}
	if tag, ok := m.missesTag(); ok && m.Variable != "" {
		return m.tagFirst(c, tag)
	}
	if serviceOnly(k.key.lower) && c.req.Principal.Kind != Service {
		if !m.onlyAWS() {
			return nil
		}
		return []plan{m.changeCondition(Change{
			Do: RemoveCondition, Text: "remove the condition on " + m.Key + " from " + m.place() + ": only AWS services bring that key",
		}, func(s *statement, i int) bool {
			s.conditions = slices.Delete(s.conditions, i, i+1)
			return true
		})}
	}
	if later := m.later(); later != nil {
		return []plan{later}
	}
	if strings.Contains(m.Key, "${") {
		return m.filledKey(c)
	}
	if other := m.otherKey(c); other != nil {
		return other
	}
	if other := m.otherOperator(c); other != nil {
		return other
	}
	var plans []plan
	class := classify(k.key.lower)
	if class == fixed {
		return nil
	}
	if class != itself || m.Found == nil {
		if example, ok := k.example(c); ok {
			plans = append(plans, plan{ask(m.Key, m.Operator, m.values(m.Wanted), example, asking(c.req, k, m.wantedOf(c, k)))})
		}
	}
	if !k.ofTags() && (class != tenant || m.Found != nil && isTag(k.key.lower)) && (!strings.HasSuffix(k.key.lower, ":aud") || m.testsToken()) {
		plans = append(plans, m.allowFound(c, class)...)
	}
	return plans
}

// ofTags reports whether the condition compares with tags of the caller: what is
// added to it, everyone gets.
func (k *condition) ofTags() bool {
	return slices.ContainsFunc(k.values, func(v operand) bool {
		return slices.ContainsFunc(v.parts, func(p part) bool { return isTag(p.key.lower) })
	})
}

// wantedOf are the condition's values with what their variables stand for here.
func (m *miss) wantedOf(c *context, k *condition) (list []string) {
	for i := range k.values {
		v := &k.values[i]
		pattern, missing := v.expand(c)
		switch {
		case v.parts == nil || m.asks(&v.template):
			list = append(list, v.source)
		case missing == "":
			list = append(list, people(pattern))
		}
	}
	if list == nil {
		return k.wanted()
	}
	return list
}

// denied are the ways to make a condition of a Deny not hold.
func (m *miss) denied(c *context) (plans []plan) {
	k := m.condition
	class := classify(k.key.lower)
	if m.asked.key(k.key.lower) || class == fixed || strings.Contains(m.Key, "${") {
		return nil
	}
	if serviceOnly(k.key.lower) && c.req.Principal.Kind != Service || class == tenant && !k.negated && k.kind != null {
		class = itself // the Deny is meant for this caller
	}
	if inverse, wanted, ok := k.inverse(); ok && class != itself {
		example, ok := inverse.example(c)
		req := *c.req
		req.Keys = Keys{}
		for name, v := range c.req.Keys {
			req.Keys[name] = v
		}
		if ok {
			text := wanted
			if inverse.kind != boolean && inverse.kind != null {
				text = m.wantedOf(c, &inverse)
			}
			s := ask(m.Key, inverse.label, m.values(wanted), example, asking(c.req, &inverse, text))
			s.ask(&req)
			if still, _ := k.holds(&context{req: &req, bounded: c.bounded}); !still {
				plans = append(plans, plan{s})
			}
		}
	}
	if k.negated && class != tenant && !k.ofTags() {
		plans = append(plans, m.allowFound(c, class)...)
	}
	return plans
}

// onlyAWS reports whether the statement speaks of users and roles alone, for whom
// a condition that only services fulfil is of no use.
func (m *miss) onlyAWS() bool {
	return m.statement != nil && m.statement.principals != nil && !m.statement.notPrincipal &&
		!slices.ContainsFunc(m.statement.principals, func(g grantee) bool { return g.kind != arnGrantee && g.kind != accountGrantee })
}

// changeCondition is a change to the condition.
func (m *miss) changeCondition(ch Change, edit func(s *statement, i int) bool) plan {
	ch.Clause, ch.Operator, ch.Key = "Condition", m.Operator, m.Key
	label, key := m.condition.label, m.condition.key.lower
	return m.change(ch, func(s *statement) bool {
		i := slices.IndexFunc(s.conditions, func(k condition) bool { return k.label == label && k.key.lower == key })
		return i >= 0 && edit(s, i)
	})
}

// otherKey is the claim of the token that was meant: the one that has the value
// which the condition wants of another.
func (m *miss) otherKey(c *context) []plan {
	k := m.condition
	if c.req.Principal.Kind != Federated || m.statement == nil || k.negated {
		return nil
	}
	issuer := k.key.lower[:strings.LastIndexByte(k.key.lower, ':')+1]
	for _, name := range slices.Sorted(maps.Keys(c.req.Keys)) {
		other := *k
		other.key = newContextKey(name)
		taken := slices.ContainsFunc(m.statement.conditions, func(one condition) bool { return one.key.lower == other.key.lower })
		if ok, _ := other.holds(c); !ok || taken || !strings.HasPrefix(other.key.lower, issuer) || k.kind == null || len(c.values(&other.key)) == 0 {
			continue
		}
		return []plan{m.changeCondition(Change{
			Do: ReplaceKey, With: name, Text: "write " + name + " in place of " + m.Key + " in the " + m.Operator + " of " + m.place() + ": that is the claim which has this value",
		}, func(s *statement, i int) bool {
			s.conditions[i].key = other.key
			return true
		})}
	}
	return nil
}

// filledKey is the key that was meant by one with a variable in it, which only
// values may have; none if the condition would not hold with that key either.
func (m *miss) filledKey(c *context) []plan {
	t, problem := compileTemplate(m.Key, false, true)
	name, missing := t.expand(c)
	if problem != "" || missing != "" || name == m.Key {
		return nil
	}
	other := *m.condition
	other.key = newContextKey(name)
	if ok, _ := other.holds(c); !ok {
		return nil
	}
	return []plan{m.changeCondition(Change{
		Do: ReplaceKey, With: name, Text: "write " + name + " in place of " + m.Key + " in the " + m.Operator + " of " + m.place() + ": variables are filled in only in values",
	}, func(s *statement, i int) bool {
		s.conditions[i].key = other.key
		return true
	})}
}

func (m *miss) conditionPlace() string { return "the condition on " + m.Key + " in " + m.place() }

// otherOperator is the operator that was meant: for a list, for wildcards, or for
// a pattern that is no ARN.
func (m *miss) otherOperator(c *context) (plans []plan) {
	k := m.condition
	replace := func(label, why string) {
		other, ok := parseOperator(label)
		if !ok || m.statement == nil || slices.ContainsFunc(m.statement.conditions, func(one condition) bool { return one.label == other.label && one.key.lower == k.key.lower }) {
			return
		}
		other.key = k.key
		for _, v := range k.values {
			one, problem, _ := compileOperand(other.operator, v.source, m.variables())
			if problem != "" {
				return
			}
			other.values = append(other.values, one)
		}
		if ok, _ := other.holds(c); !ok {
			return
		}
		plans = append(plans, m.changeCondition(Change{
			Do: ReplaceOperator, With: other.label, Text: "write " + other.label + " in place of " + k.label + " in " + m.conditionPlace() + why,
		}, func(s *statement, i int) bool {
			s.conditions[i] = other
			return true
		}))
	}
	switch {
	case k.quantifier == scalar && k.kind != null && m.list():
		const why = ": the key holds a list, which the plain operator never matches"
		if replace("ForAllValues:"+k.label, why); plans == nil {
			replace("ForAnyValue:"+k.label, why)
		}
	case k.kind == stringEquals && !k.negated && slices.ContainsFunc(m.Wanted, func(w string) bool { return strings.ContainsAny(w, "*?") }):
		replace(strings.Replace(k.label, "StringEquals", "StringLike", 1), "")
	case k.kind == arn && !k.negated:
		replace(strings.NewReplacer("ArnEquals", "StringLike", "ArnLike", "StringLike").Replace(k.label), ": "+k.label+" never matches what has not the six parts of an ARN")
	}
	return plans
}

// list reports whether the key holds a list.
func (m *miss) list() bool { return len(m.Found) > 1 || newContextKey(m.Key).multivalued }

// allowFound puts what the request has into the condition.
func (m *miss) allowFound(c *context, class keyClass) []plan {
	k := m.condition
	if m.Found == nil || k.kind == null || k.kind == boolean {
		return nil
	}
	if k.kind == date || k.kind == numeric && k.cmp != equal {
		return m.move(c)
	}
	if own := m.recased(class); own != nil {
		return []plan{own}
	}
	variables := m.variables()
	var values []string
	var add []operand
	for _, found := range m.Found {
		if ok, _ := k.holdsFor(c, found); ok != k.negated {
			continue // this one is there already
		}
		text := literal(found, variables)
		v, problem, _ := compileOperand(k.operator, text, variables)
		if problem != "" || slices.Contains(values, text) {
			continue
		}
		values, add = append(values, text), append(add, v)
	}
	if values == nil {
		return nil
	}
	text := "add " + quoted(values, "and") + " to " + m.conditionPlace()
	if class == tenant {
		text = "if " + quoted(values, "and") + " is meant to have access too, " + text
	}
	return []plan{m.changeCondition(Change{Do: AddValue, Values: values, Text: text}, func(s *statement, i int) bool {
		s.conditions[i].values = append(slices.Clone(s.conditions[i].values), add...)
		return true
	})}
}

// recased writes what the request has in the place of a value that differs by
// upper and lower case alone.
func (m *miss) recased(class keyClass) plan {
	k := m.condition
	if class == tenant || k.negated || len(m.Found) != 1 || !slices.Contains([]operatorKind{stringEquals, stringLike, arn}, k.kind) {
		return nil
	}
	for i, wanted := range m.Wanted {
		written, ok := recase(wanted, m.Found[0])
		v, problem, _ := compileOperand(k.operator, written, m.variables())
		if !ok || problem != "" {
			continue
		}
		values, compiled := slices.Clone(m.Wanted), slices.Clone(k.values)
		values[i], compiled[i] = written, v
		return m.changeCondition(Change{
			Do: ReplaceValue, Values: values, Text: fmt.Sprintf("write %q in place of %q in %s: upper and lower case count", written, wanted, m.conditionPlace()),
		}, func(s *statement, i int) bool {
			s.conditions[i].values = compiled
			return true
		})
	}
	return nil
}

// recase is the pattern with the letters of what it matches but for their case.
func recase(pattern, found string) (string, bool) {
	if strings.Contains(pattern, "${") || !glob(wildcards.Replace(asciiLower(pattern)), asciiLower(found)) {
		return "", false
	}
	var b strings.Builder
	for pattern != "" {
		n := strings.IndexAny(pattern, "*?")
		if n == 0 {
			b.WriteByte(pattern[0])
			pattern = pattern[1:]
			continue
		}
		text := pattern
		if n > 0 {
			text = pattern[:n]
		}
		at := strings.Index(asciiLower(found), asciiLower(text))
		if text == pattern { // the end
			at = len(found) - len(text)
		}
		if at < 0 {
			return "", false
		}
		b.WriteString(found[at : at+len(text)])
		found, pattern = found[at+len(text):], pattern[len(text):]
	}
	return b.String(), true
}

// move moves the limit of a condition on a date or a number to where the request
// is within it.
func (m *miss) move(c *context) []plan {
	k := m.condition
	if len(m.Found) != 1 {
		return nil
	}
	for _, value := range near(k.operator, m.Found[0]) {
		v, problem, _ := compileOperand(k.operator, value, m.variables())
		moved := *k
		moved.values = []operand{v}
		if problem != "" {
			continue
		}
		if ok, _ := moved.holds(c); ok == (m.statement != nil && m.statement.deny) {
			continue
		}
		return []plan{m.changeCondition(Change{
			Do: ReplaceValue, Values: []string{value}, Text: fmt.Sprintf("move the limit of %s, to %q say", m.conditionPlace(), value),
		}, func(s *statement, i int) bool {
			s.conditions[i].values = moved.values
			return true
		})}
	}
	return nil
}
