package oracle_test

import (
	"reflect"

	"github.com/openpodidentity/podid/policy"
)

// shrink drops policies, statements, conditions, values and keys from a question
// as long as what is left still differs, with at most so many tries.
func shrink(q *question, tries int, differs func(*question) bool) *question {
	for changed := true; changed; {
		changed = false
		for i := 0; ; i++ {
			smaller := q.clone()
			if !smaller.drop(i) {
				break
			}
			if tries--; tries < 0 {
				return q
			}
			if differs(smaller) {
				q, changed = smaller, true
				i--
			}
		}
	}
	return q
}

// drop makes the n-th possible cut, if there is one.
func (q *question) drop(n int) bool {
	at := func() bool { n--; return n < 0 }
	for i := range q.Identity {
		if at() {
			q.Identity = append(q.Identity[:i:i], q.Identity[i+1:]...)
			return true
		}
	}
	for _, d := range []**document{&q.Boundary, &q.Session, &q.ResourcePolicy} {
		if *d != nil && at() {
			*d = nil
			return true
		}
	}
	for _, levels := range []*[][]document{&q.SCP, &q.RCP} {
		for i := range *levels {
			if at() {
				*levels = append((*levels)[:i:i], (*levels)[i+1:]...)
				return true
			}
		}
	}
	for _, key := range sorted(q.Keys) {
		if at() {
			delete(q.Keys, key)
			return true
		}
		if len(q.Keys[key]) > 1 && at() {
			q.Keys[key] = q.Keys[key][1:]
			return true
		}
	}
	done := false
	q.each(func(t policy.Type, d *document) {
		if done {
			return
		}
		if d.Version != "2012-10-17" && at() {
			d.Version, done = "2012-10-17", true
			return
		}
		for i := range d.Statement {
			if at() {
				d.Statement, done = append(d.Statement[:i:i], d.Statement[i+1:]...), true
				return
			}
			if done = d.Statement[i].drop(t, at); done {
				return
			}
		}
	})
	return done
}

func (s *statement) drop(t policy.Type, at func() bool) bool {
	for _, operator := range sorted(s.Condition) {
		for _, key := range sorted(s.Condition[operator]) {
			if at() {
				if delete(s.Condition[operator], key); len(s.Condition[operator]) == 0 {
					delete(s.Condition, operator)
				}
				return true
			}
			l := s.Condition[operator][key]
			if l.drop(at) {
				s.Condition[operator][key] = l
				return true
			}
		}
	}
	simpler := func(l *list, value string) bool {
		if l.IsZero() || l.drop(at) {
			return !l.IsZero()
		}
		if (len(l.values) > 1 || l.values[0].text != value) && at() {
			*l = one(value)
			return true
		}
		return false
	}
	if simpler(&s.Action, "*") || simpler(&s.Resource, "*") {
		return true
	}
	for _, l := range []*list{&s.NotAction, &s.NotResource} {
		if !l.IsZero() && l.drop(at) {
			return true
		}
	}
	if all := everybody(t); !s.Principal.IsZero() && !reflect.DeepEqual(s.Principal, all) && at() {
		s.Principal = all
		return true
	}
	for _, p := range []*principals{&s.Principal, &s.NotPrincipal} {
		for _, kind := range sorted(p.kinds) {
			if len(p.kinds) > 1 && at() {
				delete(p.kinds, kind)
				return true
			}
			l := p.kinds[kind]
			if l.drop(at) {
				p.kinds[kind] = l
				return true
			}
		}
	}
	return false
}

// drop leaves out one of several values.
func (l *list) drop(at func() bool) bool {
	if len(l.values) < 2 {
		return false
	}
	for i := range l.values {
		if at() {
			l.values = append(l.values[:i:i], l.values[i+1:]...)
			return true
		}
	}
	return false
}
