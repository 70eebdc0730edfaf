package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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

// ReportCall is the report of one call that needs several actions of the same
// policies, as sts:AssumeRole with session tags needs sts:TagSession: the report of
// the first decision that refuses, or else of the first one, with the changes that
// allow all of them.
func ReportCall(decisions ...Decision) Report {
	refused := slices.DeleteFunc(slices.Clone(decisions), func(d Decision) bool { return d.Allowed })
	if len(refused) == 0 {
		return decisions[0].Report()
	}
	r := refused[0].report(refused[1:])
	if first := decisions[0].req.Action; decisions[0].Allowed {
		answer, rest, _ := strings.Cut(r.Explanation, "\n")
		r.Explanation = answer + "\n" + first + " is allowed, but the same call needs " + refused[0].needed() + ".\n" + rest
	}
	return r
}

// Report is the whole of what is known about the decision.
func (d Decision) Report() Report { return d.report(nil) }

// report is the Report; also are refused parts of the same call.
func (d Decision) report(also []Decision) Report {
	changes := d.changes(also)
	r := Report{
		Decision:    Allowed,
		Principal:   cmp.Or(d.req.Principal.ARN, "anonymous"),
		Action:      d.req.Action,
		Resource:    d.req.Resource,
		Because:     d.Because(d.req),
		Statements:  d.Reasons(),
		Fix:         fix(changes),
		Changes:     changes,
		Explanation: d.explain(changes, also),
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
		return !sameAccount || d.findings.granted != namedDirectly
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
