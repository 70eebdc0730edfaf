package policy_test

import (
	"encoding/json"
	"math/rand"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/openpodidentity/podid/policy"
)

// The generators draw from few words, so that requests and policies meet often.

var (
	actions    = []string{"s3:GetObject", "s3:PutObject", "s3:ListBucket", "sts:AssumeRole", "sts:TagSession"}
	stsActions = []string{"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity", "sts:AssumeRoleWithWebIdentity"}
	resources  = []string{"arn:aws:s3:::b", "arn:aws:s3:::b/k", "arn:aws:s3:::c/alice", "arn:aws:iam::111122223333:role/target"}
	keys       = []string{"aws:RequestTag/team", "aws:PrincipalTag/team", "s3:max-keys", "aws:SourceIp", "aws:CurrentTime", "aws:TagKeys", "aws:SourceArn", "aws:PrincipalArn", "aws:userid", "aws:RequestTag/${aws:PrincipalTag/team}"}
	values     = []string{"", "blue", "alice", "1", "10", "10.1.2.3", "2026-05-01T00:00:00Z", "arn:aws:s3:::b", "true", "b*"}
)

// draw is whatever picks: rapid's generators, or the bytes of a fuzz target.
type draw func(n int, what string) int

func pick[T any](d draw, from []T, what string) T { return from[d(len(from), what)] }

func some(d draw, from []string, what string) any {
	if d(2, what) == 0 {
		return pick(d, from, what)
	}
	list := make([]string, d(3, what)+1)
	for i := range list {
		list[i] = pick(d, from, what)
	}
	return list
}

func genStatement(d draw, kind policy.Type, effect string) map[string]any {
	if kind == policy.ResourceControl {
		effect = "Deny"
	}
	s := map[string]any{"Effect": effect}
	not := func(name string) string {
		if d(6, "not") == 0 {
			return "Not" + name
		}
		return name
	}
	switch kind {
	case policy.Trust:
		s[not("Action")] = some(d, slices.Concat(stsActions, []string{"*", "sts:*", "STS:Assume*"}), "action")
	case policy.ResourceControl:
		s["Action"] = some(d, slices.Concat(actions, []string{"s3:*", "sts:*", "S3:Get*"}), "action")
	default:
		s[not("Action")] = some(d, slices.Concat(actions, []string{"*", "s3:*", "sts:*", "S3:Get*", "s3:????Object"}), "action")
	}
	if kind != policy.Trust {
		s[not("Resource")] = some(d, append(resources, "*", "arn:aws:s3:::*", "arn:aws:s3:::c/${aws:username}", "arn:*:s3:*:*:b/?", "arn:aws:s3:::${aws:PrincipalTag/team, 'b'}/*"), "resource")
	}
	switch kind {
	case policy.Trust, policy.Resource:
		element := "Principal"
		if effect == "Deny" && kind == policy.Resource {
			element = not("Principal")
		}
		all := any("*")
		if kind == policy.Trust {
			all = map[string]any{"AWS": "*"}
		}
		s[element] = pick(d, []any{
			all,
			map[string]any{"AWS": some(d, []string{
				"*", "111122223333", "arn:aws:iam::111122223333:root", "arn:aws:iam::111122223333:user/alice", "arn:aws:iam::111122223333:role/app",
				"arn:aws:sts::111122223333:assumed-role/app/s1", "arn:aws:sts::111122223333:federated-user/bob", "444455556666",
			}, "aws")},
			map[string]any{"AWS": "arn:aws:iam::111122223333:user/alice", "CanonicalUser": canonicalID},
			map[string]any{"Service": "pods.eks.amazonaws.com"},
			map[string]any{"Federated": "arn:aws:iam::111122223333:oidc-provider/oidc.example.com"},
		}, "principal")
	case policy.ResourceControl:
		s["Principal"] = "*"
	}
	if d(2, "sid") == 0 {
		s["Sid"] = ""
	}
	if d(2, "condition") == 0 {
		s["Condition"] = genCondition(d)
	}
	return s
}

