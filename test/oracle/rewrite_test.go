package oracle_test

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/openpodidentity/podid/policy"
)

// condition is one of a question, taken apart.
type condition struct {
	q          *question
	version    string
	operator   string // without qualifiers
	quantifier string
	family     string
	key        string
	wanted     []string
	found      []string // what the request has; nil if it has nothing
	inPolicy   bool     // words is asked about a value of the policy
}

func (c *condition) negated() bool { return strings.Contains(c.operator, "Not") }

// variables reports whether the policy's language knows them.
func (c *condition) variables() bool { return c.version == "2012-10-17" }

// missing reports whether a value has a variable without a value and a default.
func (c *condition) missing() bool {
	return anyOf(c.wanted, func(s string) bool { return c.variables() && c.q.unfilled(s) })
}

// words says a value of the policy or of the request in other words of the same
// meaning, about which nobody is in doubt; nil leaves it as it is.
type words func(c *condition, s string) []string

// conditions rewrites the conditions that match to ones that hold, or do not, as
// package policy says of them in other words.
func conditions(matches func(c *condition) bool, in words) func(*question) bool {
	return func(q *question) bool {
		changed := false
		q.each(func(_ policy.Type, d *document) {
			for i := range d.Statement {
				s := &d.Statement[i]
				for _, operator := range sorted(s.Condition) {
					for _, key := range sorted(s.Condition[operator]) {
						l := s.Condition[operator][key]
						c := takeApart(q, d.Version, operator, key, l)
						if c.operator == "Null" || !matches(c) {
							continue
						}
						changed = true
						holds := c.holdsIn(in, operator)
						delete(s.Condition[operator], key)
						if s.Condition["Null"] == nil {
							s.Condition["Null"] = map[string]list{}
						}
						if holds {
							s.Condition["Null"]["none:always"] = one("true")
						} else {
							s.Condition["Null"]["none:never"] = one("false")
						}
					}
					if len(s.Condition[operator]) == 0 {
						delete(s.Condition, operator)
					}
				}
			}
		})
		return changed
	}
}

// holdsIn is what package policy says of the condition in other words.
func (c *condition) holdsIn(in words, operator string) bool {
	say := func(list []string) (said []string) {
		for _, s := range list {
			if other := in(c, s); other != nil {
				said = append(said, other...)
				continue
			}
			said = append(said, s)
		}
		return said
	}
	q, wants := c.q, list{}
	if in == nil {
		in = func(*condition, string) []string { return nil }
	}
	c.inPolicy = true
	for _, s := range say(c.wanted) {
		wants.values = append(wants.values, value{text: s})
	}
	c.inPolicy = false
	if found := say(c.found); !slices.Equal(found, c.found) {
		q = q.clone()
		if q.Keys == nil {
			q.Keys = map[string][]string{}
		}
		for name := range q.Keys {
			if strings.EqualFold(name, c.key) {
				delete(q.Keys, name)
			}
		}
		q.Keys[c.key] = found
	}
	return q.holds(c.version, operator, c.key, wants)
}

func takeApart(q *question, version, operator, key string, l list) *condition {
	c := &condition{q: q, version: version, key: key, found: q.found(key)}
	c.quantifier, c.operator = qualifiers(operator)
	for family, operators := range families {
		if slices.Contains(operators, c.operator) {
			c.family = family
		}
	}
	for _, v := range l.values {
		c.wanted = append(c.wanted, v.text)
	}
	return c
}

// qualifiers takes an operator apart and has it in the documented spelling.
func qualifiers(operator string) (quantifier, bare string) {
	bare = strings.ToLower(operator)
	if rest, ok := strings.CutPrefix(bare, "forallvalues:"); ok {
		quantifier, bare = "ForAllValues", rest
	} else if rest, ok := strings.CutPrefix(bare, "foranyvalue:"); ok {
		quantifier, bare = "ForAnyValue", rest
	}
	bare = strings.TrimSuffix(bare, "ifexists")
	for _, one := range operators {
		if strings.EqualFold(one, bare) {
			bare = one
		}
	}
	return quantifier, bare
}

// resources rewrites the patterns of resources that match to the resource itself,
// or to another one, as package policy says of them in other words.
func resources(matches func(p *pattern) bool, in func(p *pattern) string) func(*question) bool {
	return func(q *question) bool {
		changed := false
		q.each(func(t policy.Type, d *document) {
			for i := range d.Statement {
				s := &d.Statement[i]
				for _, l := range []*list{&s.Resource, &s.NotResource} {
					for j := range l.values {
						p := &pattern{q: q, t: t, version: d.Version, not: l == &s.NotResource, text: l.values[j].text}
						probe := statement{Action: one(q.Action), Resource: one(p.text)}
						if t == policy.Resource || t == policy.ResourceControl {
							probe.Principal.everyone = true
						}
						p.matched = q.applies(t, d.Version, probe)
						if p.text == "*" || !matches(p) {
							continue
						}
						if in != nil {
							probe.Resource = one(in(p))
							p.matched = q.applies(t, "2012-10-17", probe)
						}
						changed = true
						l.values[j].text = "arn:aws:none:us-east-1:000000000000:none"
						if p.matched {
							l.values[j].text = q.Resource
						}
					}
				}
			}
		})
		return changed
	}
}

