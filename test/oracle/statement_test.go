package oracle_test

import (
	"slices"
	"strings"

	"github.com/openpodidentity/podid/policy"
)

func (g *generator) documents(t policy.Type) []document {
	list := []document{*g.document(t)}
	if g.oneIn(4) {
		list = append(list, *g.document(t))
	}
	return list
}

func (g *generator) document(t policy.Type) *document {
	d := &document{Version: "2012-10-17"}
	if t != policy.ResourceControl && t != policy.ServiceControl {
		d.Version = g.version()
	}
	n := 1 + g.IntN(2)
	switch t {
	case policy.ServiceControl, policy.Boundary, policy.Session:
		n = g.IntN(3)
		if g.oneIn(2) { // what is usual: everything, then denials
			d.Statement = append(d.Statement, statement{Effect: "Allow", Action: one("*"), Resource: one("*")})
		}
	}
	for range n {
		d.Statement = append(d.Statement, g.statement(t))
	}
	if d.Statement == nil {
		d.Statement = []statement{}
	}
	return d
}

func (g *generator) version() string {
	if g.oneIn(10) {
		return pick(g, []string{"2008-10-17", ""})
	}
	return "2012-10-17"
}

func (g *generator) statement(t policy.Type) statement {
	s := statement{Effect: "Allow"}
	if t == policy.ResourceControl || g.oneIn(6) {
		s.Effect = "Deny"
	}
	narrow := s.Effect == "Deny" && g.oneIn(2)
	if t != policy.ResourceControl && g.oneIn(12) {
		s.NotAction = g.actions(t, narrow)
	} else {
		s.Action = g.actions(t, narrow)
	}
	switch {
	case t == policy.Trust, t == policy.Resource && g.oneIn(8):
	case g.oneIn(12):
		s.NotResource = g.resources(t)
	default:
		s.Resource = g.resources(t)
	}
	switch t {
	case policy.ResourceControl:
		s.Principal.everyone = true
	case policy.Trust, policy.Resource:
		if t == policy.Resource && s.Effect == "Deny" && g.IntN(2) == 0 {
			s.NotPrincipal = g.principals(t)
		} else {
			s.Principal = g.principals(t)
		}
	}
	if g.oneIn(2) {
		s.Condition = g.conditions(1 + g.IntN(2))
	}
	return s
}

// many draws one value, mostly, or a few.
func (g *generator) many(draw func() value) list {
	l := list{[]value{draw()}, g.oneIn(2)}
	if g.oneIn(4) {
		l.bare = false
		for range 1 + g.IntN(2) {
			l.values = append(l.values, draw())
		}
	}
	return l
}

func (g *generator) actions(t policy.Type, narrow bool) list {
	return g.many(func() value {
		service, name, _ := strings.Cut(g.q.Action, ":")
		s := pick(g, []string{
			g.q.Action, g.q.Action, service + ":*", service + ":" + name[:3] + "*", "*",
			service + ":*" + name[len(name)-4:], service + ":?" + name[1:], strings.ToUpper(service) + ":" + strings.ToLower(name),
			pick(g, trusted).action, pick(g, trusted).action,
		})
		if t != policy.Trust && g.oneIn(10) {
			s = pick(g, catalogue).action
		}
		if s == "*" && (t == policy.ResourceControl || narrow) {
			s = service + ":*"
		}
		return value{text: s}
	})
}

// resources draws patterns for the request's resource: most match it.
func (g *generator) resources(t policy.Type) list {
	return g.many(func() value {
		r := g.q.Resource
		if r == "*" {
			return value{text: pick(g, []string{"*", "*", "*", "arn:aws:s3:::*", "arn:aws:s3:::b"})}
		}
		parts := strings.SplitN(r, ":", 6)
		last := parts[5]
		join := func(change func(p []string)) string {
			p := slices.Clone(parts)
			change(p)
			return strings.Join(p, ":")
		}
		tail := strings.LastIndexAny(last, "/:") + 1
		choices := []string{
			r, r, r, r, "*", "*", "*", "*", "*", "*",
			join(func(p []string) { p[5] = last[:tail] + "*" }),
			join(func(p []string) { p[5] = last[:len(last)-1] + "?" }),
			join(func(p []string) { p[5] = last[:tail] + "*" + last[len(last)-1:] }),
			join(func(p []string) { p[3], p[4] = "*", "*" }),
			join(func(p []string) { p[4] = "*" }),
			join(func(p []string) { p[5] = "*" }),
			join(func(p []string) { p[5] = "other" }),
			join(func(p []string) { p[5] = strings.ToUpper(last) }),
			join(func(p []string) { p[5] = strings.Replace(last, "alice", "${aws:username}", 1) }),
			join(func(p []string) { p[5] = strings.Replace(last, "blue", "${aws:PrincipalTag/team}", 1) }),
			join(func(p []string) { p[5] = strings.Replace(last, "blue", "${aws:PrincipalTag/none, 'blue'}", 1) }),
			join(func(p []string) { p[5] = last[:tail] + "${aws:PrincipalTag/none}" }),
			join(func(p []string) { p[5] = last[:tail] + "${*}" }),
			strings.Join(parts[:3], ":") + ":*",               // a star that crosses colons
			join(func(p []string) { p[1] = "*" }),             // any partition
			strings.Join(parts[:3], ":") + ":*" + last[tail:], // and one in the middle
			join(func(p []string) { p[5] = "*" + last }),      // a wildcard in the resource's type
			"arn:aws:s3:::*",
		}
		if t == policy.Identity || t == policy.Boundary { // incomplete ARNs
			choices = append(choices, strings.Join(parts[:3], ":"), strings.Join(parts[:4], ":")+":*")
		}
		s := pick(g, choices)
		g.use(s)
		return value{text: s}
	})
}

