package policy_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"github.com/openpodidentity/podid/policy"
)

// lintCase is a document of testdata/lint.txtar.
type lintCase struct {
	rule, name string
	kind       policy.Type
	document   []byte
	want       *txtar.File
}

func lintCases(t testing.TB) (*txtar.Archive, []lintCase) {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/lint.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var cases []lintCase
	for i := 0; i+1 < len(archive.Files); i += 2 {
		document, want := archive.Files[i], &archive.Files[i+1]
		stem := strings.TrimSuffix(document.Name, ".json")
		kind, ok := policy.ParseType(strings.TrimPrefix(path.Ext(stem), "."))
		if !ok || stem == document.Name || want.Name != stem+".want" {
			t.Fatalf("%s and %s are no case", document.Name, want.Name)
		}
		cases = append(cases, lintCase{path.Dir(stem), path.Base(stem), kind, document.Data, want})
	}
	return archive, cases
}

func findingsText(findings []policy.Finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%d:%d: %s: %s [%s]\n  why: %s\n  fix: %s\n", f.Line, f.Column, f.Severity, f.What, f.Rule, f.Why, f.Fix)
	}
	return b.String()
}

func TestLintGoldens(t *testing.T) {
	archive, cases := lintCases(t)
	for _, c := range cases {
		t.Run(c.rule+"/"+c.name, func(t *testing.T) {
			findings := policy.Lint(c.kind, "", c.document)
			got := findingsText(findings)
			if *update {
				c.want.Data = []byte(got)
			} else if got != string(c.want.Data) {
				t.Errorf("%s\ngot:\n%swant:\n%s", c.document, got, c.want.Data)
			}
			raised := slices.ContainsFunc(findings, func(f policy.Finding) bool { return f.Rule == c.rule })
			near := strings.HasPrefix(c.name, "near-") && !strings.HasPrefix(c.name, "near-the-limit")
			if raised == near {
				t.Errorf("raises its rule: %v", raised)
			}
		})
	}
	if *update {
		if err := os.WriteFile("testdata/lint.txtar", txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEveryLintRuleIsDocumentedAndTriedBothWays(t *testing.T) {
	page, err := os.ReadFile("../docs/policy-lint.md")
	if err != nil {
		t.Fatal(err)
	}
	_, cases := lintCases(t)
	for _, rule := range policy.LintRules() {
		_, section, found := strings.Cut(string(page), "\n## "+rule+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		if !found || !strings.Contains(section, "https://docs.aws.amazon.com/") || !strings.Contains(section, "**Fix**") {
			t.Errorf("docs/policy-lint.md has no section on %s with a **Fix** and AWS's page", rule)
		}
		both := map[bool]bool{}
		for _, c := range cases {
			if c.rule == rule {
				both[strings.HasPrefix(c.name, "near-")] = true
			}
		}
		if !both[true] || !both[false] {
			t.Errorf("testdata/lint.txtar needs a case that raises %s and a near one that does not", rule)
		}
	}
	for _, line := range strings.Split(string(page), "\n") {
		if rule, ok := strings.CutPrefix(line, "## "); ok && !slices.Contains(policy.LintRules(), rule) {
			t.Errorf("docs/policy-lint.md has a section on %s, which is no rule", rule)
		}
	}
}

// The order of Go's maps would show here.
func TestLintSaysTheSameEachTime(t *testing.T) {
	_, cases := lintCases(t)
	for _, c := range cases {
		first := findingsText(policy.Lint(c.kind, "", c.document))
		for range 3 {
			if again := findingsText(policy.Lint(c.kind, "", c.document)); again != first {
				t.Fatalf("%s, then %s", first, again)
			}
		}
	}
}

func TestTheTrustStatementsThatPodidPrintsAreClean(t *testing.T) {
	tags := map[string]string{"kubernetes-namespace": "shop", "kubernetes-service-account": "cart-*"}
	const cluster = "arn:aws:eks:eu-central-1:111122223333:cluster/prod"
	for name, s := range map[string]policy.TrustStatement{
		"service":     {Service: "pods.eks.amazonaws.com", SourceARN: cluster, SourceAccount: "111122223333", Tags: tags},
		"any pod":     {Service: "pods.eks.amazonaws.com", SourceARN: cluster, SourceAccount: "111122223333"},
		"broker user": {AWS: "arn:aws:iam::111122223333:user/podid-broker", Tags: map[string]string{"eks-cluster-arn": cluster}},
		"broker role": {AWS: "arn:aws:iam::111122223333:role/podid-auth", Tags: maps.Clone(tags)},
	} {
		document, err := s.Document()
		if err != nil {
			t.Fatal(err)
		}
		if kind := policy.GuessType(document); kind != policy.Trust {
			t.Errorf("%s: taken for a %s", name, kind)
		}
		if findings := policy.Lint(policy.Trust, name, document); findings != nil {
			t.Errorf("%s:\n%s", name, findingsText(findings))
		}
	}
}

func TestSizesAreCountedAsAWSCountsThem(t *testing.T) {
	// A policy of n characters without white space, and n+spaces with it.
	sized := func(kind policy.Type, n, spaces int) []byte {
		statement := `{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/%s"}`
		switch kind {
		case policy.Trust:
			statement = `{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"%s"}}}`
		case policy.Resource, policy.ResourceControl:
			statement = `{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/%s"}`
		}
		document := `{"Version":"2012-10-17","Statement":` + statement + strings.Repeat(" ", spaces) + "}"
		return []byte(fmt.Sprintf(document, strings.Repeat("x", n-len(document)+spaces+len("%s"))))
	}
	for _, c := range []struct {
		kind      policy.Type
		n, spaces int
		want      policy.Severity
	}{
		{policy.Identity, 5529, 5000, ""},
		{policy.Identity, 5530, 0, policy.Notice},
		{policy.Identity, 6144, 5000, policy.Notice},
		{policy.Identity, 6145, 0, policy.Warning},
		{policy.Identity, 10240, 0, policy.Warning},
		{policy.Identity, 10241, 0, policy.Error},
		{policy.Boundary, 6144, 0, policy.Notice},
		{policy.Boundary, 6145, 0, policy.Error},
		{policy.Trust, 1843, 9000, ""},
		{policy.Trust, 2048, 9000, policy.Notice},
		{policy.Trust, 2049, 0, policy.Warning},
		{policy.Trust, 8192, 0, policy.Warning},
		{policy.Trust, 8193, 0, policy.Error},
		{policy.Session, 1800, 43, ""},
		{policy.Session, 2000, 48, policy.Notice},
		{policy.Session, 2000, 49, policy.Error},
		{policy.ServiceControl, 10240, 0, policy.Notice},
		{policy.ServiceControl, 10200, 41, policy.Warning},
		{policy.ServiceControl, 10241, 0, policy.Error},
		{policy.ResourceControl, 5100, 21, policy.Warning},
		{policy.ResourceControl, 5121, 0, policy.Error},
		{policy.Resource, 20480, 9000, policy.Notice},
		{policy.Resource, 20481, 0, policy.Error},
	} {
		document := sized(c.kind, c.n, c.spaces)
		if len(document) != c.n+c.spaces {
			t.Fatalf("%d bytes, not %d", len(document), c.n+c.spaces)
		}
		var got policy.Severity
		for _, f := range policy.Lint(c.kind, "", document) {
			if f.Rule == "size" {
				got = f.Severity
			}
		}
		if got != c.want {
			t.Errorf("%s of %d characters and %d spaces: %q, want %q", c.kind, c.n, c.spaces, got, c.want)
		}
	}
}

func TestTheTypeOfADocumentIsGuessed(t *testing.T) {
	for document, want := range map[string]policy.Type{
		`{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`:                                                                   policy.Identity,
		`{"Statement":{"Effect":"Allow","Principal":"*","Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}}`:             policy.Trust,
		`{"Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRoleWithWebIdentity"}]}`:                                       policy.Trust,
		`{"Statement":[{"Effect":"Allow","Principal":"*","Action":"STS:Assumerole"},{"Effect":"Deny","NotPrincipal":"*","Action":"s3:*"}]}`: policy.Resource,
		`{"Statement":{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Resource":"*"}}`:                                         policy.Resource,
		`{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject"}}`:                                                          policy.Resource,
		`{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}}`:                                                         policy.Identity,
		`[]`: policy.Identity, ``: policy.Identity, `{"Statement":3}`: policy.Identity, `{"Statement":[3]}`: policy.Identity,
	} {
		if got := policy.GuessType([]byte(document)); got != want {
			t.Errorf("%s: %s", document, got)
		}
	}
}

func TestCoveringPatternsMatchWhatTheyCover(t *testing.T) {
	letters := rapid.StringOfN(rapid.SampledFrom([]rune("ab*?")), 0, 6, -1)
	texts := rapid.StringOfN(rapid.SampledFrom([]rune("abcé😀")), 0, 8, -1)
	rapid.Check(t, func(rt *rapid.T) {
		a, b, s := letters.Draw(rt, "a"), letters.Draw(rt, "b"), texts.Draw(rt, "s")
		if policy.Covers(a, b) && policy.Glob(b, s) && !policy.Glob(a, s) {
			rt.Fatalf("%s is said to cover %s, and does not match %s", a, b, s)
		}
		if policy.Disjoint(a, b) && policy.Glob(a, s) && policy.Glob(b, s) {
			rt.Fatalf("%s and %s are said to be disjoint, and both match %s", a, b, s)
		}
		if !policy.Covers(a, a) || !policy.Covers("*", a) {
			rt.Fatalf("%s is not covered by itself and by *", a)
		}
	})
	for _, c := range []struct {
		a, b             string
		covers, disjoint bool
	}{
		{"s3:Get*", "s3:GetObject", true, false},
		{"s3:Get*", "s3:Get*Acl", true, false},
		{"s3:*Object", "s3:Get*", false, false},
		{"s3:???Object", "s3:GetObject", true, false},
		{"s3:?*", "s3:*?", true, false},
		{"?", "*", false, false},
		{"a*b", "a*b*b", true, false},
		{"a*", "b*", false, true},
		{"*a", "*b", false, true},
		{"a?c", "abd", false, true},
	} {
		if got := policy.Covers(c.a, c.b); got != c.covers {
			t.Errorf("%s covers %s: %v", c.a, c.b, got)
		}
		if got := policy.Disjoint(c.a, c.b); got != c.disjoint || got != policy.Disjoint(c.b, c.a) {
			t.Errorf("%s and %s disjoint: %v", c.a, c.b, got)
		}
	}
}

// Taking out what lint calls dead never changes a decision.
func TestDeadStatementsDecideNothing(t *testing.T) {
	found := 0
	rapidly(t, func(rt *rapid.T, d draw, req policy.Request, set policy.Set) {
		for _, kind := range []policy.Type{policy.Identity, policy.Resource, policy.Trust, policy.Boundary, policy.Session, policy.ServiceControl} {
			with, without, dead := genDead(d, t, kind)
			found += dead
			if dead == 0 {
				continue
			}
			before := policy.Evaluate(req, place(set, kind, with))
			after := policy.Evaluate(req, place(set, kind, without))
			if before.Allowed != after.Allowed || before.Explicit != after.Explicit {
				rt.Fatalf("%v before, %v after:\n%s", before.Allowed, after.Allowed, findingsText(policy.Lint(kind, "", with)))
			}
		}
	})
	if found < 100 {
		t.Errorf("only %d dead statements were tried", found)
	}
}

func place(set policy.Set, kind policy.Type, document []byte) policy.Set {
	p, err := policy.Parse(kind, kind.String(), document)
	if err != nil {
		panic(err)
	}
	one := []*policy.Policy{p}
	switch kind {
	case policy.Identity:
		set.Identity = one
	case policy.Resource, policy.Trust:
		set.Resource = one
	case policy.Boundary:
		set.Boundary = one
	case policy.Session:
		set.Session = one
	case policy.ServiceControl:
		set.ServiceControl = level(one)
	}
	return set
}

// genDead draws a document, and the same without the statements that are dead,
// if there are any.
func genDead(d draw, t testing.TB, kind policy.Type) (with, without []byte, dead int) {
	var statements []map[string]any
	for range d(3, "statements") + 2 {
		s := genStatement(d, kind, pick(d, []string{"Allow", "Allow", "Deny"}, "effect"))
		if len(statements) > 0 && d(2, "relative") == 0 {
			s = maps.Clone(pick(d, statements, "of"))
			s["Effect"] = pick(d, []string{"Allow", "Deny"}, "effect")
			if s["NotPrincipal"] != nil {
				s["Effect"] = "Deny"
			}
			if s["Action"] != nil {
				actions := []string{"*", "s3:*", "sts:*", "s3:GetObject", "sts:AssumeRole"}
				if kind == policy.Trust {
					actions = []string{"*", "sts:*", "sts:Tag*", "sts:AssumeRole"}
				}
				s["Action"] = pick(d, actions, "action")
			}
			if d(2, "unconditional") == 0 {
				delete(s, "Condition")
			}
		}
		statements = append(statements, s)
	}
	with = documentOf(t, statements)
	gone := map[int]bool{}
	for _, f := range policy.Lint(kind, "", with) {
		if f.Rule == "syntax" {
			t.Fatalf("%s: %+v", with, f)
		}
		if f.Rule == "shadowed" || f.Rule == "unreachable" {
			gone[f.Statement-1] = true
		}
	}
	var rest []map[string]any
	for i, s := range statements {
		if !gone[i] {
			rest = append(rest, s)
		}
	}
	return with, documentOf(t, rest), len(gone)
}

func documentOf(t testing.TB, statements []map[string]any) []byte {
	document, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": append([]map[string]any{}, statements...)})
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func FuzzLint(f *testing.F) {
	_, cases := lintCases(f)
	for _, c := range cases {
		f.Add(int(c.kind), c.document)
	}
	f.Fuzz(func(t *testing.T, kind int, document []byte) {
		checkFindings(t, policy.Type(((kind%7)+7)%7), document)
		checkFindings(t, policy.GuessType(document), document)
	})
}

// checkFindings checks what holds for the findings about any document.
func checkFindings(t *testing.T, kind policy.Type, document []byte) {
	lines := strings.Split(string(document), "\n")
	rules := policy.LintRules()
	for _, f := range policy.Lint(kind, "fuzzed", document) {
		switch {
		case f.What == "" || f.Why == "" || f.Fix == "" || !slices.Contains(rules, f.Rule):
			t.Fatalf("%+v", f)
		case f.Severity != policy.Error && f.Severity != policy.Warning && f.Severity != policy.Notice:
			t.Fatalf("%+v", f)
		case f.Line < 1 || f.Line > len(lines) || f.Column < 1 || f.Column > len(lines[f.Line-1])+1:
			t.Fatalf("outside the document: %+v", f)
		case len(f.What) > 4<<10:
			t.Fatalf("what has %d bytes", len(f.What))
		}
	}
}