// pattern is one value of a Resource or NotResource element.
type pattern struct {
	q       *question
	t       policy.Type
	version string
	not     bool
	text    string
	matched bool // as package policy says
}

// parts are the six parts of the pattern, fewer if it is incomplete.
func (p *pattern) parts() []string { return strings.SplitN(p.text, ":", 6) }

// segmentsMatch reports whether the first five parts match each by itself.
func (p *pattern) segmentsMatch() bool {
	have := strings.SplitN(p.q.Resource, ":", 6)
	for i, part := range p.parts() {
		if i < 5 && (i >= len(have) || !wild(part).MatchString(have[i])) {
			return false
		}
	}
	return len(p.parts()) == 6
}

// kind is the part of an ARN that says of what type the resource is: up to the
// first slash or colon of its last part; S3 has none.
func (p *pattern) kind() string {
	parts := p.parts()
	if len(parts) < 6 || parts[2] == "s3" {
		return ""
	}
	return parts[5][:strings.IndexAny(parts[5], "/:")+1]
}

func wild(pattern string) *regexp.Regexp {
	s := regexp.QuoteMeta(pattern)
	s = strings.ReplaceAll(strings.ReplaceAll(s, `\*`, ".*"), `\?`, ".")
	return regexp.MustCompile("^" + s + "$")
}

// grantees rewrites the statements whose Principal or NotPrincipal matches to
// ones about everyone, or about someone else, as speaks says of them.
func grantees(matches func(q *question, s *statement) bool, speaks func(q *question, s *statement) bool) func(*question) bool {
	return func(q *question) bool {
		changed := false
		q.each(func(t policy.Type, d *document) {
			for i := range d.Statement {
				s := &d.Statement[i]
				if t != policy.Trust && t != policy.Resource || !matches(q, s) {
					continue
				}
				changed = true
				of := speaks(q, s)
				s.NotPrincipal = principals{}
				s.Principal = everybody(t)
				if !of {
					s.Principal = principals{kinds: map[string]list{"AWS": one("000000000000")}}
				}
			}
		})
		return changed
	}
}

// lists reports whether a Principal element has one of the names.
func (p principals) lists(kind string, names ...string) bool {
	return slices.ContainsFunc(p.kinds[kind].values, func(v value) bool { return slices.Contains(names, v.text) })
}

// exempts reports whether NotPrincipal exempts the caller, as AWS's page has it:
// if it lists the account, the user or role, and the session.
func (q *question) exempts(p principals) bool {
	me := cast[q.Principal].principal
	if p.lists("AWS", "*") {
		return q.Boundary == nil
	}
	account := p.lists("AWS", home, "arn:aws:iam::"+home+":root")
	switch me.Kind {
	case policy.Service:
		return p.lists("Service", me.ARN)
	case policy.Federated:
		return p.lists("Federated", me.ARN)
	case policy.Anonymous:
		return false
	case policy.Root:
		return account
	}
	behind := me.RoleARN + me.UserARN
	return q.Boundary == nil && account && p.lists("AWS", me.ARN) && (behind == "" || p.lists("AWS", behind))
}

// unfilled reports whether a value has a variable without a value and a default.
func (q *question) unfilled(s string) bool {
	for _, one := range variable.FindAllStringSubmatch(s, -1) {
		if found := q.found(one[1]); (len(found) != 1 || multivalued[strings.ToLower(one[1])]) && one[2] == "" {
			return true
		}
	}
	return false
}

var variable = regexp.MustCompile(`\$\{([^,}*?$]+)(,[^}]*)?\}`)

// filled is a value with its variables replaced by what is in the request.
func (q *question) filled(s string) []string {
	return []string{variable.ReplaceAllStringFunc(s, func(v string) string {
		if found := q.found(variable.FindStringSubmatch(v)[1]); len(found) == 1 {
			return found[0]
		}
		return v
	})}
}

// none is a value that nothing equals, and that is of no kind.
var none = []string{"none\u0001"}

func anyOf(list []string, is func(string) bool) bool {
	for _, s := range list {
		if is(s) {
			return true
		}
	}
	return false
}

func address(s string) (a netip.Addr, single, ok bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a, true, true
	}
	p, err := netip.ParsePrefix(s)
	return p.Addr(), false, err == nil
}

func mapped(s string) bool {
	a, _, ok := address(s)
	return ok && a.Is4In6()
}
