package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
)

// Report is a decision for machines, as JSON. Its fields stay; new ones may come.
type Report struct {
	// Decision is one of the policy simulator's words
	// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_EvaluationResult.html).
	Decision  string `json:"decision"`
	Principal string `json:"principal"` // its ARN, a service's name, or "anonymous"
	Action    string `json:"action"`
	Resource  string `json:"resource,omitempty"`
	// Because is AWS's own clause for a denial: [Decision.Because].
	Because string `json:"because,omitempty"`
	// Missing are the types of the policies that had to allow and did not.
	Missing []string `json:"missing,omitempty"`
	// Statements is every statement of every policy that applies to the principal,
	// in the order of AWS's evaluation.
	Statements []Reason `json:"statements"`
	// Fix is the smallest change that would allow the request: [Decision.Fix].
	Fix string `json:"fix,omitempty"`
	// Changes is the same as data.
	Changes []Change `json:"changes,omitempty"`
	// Explanation is the decision in words: [Decision.Explain].
	Explanation string `json:"explanation"`
}

// The words of Report.Decision.
const (
	Allowed      = "allowed"
	ImplicitDeny = "implicitDeny"
	ExplicitDeny = "explicitDeny"
)

// Report is the whole of what is known about the decision.
func (d Decision) Report() Report {
	changes := d.Changes()
	r := Report{
		Decision:    Allowed,
		Principal:   cmp.Or(d.req.Principal.ARN, "anonymous"),
		Action:      d.req.Action,
		Resource:    d.req.Resource,
		Because:     d.Because(d.req),
		Statements:  d.marked(),
		Fix:         fix(changes),
		Changes:     changes,
		Explanation: d.explain(changes),
	}
	switch {
	case d.Explicit:
		r.Decision = ExplicitDeny
	case !d.Allowed:
		r.Decision = ImplicitDeny
	}
	for _, t := range d.Missing() {
		r.Missing = append(r.Missing, t.String())
	}
	return r
}

// MarshalJSON writes the Report.
func (d Decision) MarshalJSON() ([]byte, error) { return json.Marshal(d.Report()) }

// marked are the Reasons with those that decide, or came nearest, marked.
func (d *Decision) marked() []Reason {
	c := d.context()
	reasons := []Reason{}
	for _, a := range d.attached() {
		for i := range a.statements {
			s := &a.statements[i]
			v := s.try(&c)
			r := s.reason(&c, a.Policy, v)
			r.Level = a.level
			r.Decides = r.Applied && (d.Explicit && s.deny || d.Allowed && d.lets(a, v))
			reasons = append(reasons, r)
		}
	}
	for _, l := range d.missing() {
		if near := d.nearest(l); near != nil && !d.Explicit {
			for i := range reasons {
				r := &reasons[i]
				r.Nearest = r.Nearest || r.Policy == near[0].Policy && r.Type == near[0].Type && r.Level == near[0].Level && r.Index == near[0].Index
			}
		}
	}
	return reasons
}

// lets reports whether an Allow that applied counts: resource control policies
// only deny, and what names the account in its own resource policy grants nothing.
func (d *Decision) lets(a attached, v verdict) bool {
	sameAccount := d.req.resourceAccount() == d.req.Principal.Account
	switch {
	case a.as == ResourceControl:
		return false
	case a.as == Resource && sameAccount && v.names == namedAccount:
		return d.req.Principal.Kind == Root
	case a.as == Boundary || a.as == Session:
		return !(sameAccount && d.findings.granted == namedDirectly)
	}
	return true
}

// MarshalJSON writes the reason with its statement's number counted from 1.
func (r Reason) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Policy    string   `json:"policy"`
		Type      Type     `json:"type"`
		Level     int      `json:"level,omitempty"`
		Statement int      `json:"statement"`
		Sid       string   `json:"sid,omitempty"`
		Line      int      `json:"line"`
		Column    int      `json:"column"`
		Effect    string   `json:"effect"`
		Applied   bool     `json:"applied"`
		Decides   bool     `json:"decides,omitempty"`
		Nearest   bool     `json:"nearest,omitempty"`
		Clause    string   `json:"clause,omitempty"`
		Operator  string   `json:"operator,omitempty"`
		Key       string   `json:"key,omitempty"`
		Variable  string   `json:"variable,omitempty"`
		Wanted    []string `json:"wanted,omitempty"`
		Found     []string `json:"found,omitempty"`
	}{
		r.Policy, r.Type, r.Level, r.Index + 1, r.Sid, r.Line, r.Col, r.Effect, r.Applied, r.Decides, r.Nearest,
		r.Clause, r.Operator, r.Key, r.Variable, r.Wanted, r.Found,
	})
}

// MarshalText is AWS's name of the type: "identity-based policy".
func (t Type) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (t *Type) UnmarshalText(text []byte) error {
	for one := Identity; one <= ResourceControl; one++ {
		if one.String() == string(text) {
			*t = one
			return nil
		}
	}
	return fmt.Errorf("there is no type of policies %q", text)
}
