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
		Statements:  d.Reasons(),
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
