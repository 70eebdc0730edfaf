package policy

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
func Lint(t Type, name string, document []byte) []Finding { panic("skeleton") }