func (g *generator) principals(t policy.Type) principals {
	if g.oneIn(5) {
		return everybody(t)
	}
	p := principals{kinds: map[string]list{}}
	me := cast[g.q.Principal].principal
	switch {
	case me.Kind == policy.Service && !g.oneIn(6):
		p.kinds["Service"] = g.many(func() value {
			return value{text: pick(g, []string{me.ARN, me.ARN, "ec2.amazonaws.com"})}
		})
	case me.Kind == policy.Federated && !g.oneIn(6):
		p.kinds["Federated"] = g.many(func() value {
			return value{text: pick(g, []string{me.ARN, me.ARN, "arn:aws:iam::111122223333:oidc-provider/other.example.com", "accounts.google.com"})}
		})
	default:
		p.kinds["AWS"] = g.many(func() value {
			choices := []string{home, "arn:aws:iam::111122223333:root", other, "*", "arn:aws:iam::111122223333:user/alice", "arn:aws:iam::111122223333:role/app"}
			for _, arn := range []string{me.ARN, me.RoleARN, me.UserARN} {
				if strings.HasPrefix(arn, "arn:") && me.Kind != policy.Federated {
					choices = append(choices, arn, arn, arn)
				}
			}
			return value{text: pick(g, choices)}
		})
	}
	if g.oneIn(10) {
		p.kinds["Service"] = one("lambda.amazonaws.com")
	}
	if g.oneIn(20) {
		p.kinds["CanonicalUser"] = one("79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be")
	}
	return p
}

// key draws a condition key for values of a kind; one in six is of another kind.
func (g *generator) key(kind string) string {
	if kind == "Null" || g.oneIn(6) {
		kind = pick(g, []string{"String", "Number", "Date", "Bool", "IP", "ARN", "List"})
	}
	if kind == "String" && g.oneIn(4) || kind == "ARN" && g.oneIn(3) {
		if kind == "ARN" {
			return "aws:PrincipalArn"
		}
		return pick(g, derivedKeys)
	}
	if kind == "String" && g.oneIn(4) {
		kind = "List"
	}
	choices := slices.Clone(globalKeys[kind])
	for _, key := range g.entry.keys {
		if k := kindOf[key]; k == kind || k == "" && kind == "String" {
			choices = append(choices, key, key)
		}
	}
	return pick(g, choices)
}

func (g *generator) conditions(n int) map[string]map[string]list {
	c := map[string]map[string]list{}
	seen := map[string]bool{}
	for range n {
		kind := pick(g, kinds)
		operator := "Null"
		if kind != "Null" {
			operator = pick(g, families[kind])
		}
		key := g.key(kind)
		if kind != "Null" {
			operator = g.quantifier(multivalued[strings.ToLower(key)]) + operator
			if g.oneIn(5) {
				operator += "IfExists"
			}
		}
		if id := strings.ToLower(operator + " " + key); seen[id] {
			continue
		} else {
			seen[id] = true
		}
		wants := g.many(func() value {
			v := g.want(kind)
			g.used[key] = append(g.used[key], v.text)
			return v
		})
		if g.oneIn(10) { // names ignore case
			key = strings.ToLower(key)
		}
		if g.oneIn(20) {
			operator = strings.ToLower(operator)
		}
		if c[operator] == nil {
			c[operator] = map[string]list{}
		}
		c[operator][key] = wants
	}
	return c
}

func (g *generator) quantifier(list bool) string {
	if list && g.oneIn(6) || !list && !g.oneIn(10) {
		return ""
	}
	return pick(g, []string{"ForAllValues:", "ForAnyValue:"})
}

func (g *generator) want(kind string) value {
	if kind == "Null" {
		kind = "Bool"
	}
	v := value{text: g.skewed(wanted[kind])}
	if kind == "String" && g.oneIn(4) {
		v.text = pick(g, []string{"arn:aws:iam::111122223333:role/*", "arn:aws:iam::111122223333:user/alice", "User", "AssumedRole", home, other, "true", "pods.eks.amazonaws.com", "2026-*"})
	}
	switch {
	case kind == "Number" && v.text != "1E+1" && len(v.text) < 10 && g.oneIn(4):
		v.raw = true
	case kind == "Bool" && strings.ToLower(v.text) == v.text && g.oneIn(4):
		v.raw = true
	}
	g.use(v.text)
	return v
}

// use notes the keys of a value's variables.
func (g *generator) use(s string) {
	for key := range variables(s) {
		g.used[key] = append(g.used[key], "blue", "alice")
	}
}
