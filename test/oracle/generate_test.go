package oracle_test

import (
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/openpodidentity/podid/policy"
)

// generator draws one question. Its draws follow from the seed and the number of
// the case alone.
type generator struct {
	*rand.Rand
	q     *question
	entry entry
	trust bool
	// used are the keys that conditions and variables ask for: the request has them
	// often, and often with a value that is asked for.
	used map[string][]string
}

func generate(seed, n uint64) *question {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, n)), q: &question{}, used: map[string][]string{}}
	g.request()
	g.policies()
	g.context()
	return g.q
}

func (g *generator) oneIn(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *generator, from []T) T { return from[g.IntN(len(from))] }

// skewed picks one of the first two as often as one of all.
func (g *generator) skewed(from []string) string {
	if len(from) > 2 && g.oneIn(2) {
		return pick(g, from[:2])
	}
	return pick(g, from)
}

func (g *generator) request() {
	g.trust = g.oneIn(4)
	g.entry = pick(g, catalogue)
	who := []string{"user", "user", "user with a path", "user", "session", "session", "session", "session", "session of a role with a path", "session of a role with a path", "federated user", "root", "service", "anonymous"}
	if g.trust {
		g.entry = pick(g, trusted)
		who = []string{"user", "session", "session", "service", "service", "session of a role with a path", "user with a path", "federated user"}
		if g.entry.action == "sts:AssumeRoleWithWebIdentity" {
			who = []string{"web identity"}
		}
	}
	if !g.entry.guarded {
		who = slices.DeleteFunc(who, func(s string) bool { return s == "service" || s == "anonymous" })
	}
	g.q.Principal = pick(g, who)
	g.q.Action = g.entry.action
	g.q.Account = home
	if g.entry.guarded && g.oneIn(3) && g.q.Principal != "web identity" {
		g.q.Account = other
	}
	g.q.Resource = strings.ReplaceAll(pick(g, g.entry.resources), ":A:", ":"+g.q.Account+":")
}

func (g *generator) inIAM() bool {
	switch g.q.Principal {
	case "service", "anonymous", "web identity":
		return false
	}
	return true
}

// probe asks about conditions alone: one Allow that a condition decides.
func (g *generator) probe() {
	q := g.q
	d := document{g.version(), []statement{{Effect: "Allow", Action: one("*"), Resource: one("*"), Condition: g.conditions(1)}}}
	q.probe = sorted(d.Statement[0].Condition)[0]
	switch {
	case g.trust:
		d.Statement[0].Principal, d.Statement[0].Resource = everybody(policy.Trust), list{}
		q.Trust = &d
	case !g.inIAM():
		d.Statement[0].Principal = everybody(policy.Resource)
		q.ResourcePolicy = &d
	default:
		q.Identity = []document{d}
	}
}

// policies draws which types there are, and what they say.
func (g *generator) policies() {
	q := g.q
	key := strings.HasPrefix(q.Action, "kms:") && q.Resource != "*" // has a policy always
	if g.IntN(5) < 2 && q.Account == home && q.Principal != "root" && !key {
		g.probe()
		return
	}
	if g.inIAM() && !g.oneIn(5) {
		for range 1 + g.IntN(2) {
			q.Identity = append(q.Identity, *g.document(policy.Identity))
		}
	}
	switch {
	case g.trust:
		q.Trust = g.document(policy.Trust)
	case g.entry.guarded && (!g.inIAM() || q.Account == other || key || g.oneIn(2)):
		q.ResourcePolicy = g.document(policy.Resource)
	}
	if g.inIAM() {
		if g.oneIn(4) && q.Principal != "root" {
			q.Boundary = g.document(policy.Boundary)
		}
		if session := strings.HasPrefix(q.Principal, "session"); q.Principal == "federated user" && !g.oneIn(5) || session && g.oneIn(3) {
			q.Session = g.document(policy.Session)
		}
		if g.oneIn(4) {
			for range 1 + g.IntN(3) {
				q.SCP = append(q.SCP, g.documents(policy.ServiceControl))
			}
		}
	}
	if g.oneIn(5) {
		for range 1 + g.IntN(2) {
			q.RCP = append(q.RCP, g.documents(policy.ResourceControl))
		}
	}
}

// context draws the request's keys: most that are asked for, and a few others.
func (g *generator) context() {
	g.q.Keys = map[string][]string{}
	names := sorted(g.used)
	for range g.IntN(3) {
		names = append(names, g.key("String"), g.key("List"))
	}
	for _, key := range names {
		if slices.ContainsFunc(derivedKeys, func(s string) bool { return strings.EqualFold(s, key) }) || strings.Contains(key, "none") || g.oneIn(8) {
			continue
		}
		if slices.ContainsFunc(sorted(g.q.Keys), func(s string) bool { return strings.EqualFold(s, key) }) {
			continue
		}
		n := 1
		if multivalued[strings.ToLower(key)] {
			n = 1 + g.IntN(3)
		}
		var values []string
		for range n {
			values = append(values, g.ask(key))
		}
		g.q.Keys[key] = values
	}
}

func (g *generator) ask(key string) string {
	if list := g.used[key]; list != nil && g.oneIn(3) {
		return strings.NewReplacer("*", "x", "?", "y").Replace(pick(g, list))
	}
	kind := kindOf[key]
	for k, list := range globalKeys {
		if slices.Contains(list, key) && k != "Binary" {
			kind = k
		}
	}
	switch {
	case g.oneIn(12): // of any kind
		kind = pick(g, []string{"String", "Number", "Date", "Bool", "IP", "ARN", "Binary"})
	case kind == "" || kind == "List":
		kind = "String"
	}
	if key == "aws:UserAgent" && g.oneIn(2) {
		kind = "Binary"
	}
	return g.skewed(asked[kind])
}

// variables are the keys of the variables in a value.
func variables(s string) map[string]bool {
	found := map[string]bool{}
	for {
		_, rest, ok := strings.Cut(s, "${")
		if !ok {
			return found
		}
		end := strings.IndexAny(rest, ",}")
		if end < 0 {
			return found
		}
		if key := rest[:end]; len(key) > 1 {
			found[key] = true
		}
		s = rest[end:]
	}
}