func genCondition(d draw) map[string]any {
	operands := map[string][]string{
		"String": values, "Numeric": {"1", "5", "10"}, "Date": {"2026-05-01T00:00:00Z", "2027-01-01"}, "Bool": {"true", "false"}, "Null": {"true", "false"},
		"IpAddress": {"10.0.0.0/8", "10.1.2.3"}, "NotIpAddress": {"10.0.0.0/8"}, "Arn": {"arn:aws:s3:::b", "arn:aws:s3:::*"}, "Binary": {"QUJD"},
	}
	names := map[string][]string{
		"String":  {"StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"},
		"Numeric": {"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals"},
		"Date":    {"DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals"},
		"Bool":    {"Bool"}, "Null": {"Null"}, "IpAddress": {"IpAddress"}, "NotIpAddress": {"NotIpAddress"},
		"Arn": {"ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"}, "Binary": {"BinaryEquals"},
	}
	condition := map[string]any{}
	for range d(2, "conditions") + 1 {
		family := pick(d, []string{"String", "Numeric", "Date", "Bool", "Null", "IpAddress", "NotIpAddress", "Arn", "Binary"}, "family")
		name := pick(d, names[family], "operator")
		if family != "Null" {
			name = pick(d, []string{"", "", "ForAllValues:", "ForAnyValue:"}, "quantifier") + name + pick(d, []string{"", "", "IfExists"}, "suffix")
		}
		condition[name] = map[string]any{pick(d, keys, "key"): some(d, operands[family], "value")}
	}
	return condition
}

func genDocument(d draw, kind policy.Type) map[string]any {
	statements := []map[string]any{}
	for range d(3, "statements") + 1 {
		effect := "Allow"
		if d(4, "effect") == 0 {
			effect = "Deny"
		}
		statements = append(statements, genStatement(d, kind, effect))
	}
	version := "2012-10-17"
	if kind != policy.ServiceControl && kind != policy.ResourceControl {
		version = pick(d, []string{"2012-10-17", "2012-10-17", "2008-10-17"}, "version")
	}
	return map[string]any{"Version": version, "Statement": statements}
}

func parseDocument(t testing.TB, kind policy.Type, document map[string]any) *policy.Policy {
	t.Helper()
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return mustParse(t, kind, kind.String(), string(text))
}

// organization is what applies to a request, before it is parsed: the documents
// by type, nil for those that are absent.
type organization struct {
	identity, resource, trust, boundary, session, rcp []map[string]any
	scp                                               [][]map[string]any
}

// genQuestion draws a request and the documents that apply to it.
func genQuestion(d draw) (policy.Request, organization) {
	req := policy.Request{
		Principal:       principals[pick(d, []string{"user", "session", "session", "service", "root", "anonymous", "federated", "federated user", "federated root", "service-linked role"}, "principal")],
		Action:          pick(d, actions, "action"),
		Resource:        pick(d, resources, "resource"),
		ResourceAccount: pick(d, []string{"", account, "444455556666"}, "account"),
		Keys:            policy.Keys{},
	}
	for range d(5, "keys") {
		list := []string{}
		for range d(3, "count") {
			list = append(list, pick(d, values, "value"))
		}
		req.Keys[pick(d, keys, "key")] = list
	}
	list := func(kind policy.Type) (documents []map[string]any) {
		for range d(2, "policies") + 1 {
			documents = append(documents, genDocument(d, kind))
		}
		return documents
	}
	o := organization{identity: list(policy.Identity)}
	switch d(3, "resource policy") {
	case 0:
		o.resource = list(policy.Resource)
	case 1:
		o.trust = list(policy.Trust)
		req.Action, req.Resource = pick(d, stsActions, "action"), "arn:aws:iam::111122223333:role/target"
	}
	optional := func(kind policy.Type) []map[string]any {
		if d(3, "optional") != 0 {
			return nil
		}
		return list(kind)
	}
	o.boundary, o.session, o.rcp = optional(policy.Boundary), optional(policy.Session), optional(policy.ResourceControl)
	for range max(0, d(5, "levels")-1) {
		o.scp = append(o.scp, list(policy.ServiceControl))
	}
	return req, o
}

