package policy

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// Severity is how much a finding matters.
type Severity string

// The severities: AWS refuses the document, or it does not do what it says
// (Error); it works, and is dangerous or surely not meant (Warning); it can be
// said better (Notice).
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Notice  Severity = "notice"
)

// Finding is one thing that is wrong with a document.
type Finding struct {
	Rule      string   `json:"rule"` // "trust-tag-session", …: a heading of docs/policy-lint.md
	Severity  Severity `json:"severity"`
	Statement int      `json:"statement,omitempty"` // from 1; 0 for the document
	Sid       string   `json:"sid,omitempty"`
	Line      int      `json:"line"` // from 1
	Column    int      `json:"column"`
	What      string   `json:"what"`
	Why       string   `json:"why"`
	Fix       string   `json:"fix"`
}

// Lint checks a document as a reviewer would: the grammar, AWS's size limits, and
// what is dangerous, dead or surely not meant. The findings are in the order of
// the document.
//
// It claims only what the document alone proves: not which account the role is
// in, and not what a service calls its keys.
func Lint(t Type, name string, document []byte) []Finding {
	p, err := Parse(t, name, document)
	if err != nil {
		return []Finding{syntaxFinding(t, document, err)}
	}
	r, root, err := readDocument(name, document)
	if err != nil {
		return []Finding{syntaxFinding(t, document, err)}
	}
	l := &linter{reader: r, policy: p, root: root, work: maxLintWork}
	l.collect()
	for _, r := range lintRules {
		l.rule = r.name
		r.check(l)
	}
	slices.SortStableFunc(l.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return l.findings
}

// maxLintWork bounds the steps of comparing patterns and statements; what is not
// compared is not called covered. A hostile document of [MaxWithoutSpace] bytes meets
// it; one of the size that AWS takes needs about a tenth.
const maxLintWork = 50_000_000

// lintRules are the rules beside syntax.
var lintRules = []struct {
	name  string
	check func(*linter)
}{
	{"size", (*linter).size},
	{"character", (*linter).characters},
	{"wildcard-principal", (*linter).wildcardPrincipal},
	{"trust-tag-session", (*linter).trustTagSession},
	{"confused-deputy", (*linter).confusedDeputy},
	{"oidc-subject", (*linter).oidcSubject},
	{"source-key-with-iam-principal", (*linter).sourceKeys},
	{"not-principal", (*linter).notPrincipals},
	{"not-action-allow", (*linter).notActions},
	{"not-resource-allow", (*linter).notResources},
	{"deleted-principal", (*linter).deletedPrincipals},
	{"action-name", (*linter).actionNames},
	{"resource-shape", (*linter).resourceShape},
	{"unreachable", (*linter).unreachable},
	{"shadowed", (*linter).shadowed},
	{"redundant-value", (*linter).redundantValues},
	{"unknown-key", (*linter).unknownKeys},
	{"key-operator", (*linter).keyOperators},
	{"literal-wildcard", (*linter).literalWildcards},
	{"variable-in-key", (*linter).variableKeys},
	{"old-version", (*linter).oldVersion},
	{"never-holds", (*linter).neverHolds},
	{"empty-condition", (*linter).emptyConditions},
}

// syntaxFinding turns what Parse said into a finding.
func syntaxFinding(t Type, document []byte, err error) Finding {
	f := Finding{
		Rule: "syntax", Severity: Error, Line: 1, Column: 1, What: err.Error(),
		Why: "the document does not follow AWS's grammar of policies, and AWS refuses it",
		Fix: "correct the document here",
	}
	e, ok := errors.AsType[*SyntaxError](err)
	if !ok {
		return f
	}
	f.Line, f.Column, f.What = e.Line, e.Column, e.Problem+" ("+e.Path+")"
	switch e.Expected {
	case "":
	case "valid JSON":
		f.Fix = "correct the JSON here: most often a comma, a quotation mark or a bracket is missing, or is one too many"
	default:
		f.Fix = "expected here: " + e.Expected
	}
	if other := GuessType(document); other != t && !strings.HasSuffix(e.Problem, noTrustAction) {
		if _, err := Parse(other, "", document); err == nil {
			article := "a "
			if other == Identity {
				article = "an "
			}
			f.Fix = "if " + article + other.String() + " is meant, say --type " + typeNames[other] + ": as such the document is in order"
		}
	}
	return f
}

// typeNames are the short names of the types on the command line.
var typeNames = map[Type]string{
	Identity: "identity", Trust: "trust", Resource: "resource", Boundary: "boundary",
	Session: "session", ServiceControl: "scp", ResourceControl: "rcp",
}

// ParseType is the type of a name as the command line has it: identity, trust,
// resource, boundary, session, scp or rcp.
func ParseType(name string) (t Type, ok bool) {
	for t, short := range typeNames {
		if short == name {
			return t, true
		}
	}
	return Identity, false
}

// Short is the name of the type that [ParseType] reads.
func (t Type) Short() string { return typeNames[t] }

// GuessType is the type that a document most likely has: with a Principal a role
// trust policy, if all it speaks of is assuming a role, and else a resource-based
// policy; an identity-based policy otherwise, and if it cannot be read.
func GuessType(document []byte) Type {
	_, root, err := readDocument("", document)
	if err != nil || root.kind != objectNode {
		return Identity
	}
	body := root.member("Statement")
	if body == nil {
		return Identity
	}
	statements := []*node{body}
	if body.kind == arrayNode {
		statements = body.items
	}
	principal, trust := false, true
	for _, s := range statements {
		principal = principal || s.member("Principal") != nil || s.member("NotPrincipal") != nil
		trust = trust && s.member("Resource") == nil && s.member("NotResource") == nil && assumesRole(s)
	}
	switch {
	case principal && trust:
		return Trust
	case principal:
		return Resource
	}
	return Identity
}

// assumesRole reports whether all actions of a statement are about assuming a role.
func assumesRole(statement *node) bool {
	actions := values(cmp.Or(statement.member("Action"), statement.member("NotAction")))
	for _, a := range actions {
		name := asciiLower(a.text)
		if !strings.HasPrefix(name, "sts:") || name != "sts:*" && !slices.Contains(trustVerbs, name) && !strings.HasPrefix(name, "sts:assumerole") {
			return false
		}
	}
	return len(actions) > 0
}

// values are the value of an element, or the values of its list.
func values(n *node) []*node {
	switch {
	case n == nil:
		return nil
	case n.kind == arrayNode:
		return n.items
	}
	return []*node{n}
}

// linter checks one document.
type linter struct {
	*reader
	policy     *Policy
	root       *node
	statements []lintStatement
	findings   []Finding
	rule       string // that is being checked
	work       int    // steps left
}

// lintStatement is a statement with its place in the document.
type lintStatement struct {
	*statement
	node       *node
	conditions []lintCondition
	actionSet  patternSet
	resources  patternSet
}

// lintCondition is a condition with its places: of its operator, its key and its values.
type lintCondition struct {
	*condition
	operatorAt, at int
	values         *node
}

// collect pairs the compiled statements with their nodes.
func (l *linter) collect() {
	for i, n := range values(l.root.member("Statement")) {
		s := lintStatement{statement: &l.policy.statements[i], node: n}
		if body := n.member("Condition"); body != nil {
			next := 0
			for _, operator := range body.members {
				for _, key := range operator.value.members {
					s.conditions = append(s.conditions, lintCondition{&s.statement.conditions[next], operator.start, key.start, key.value})
					next++
				}
			}
		}
		s.actionSet, s.resources = actionSet(s.statement), resourceSet(s.statement)
		l.statements = append(l.statements, s)
	}
}

// assumes reports whether the statement is about assuming a role, and not only
// about tagging a session.
func (s *lintStatement) assumes() bool {
	return slices.ContainsFunc(trustVerbs[:3], func(verb string) bool { return s.matchesAction(verb) != s.notAction })
}

// element is where an element of the statement, or its Not form, begins.
func (s *lintStatement) element(name string) *node {
	if n := s.node.member(name); n != nil {
		return n
	}
	if n := s.node.member("Not" + name); n != nil {
		return n
	}
	return s.node
}

// add reports a finding about a statement, or about the document if s is nil.
func (l *linter) add(s *lintStatement, at int, severity Severity, what, why, fix string) {
	f := Finding{Rule: l.rule, Severity: severity, What: what, Why: why, Fix: fix}
	f.Line, f.Column = l.position(at)
	if s != nil {
		f.Statement, f.Sid = s.index+1, s.sid
	}
	l.findings = append(l.findings, f)
}

// called is how findings name another statement.
func (s *lintStatement) called() string {
	return Reason{Number: s.index + 1, Sid: s.sid, Policy: "this document"}.short()
}
