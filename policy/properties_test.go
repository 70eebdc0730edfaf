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
	actions   = []string{"s3:GetObject", "s3:PutObject", "s3:ListBucket", "sts:AssumeRole", "sts:TagSession"}
	resources = []string{"arn:aws:s3:::b", "arn:aws:s3:::b/k", "arn:aws:s3:::c/alice", "arn:aws:iam::111122223333:role/target"}
	keys      = []string{"aws:RequestTag/team", "aws:PrincipalTag/team", "s3:max-keys", "aws:SourceIp", "aws:CurrentTime", "aws:TagKeys", "aws:SourceArn"}
	values    = []string{"", "blue", "alice", "1", "10", "10.1.2.3", "2026-05-01T00:00:00Z", "arn:aws:s3:::b", "true", "b*"}
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
	s := map[string]any{"Effect": effect}
	not := func(name string) string {
		if d(6, "not") == 0 {
			return "Not" + name
		}
		return name
	}
	s[not("Action")] = some(d, append(actions, "*", "s3:*", "sts:*", "S3:Get*", "s3:????Object"), "action")
	if kind != policy.Trust {
		s[not("Resource")] = some(d, append(resources, "*", "arn:aws:s3:::*", "arn:aws:s3:::c/${aws:username}", "arn:aws:*:b/?"), "resource")
	}
	switch kind {
	case policy.Trust, policy.Resource:
		element := "Principal"
		if effect == "Deny" {
			element = not("Principal")
		}
		s[element] = pick(d, []any{
			"*",
			map[string]any{"AWS": some(d, []string{"*", "111122223333", "arn:aws:iam::111122223333:user/alice", "arn:aws:iam::111122223333:role/app", "arn:aws:sts::111122223333:assumed-role/app/s1", "444455556666"}, "aws")},
			map[string]any{"Service": "pods.eks.amazonaws.com"},
		}, "principal")
	case policy.ResourceControl:
		s["Principal"] = "*"
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

func genPolicies(d draw, t testing.TB, kind policy.Type, denies bool) []*policy.Policy {
	statements := []map[string]any{}
	for range d(3, "statements") + 1 {
		effect := "Allow"
		if denies && d(4, "effect") == 0 {
			effect = "Deny"
		}
		statements = append(statements, genStatement(d, kind, effect))
	}
	document, err := json.Marshal(map[string]any{"Version": pick(d, []string{"2012-10-17", "2012-10-17", "2008-10-17"}, "version"), "Statement": statements})
	if err != nil {
		t.Fatal(err)
	}
	return []*policy.Policy{mustParse(t, kind, kind.String(), string(document))}
}

// genQuestion draws a request and the policies that apply to it.
func genQuestion(d draw, t testing.TB) (policy.Request, policy.Set) {
	req := policy.Request{
		Principal:       principals[pick(d, []string{"user", "session", "session", "service", "root", "anonymous", "federated"}, "principal")],
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
	set := policy.Set{Identity: genPolicies(d, t, policy.Identity, true)}
	switch d(3, "resource policy") {
	case 0:
		set.Resource = genPolicies(d, t, policy.Resource, true)
	case 1:
		set.Resource = genPolicies(d, t, policy.Trust, true)
	}
	optional := func(kind policy.Type) []*policy.Policy {
		if d(3, "optional") != 0 {
			return nil
		}
		return genPolicies(d, t, kind, true)
	}
	set.Boundary, set.Session = optional(policy.Boundary), optional(policy.Session)
	set.ServiceControl, set.ResourceControl = level(optional(policy.ServiceControl)), optional(policy.ResourceControl)
	return req, set
}

func rapidly(t *testing.T, property func(t *rapid.T, d draw, req policy.Request, set policy.Set)) {
	rapid.Check(t, func(rt *rapid.T) {
		d := func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(rt, what) }
		req, set := genQuestion(d, t)
		property(rt, d, req, set)
	})
}

func TestADenyNeverAllowsMore(t *testing.T) {
	rapidly(t, func(rt *rapid.T, d draw, req policy.Request, set policy.Set) {
		before := policy.Evaluate(req, set).Allowed
		document, _ := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": genStatement(d, policy.Identity, "Deny")})
		deny := mustParse(t, policy.Identity, "deny", string(document))
		set.Identity = append(slices.Clone(set.Identity), deny)
		if policy.Evaluate(req, set).Allowed && !before {
			rt.Fatalf("%s allows %+v", document, req)
		}
	})
}

func TestBoundaryAndSessionPolicyOnlyShrink(t *testing.T) {
	limits := map[string]func(*policy.Set, []*policy.Policy){
		"boundary": func(s *policy.Set, p []*policy.Policy) { s.Boundary = p },
		"session":  func(s *policy.Set, p []*policy.Policy) { s.Session = p },
		"scp":      func(s *policy.Set, p []*policy.Policy) { s.ServiceControl = level(p) },
		"rcp":      func(s *policy.Set, p []*policy.Policy) { s.ResourceControl = p },
	}
	for name, limit := range limits {
		t.Run(name, func(t *testing.T) {
			rapidly(t, func(rt *rapid.T, d draw, req policy.Request, set policy.Set) {
				limit(&set, nil)
				before := policy.Evaluate(req, set).Allowed
				limit(&set, genPolicies(d, t, types[name], true))
				if policy.Evaluate(req, set).Allowed && !before {
					rt.Fatalf("the %s allows %+v", name, req)
				}
				limit(&set, []*policy.Policy{})
				if d := policy.Evaluate(req, set); d.Allowed && !before {
					rt.Fatalf("an empty %s allows %+v", name, req)
				}
			})
		})
	}
}

func TestTheOrderOfPoliciesIsIrrelevant(t *testing.T) {
	rapidly(t, func(rt *rapid.T, d draw, req policy.Request, set policy.Set) {
		set.Identity = slices.Concat(set.Identity, genPolicies(d, t, policy.Identity, true), genPolicies(d, t, policy.Identity, true))
		before := policy.Evaluate(req, set)
		rand.New(rand.NewSource(int64(d(1<<30, "seed")))).Shuffle(len(set.Identity), func(i, j int) {
			set.Identity[i], set.Identity[j] = set.Identity[j], set.Identity[i]
		})
		after := policy.Evaluate(req, set)
		if before.Allowed != after.Allowed || before.Because(req) != after.Because(req) {
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
		add := map[policy.Type]*[]*policy.Policy{
			policy.Identity: &set.Identity, policy.Trust: &set.Resource, policy.Resource: &set.Resource, policy.Boundary: &set.Boundary,
			policy.Session: &set.Session, policy.ResourceControl: &set.ResourceControl,
		}[kind]
		if kind == policy.ServiceControl {
			set.ServiceControl = slices.Clone(set.ServiceControl)
			for i := range set.ServiceControl {
				set.ServiceControl[i] = append(slices.Clone(set.ServiceControl[i]), p)
			}
			continue
		}
		*add = append(slices.Clone(*add), p)
	}
	if after := policy.Evaluate(req, set); !after.Allowed && !after.Explicit {
		t.Fatalf("still denied:\n%s\nafter\n%s", after.Explain(), d.Explain())
	}
}
