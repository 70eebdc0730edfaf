package policy

import "slices"

// pattern is a compiled pattern in UTF-16 units, normal: of neighbouring
// wildcards each ? stands before one *.
type pattern []int32

func newPattern(compiled string) pattern {
	in := units(compiled)
	out := make(pattern, 0, len(in))
	stars := false
	for _, u := range in {
		switch {
		case u == unitStar:
			stars = true
			continue
		case stars && u != unitAny:
			out, stars = append(out, unitStar), false
		}
		out = append(out, u)
	}
	if stars {
		out = append(out, unitStar)
	}
	return out
}

// universal reports whether the pattern matches everything.
func (p pattern) universal() bool { return len(p) == 1 && p[0] == unitStar }

// covers reports whether p surely matches all that q matches. It matches p
// against q as against a text in which a ? is one unit that nothing but wildcards
// equal, and a * is such a thing that only a * matches. Without work left the
// answer is no.
func (p pattern) covers(q pattern, work *int) bool {
	i, j := 0, 0
	back, mark := -1, 0
	for j < len(q) {
		*work--
		switch {
		case *work < 0:
			return false
		case i < len(p) && p[i] == unitStar:
			back, mark = i, j
			i++
			continue
		case i < len(p) && (p[i] == q[j] || p[i] == unitAny && q[j] != unitStar):
			i++
			j++
			continue
		case back < 0:
			return false
		}
		mark++
		i, j = back+1, mark
	}
	for i < len(p) && p[i] == unitStar {
		i++
	}
	return i == len(p)
}

// disjoint reports whether no text matches both. It is exact; without work left
// the answer is no.
func (p pattern) disjoint(q pattern, work *int) bool {
	for i := 0; i < min(len(p), len(q)) && p[i] != unitStar && q[i] != unitStar; i++ {
		if *work--; p[i] != q[i] && p[i] != unitAny && q[i] != unitAny {
			return *work >= 0 // as most are: at the name of the service
		}
	}
	if *work -= (len(p) + 1) * (len(q) + 1); *work < 0 {
		return false
	}
	// now[j]: some text matches the part of p read so far and q[:j].
	now, next := make([]bool, len(q)+1), make([]bool, len(q)+1)
	now[0] = true
	for i := 0; ; i++ {
		star := i < len(p) && p[i] == unitStar
		for j := range now {
			if now[j] && j < len(q) && (star || q[j] == unitStar) {
				now[j+1] = true // p's * takes it, or q's * is empty
			}
		}
		if i == len(p) {
			return !now[len(q)]
		}
		clear(next)
		for j := range now {
			switch {
			case !now[j]:
			case star:
				next[j] = true // it is empty
			case j == len(q):
			case q[j] == unitStar:
				next[j] = true // q's * takes it
			case p[i] == q[j] || p[i] == unitAny || q[j] == unitAny:
				next[j+1] = true
			}
		}
		now, next = next, now
	}
}

// setItem is one pattern of a list. One with policy variables matches at most
// what the pattern with * in their place matches.
type setItem struct {
	pattern
	source    string
	variables bool
}

// patternSet is what an Action or Resource element matches.
type patternSet struct {
	items []setItem
	not   bool
	every bool // there is no such element: it matches everything
}

func actionSet(s *statement) patternSet {
	set := patternSet{not: s.notAction}
	for i := range s.actions {
		set.items = append(set.items, setItem{pattern: newPattern(s.actions[i].pattern), source: s.actions[i].source})
	}
	return set
}

func resourceSet(s *statement) patternSet {
	set := patternSet{not: s.notResource, every: s.resources == nil}
	for i := range s.resources {
		set.items = append(set.items, newItem(&s.resources[i]))
	}
	return set
}

func newItem(t *template) setItem {
	if t.parts == nil {
		return setItem{pattern: newPattern(t.pattern), source: t.source}
	}
	text := ""
	for i := range t.parts {
		if t.parts[i].key.name == "" {
			text += t.parts[i].text
		} else {
			text += string([]byte{star})
		}
	}
	return setItem{pattern: newPattern(text), source: t.source, variables: true}
}

// universal reports whether the set surely has everything in it.
func (s patternSet) universal() bool {
	return s.every || !s.not && slices.ContainsFunc(s.items, func(i setItem) bool { return !i.variables && i.universal() })
}

func (l *linter) itemCovers(a, b setItem) bool {
	return a.source == b.source || !a.variables && a.covers(b.pattern, &l.work)
}

// listCovers reports whether each pattern of b is covered by one of a.
func (l *linter) listCovers(a, b []setItem) bool {
	return !slices.ContainsFunc(b, func(one setItem) bool {
		return !slices.ContainsFunc(a, func(other setItem) bool { return l.itemCovers(other, one) })
	})
}

// setCovers reports whether a surely has all that b has.
func (l *linter) setCovers(a, b patternSet) bool {
	switch {
	case a.universal():
		return true
	case b.every:
		return false
	case !a.not && !b.not:
		return l.listCovers(a.items, b.items)
	case a.not && b.not:
		return l.listCovers(b.items, a.items)
	case a.not:
		for _, in := range b.items {
			for _, out := range a.items {
				if !in.disjoint(out.pattern, &l.work) {
					return false
				}
			}
		}
		return true
	}
	return false
}

// principalsCover reports whether a names everyone that b names, at least as
// closely.
func principalsCover(a, b *statement) bool {
	if a.principals == nil || b.principals == nil {
		return a.principals == nil && b.principals == nil
	}
	everyone := slices.ContainsFunc(a.principals, func(g grantee) bool { return g.kind == everyone })
	within := func(list, of []grantee) bool {
		return !slices.ContainsFunc(list, func(g grantee) bool {
			return !slices.ContainsFunc(of, func(o grantee) bool { return o.kind == g.kind && o.value == g.value })
		})
	}
	switch {
	case !a.notPrincipal && everyone:
		return true
	case a.notPrincipal != b.notPrincipal:
		return false
	case a.notPrincipal:
		return within(a.principals, b.principals) && within(b.principals, a.principals)
	}
	return within(b.principals, a.principals)
}

// conditionsCover reports whether a has only conditions that b has as well.
func conditionsCover(a, b *statement) bool {
	for i := range a.conditions {
		if !slices.ContainsFunc(b.conditions, func(k condition) bool { return sameCondition(&a.conditions[i], &k) }) {
			return false
		}
	}
	return true
}

func sameCondition(a, b *condition) bool {
	if a.label != b.label || a.key.lower != b.key.lower || len(a.values) != len(b.values) {
		return false
	}
	x, y := a.wanted(), b.wanted()
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// covers reports whether a surely applies, whatever its effect, to every request
// that b applies to.
func (l *linter) covers(a, b *lintStatement) bool {
	l.work--
	return l.work > 0 && principalsCover(a.statement, b.statement) && conditionsCover(a.statement, b.statement) &&
		l.setCovers(a.actionSet, b.actionSet) && l.setCovers(a.resources, b.resources)
}