func (o *organization) set(t testing.TB) policy.Set {
	t.Helper()
	parse := func(kind policy.Type, documents []map[string]any) []*policy.Policy {
		if documents == nil {
			return nil
		}
		list := []*policy.Policy{}
		for _, one := range documents {
			list = append(list, parseDocument(t, kind, one))
		}
		return list
	}
	s := policy.Set{
		Identity: parse(policy.Identity, o.identity), Resource: slices.Concat(parse(policy.Resource, o.resource), parse(policy.Trust, o.trust)),
		Boundary: parse(policy.Boundary, o.boundary), Session: parse(policy.Session, o.session), ResourceControl: parse(policy.ResourceControl, o.rcp),
	}
	for _, level := range o.scp {
		s.ServiceControl = append(s.ServiceControl, parse(policy.ServiceControl, level))
	}
	return s
}

func rapidly(t *testing.T, property func(t *rapid.T, d draw, req policy.Request, set policy.Set)) {
	t.Helper()
	questions(t, func(rt *rapid.T, d draw, req policy.Request, o organization) { property(rt, d, req, o.set(t)) })
}

// questions draws the documents, too.
func questions(t *testing.T, property func(t *rapid.T, d draw, req policy.Request, o organization)) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		d := func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(rt, what) }
		req, o := genQuestion(d)
		property(rt, d, req, o)
	})
}

// parts are the places of a set that policies of a type go to.
var parts = map[policy.Type]func(*policy.Set) *[]*policy.Policy{
	policy.Identity: func(s *policy.Set) *[]*policy.Policy { return &s.Identity },
	policy.Resource: func(s *policy.Set) *[]*policy.Policy { return &s.Resource },
	policy.Trust:    func(s *policy.Set) *[]*policy.Policy { return &s.Resource },
	policy.Boundary: func(s *policy.Set) *[]*policy.Policy { return &s.Boundary },
	policy.Session:  func(s *policy.Set) *[]*policy.Policy { return &s.Session },
	policy.ServiceControl: func(s *policy.Set) *[]*policy.Policy {
		if s.ServiceControl == nil {
			s.ServiceControl = [][]*policy.Policy{nil}
		}
		return &s.ServiceControl[len(s.ServiceControl)-1]
	},
	policy.ResourceControl: func(s *policy.Set) *[]*policy.Policy { return &s.ResourceControl },
}

func TestADenyNeverAllowsMore(t *testing.T) {
	for kind, part := range parts {
		t.Run(kind.String(), func(t *testing.T) {
			questions(t, func(rt *rapid.T, d draw, req policy.Request, o organization) {
				set := o.set(t)
				before := policy.Evaluate(req, set)
				if kind == policy.Session && req.Principal.Kind == policy.FederatedUser && set.Session == nil {
					rt.Skip() // a session policy is what gives a federated user anything
				}
				document := map[string]any{"Version": "2012-10-17", "Statement": genStatement(d, kind, "Deny")}
				*part(&set) = append(*part(&set), parseDocument(t, kind, document))
				after := policy.Evaluate(req, set)
				if after.Allowed && !before.Allowed || before.Explicit && !after.Explicit {
					rt.Fatalf("%v allows %+v", document, req)
				}
			})
		})
	}
}

func TestTheLimitsOnlyShrink(t *testing.T) {
	everything := parseDocument(t, policy.Session, map[string]any{"Statement": map[string]any{"Effect": "Allow", "Action": "*", "Resource": "*"}})
	limits := map[policy.Type]func(*policy.Set, []*policy.Policy){
		policy.Boundary:        func(s *policy.Set, p []*policy.Policy) { s.Boundary = p },
		policy.Session:         func(s *policy.Set, p []*policy.Policy) { s.Session = p },
		policy.ServiceControl:  func(s *policy.Set, p []*policy.Policy) { s.ServiceControl = append(s.ServiceControl, p) },
		policy.ResourceControl: func(s *policy.Set, p []*policy.Policy) { s.ResourceControl = append(s.ResourceControl, p...) },
	}
	for kind, limit := range limits {
		t.Run(kind.String(), func(t *testing.T) {
			questions(t, func(rt *rapid.T, d draw, req policy.Request, o organization) {
				set := o.set(t)
				switch kind {
				case policy.Boundary:
					set.Boundary = nil
				case policy.Session:
					set.Session = nil
					if req.Principal.Kind == policy.FederatedUser {
						set.Session = []*policy.Policy{everything}
					}
				}
				before := policy.Evaluate(req, set).Allowed
				limited := set
				limit(&limited, []*policy.Policy{parseDocument(t, kind, genDocument(d, kind))})
				if policy.Evaluate(req, limited).Allowed && !before {
					rt.Fatalf("the %s allows %+v", kind, req)
				}
				limited = set
				limit(&limited, []*policy.Policy{})
				if policy.Evaluate(req, limited).Allowed && !before {
					rt.Fatalf("an empty %s allows %+v", kind, req)
				}
			})
		})
	}
}

