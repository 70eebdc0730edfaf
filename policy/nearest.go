package policy

import (
	"cmp"
	"slices"
	"strings"
)

// nearest is what the Allow statement of type t that came nearest to applying
// misses; nil if none came near: then a statement of its own is the smaller change.
func (d *Decision) nearest(l lack) (best []miss) {
	c := d.context()
	for _, a := range d.attached() {
		if !l.of(a) || a.Name == added {
			continue
		}
		for i := range a.statements {
			s := &a.statements[i]
			if s.deny {
				continue
			}
			if misses := s.misses(&c, a); isNear(misses) && nearer(misses, best) {
				best = misses
			}
		}
	}
	return best
}

// isNear reports whether so few clauses fail that the statement may be meant:
// two, and one of them a condition.
func isNear(misses []miss) bool {
	conditions := 0
	for i := range misses {
		if misses[i].foreign() || strings.HasPrefix(misses[i].Clause, "Not") && len(misses) > 1 {
			return false
		}
		if misses[i].condition != nil {
			conditions++
		}
	}
	return len(misses) > 0 && len(misses) <= 2 && len(misses)-conditions <= 1
}

// nearer reports whether a comes nearer than b: fewer clauses fail, a later one,
// one that can be edited, one that is more alike.
func nearer(a, b []miss) bool {
	if b == nil || len(a) != len(b) {
		return b == nil || len(a) < len(b)
	}
	order := []string{"Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
	return cmp.Or(
		cmp.Compare(slices.Index(order, a[0].Clause), slices.Index(order, b[0].Clause)),
		-compareBool(awsManaged(a[0].Policy), awsManaged(b[0].Policy)),
		cmp.Compare(a[0].alike(), b[0].alike()),
	) > 0
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// alike is how much of a resource was found in the statement.
func (m *miss) alike() (most int) {
	if m.Clause != "Resource" {
		return 0
	}
	for _, w := range m.Wanted {
		n := 0
		for n < len(w) && n < len(m.Found[0]) && w[n] == m.Found[0][n] {
			n++
		}
		most = max(most, n)
	}
	return most
}

// misses are all clauses of a statement that fail, not only the first one.
func (s *statement) misses(c *context, a attached) (misses []miss) {
	add := func(v verdict) *miss {
		r := s.reason(c, a.Policy, v)
		r.Level = a.level
		misses = append(misses, miss{Reason: r, at: a, statement: s})
		return &misses[len(misses)-1]
	}
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
			add(verdict{failed: conditionClause, at: i, missing: missing}).condition = &s.conditions[i]
		}
	}
	return misses
}

// foreign reports whether the clause that failed is about other services.
func (r Reason) foreign() bool {
	at := 0
	switch r.Clause {
	case "Action":
	case "Resource":
		at = 2
	default:
		return false
	}
	service := func(s string) string {
		parts := strings.SplitN(asciiLower(s), ":", at+2)
		return parts[min(at, len(parts)-1)]
	}
	found := service(r.Found[0])
	return !slices.ContainsFunc(r.Wanted, func(s string) bool { return service(s) == found })
}