func TestTheOrderOfStatementsAndPoliciesIsIrrelevant(t *testing.T) {
	questions(t, func(rt *rapid.T, d draw, req policy.Request, o organization) {
		before := policy.Evaluate(req, o.set(t))
		random := rand.New(rand.NewSource(int64(d(1<<30, "seed"))))
		shuffle := func(documents []map[string]any) {
			random.Shuffle(len(documents), func(i, j int) { documents[i], documents[j] = documents[j], documents[i] })
			for _, one := range documents {
				statements := one["Statement"].([]map[string]any)
				random.Shuffle(len(statements), func(i, j int) { statements[i], statements[j] = statements[j], statements[i] })
			}
		}
		for _, documents := range [][]map[string]any{o.identity, o.resource, o.trust, o.boundary, o.session, o.rcp} {
			shuffle(documents)
		}
		for _, level := range o.scp {
			shuffle(level)
		}
		random.Shuffle(len(o.scp), func(i, j int) { o.scp[i], o.scp[j] = o.scp[j], o.scp[i] })
		after := policy.Evaluate(req, o.set(t))
		if before.Allowed != after.Allowed || before.Explicit != after.Explicit || before.Because(req) != after.Because(req) {
			rt.Fatalf("%v %q, then %v %q", before.Allowed, before.Because(req), after.Allowed, after.Because(req))
		}
	})
}

func TestEveryExplicitDecisionNamesItsStatement(t *testing.T) {
	rapidly(t, func(rt *rapid.T, _ draw, req policy.Request, set policy.Set) { consistent(rt, req, set) })
}

// consistent checks what holds for every decision.
func consistent(t interface{ Fatalf(string, ...any) }, req policy.Request, set policy.Set) {
	d := policy.Evaluate(req, set)
	denies, allows := 0, 0
	for _, r := range d.Reasons() {
		switch {
		case r.Applied && r.Effect == "Deny":
			denies++
		case r.Applied:
			allows++
		case r.Clause == "":
			t.Fatalf("a statement did not apply and no clause failed: %+v", r)
		}
		if r.Applied != (r.Mismatch() == "") || r.Applied != (r.Remedy(&req) == "") {
			t.Fatalf("%+v: %q, %q", r, r.Mismatch(), r.Remedy(&req))
		}
	}
	switch {
	case d.Explicit != (denies > 0), d.Explicit && d.Allowed:
		t.Fatalf("%d denials and Explicit %v, Allowed %v", denies, d.Explicit, d.Allowed)
	case d.Allowed && allows == 0 && req.Principal.Kind != policy.Root:
		t.Fatalf("allowed by nobody: %+v", req)
	case d.Allowed != (d.Because(req) == ""):
		t.Fatalf("allowed %v because %q", d.Allowed, d.Because(req))
	case d.Explain() == "", d.Allowed != (d.Fix() == ""):
		t.Fatalf("allowed %v, fix %q, %s", d.Allowed, d.Fix(), d.Explain())
	}
	if d.Allowed || d.Explicit {
		return
	}
	// The statements that the explanation would add do allow the request.
	for kind, statement := range policy.Additions(d) {
		p, err := policy.Parse(kind, "added", []byte(`{"Version":"2012-10-17","Statement":`+statement+`}`))
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		if kind != policy.ServiceControl {
			*parts[kind](&set) = append(slices.Clone(*parts[kind](&set)), p)
			continue
		}
		set.ServiceControl = slices.Clone(set.ServiceControl)
		for i := range set.ServiceControl {
			set.ServiceControl[i] = append(slices.Clone(set.ServiceControl[i]), p)
		}
	}
	if after := policy.Evaluate(req, set); !after.Allowed && !after.Explicit {
		t.Fatalf("still denied:\n%s\nafter\n%s", after.Explain(), d.Explain())
	}
}
