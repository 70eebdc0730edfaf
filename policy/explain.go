package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Explain is the decision in words: the answer, the statement that decides with
// its place, and for a denial what was asked, what was found, and the smallest
// change that would allow the request.
func (d Decision) Explain() string {
	var b strings.Builder
	reasons := d.Reasons()
	verb := "may"
	if !d.Allowed {
		verb = "may not"
	}
	fmt.Fprintf(&b, "%s. %s %s %s", map[bool]string{true: "Yes", false: "No"}[d.Allowed], d.req.Principal, verb, d.req.Action)
	if d.req.Resource != "" {
		fmt.Fprintf(&b, " on %s", d.req.Resource)
	}
	b.WriteString(".\n")
	switch {
	case d.Explicit:
		d.explainDeny(&b, reasons)
	case d.Allowed:
		d.explainAllow(&b, reasons)
	default:
		d.explainLacks(&b, reasons)
	}
	return strings.TrimRight(b.String(), "\n")
}

func (d *Decision) explainDeny(b *strings.Builder, reasons []Reason) {
	for _, r := range reasons {
		if r.Applied && r.Effect == "Deny" {
			fmt.Fprintf(b, "%s denies it explicitly, and a Deny beats every Allow.\n", capital(r.Statement()))
			fmt.Fprintf(b, "To allow it: remove that statement, or narrow it so that it no longer covers this request.\n")
		}
	}
}

func (d *Decision) explainAllow(b *strings.Builder, reasons []Reason) {
	if d.req.Principal.Kind == Root && !d.findings.allowed[Identity] && d.findings.granted != namedDirectly {
		b.WriteString("The root user of an account may do everything in it.\n")
	}
	for _, r := range reasons {
		if r.Applied && r.Effect == "Allow" {
			fmt.Fprintf(b, "%s allows it.\n", capital(r.Statement()))
		}
	}
}

func (d *Decision) explainLacks(b *strings.Builder, reasons []Reason) {
	lacks := d.lacks()
	for _, t := range checks {
		if !lacks.has(t) {
			continue
		}
		fmt.Fprintf(b, "No %s allows it%s.\n", d.called(t), d.role(t))
		near := nearest(reasons, t)
		if near != nil {
			fmt.Fprintf(b, "The nearest is %s, but %s.\n", near.Statement(), near.Mismatch())
		}
		fmt.Fprintf(b, "To allow it: %s.\n", d.change(t, near))
	}
}

// role says why the type counts, where that is not plain.
func (d *Decision) role(t Type) string {
	sameAccount := d.req.ResourceAccount == "" || d.req.ResourceAccount == d.req.Principal.Account
	switch {
	case t == Boundary || t == Session || t == ServiceControl || t == ResourceControl:
		return ", and it limits what the others grant"
	case t == Identity && d.findings.trust && d.findings.granted == namedAccount && sameAccount:
		return "; the trust policy names the account only, so that the caller's own policies must allow it as well"
	case d.req.Principal.inIAM() && !sameAccount:
		return "; the resource is in account " + d.req.ResourceAccount + ", and across accounts both sides must allow"
	case t == Resource && d.findings.trust:
		return "; a role is assumed only by whom its trust policy allows"
	}
	return ""
}

// nearest is the Allow statement of type t that came nearest to applying.
func nearest(reasons []Reason, t Type) *Reason {
	rank := func(r *Reason) int {
		switch strings.TrimPrefix(r.Clause, "Not") {
		case "Condition":
			return 4
		case "Resource":
			return 3
		case "Action":
			service, _, _ := strings.Cut(r.Found[0], ":")
			if slices.ContainsFunc(r.Wanted, func(s string) bool { return strings.HasPrefix(asciiLower(s), asciiLower(service)+":") }) {
				return 2
			}
			return 1
		}
		return 0
	}
	var best *Reason
	for i := range reasons {
		r := &reasons[i]
		if r.Effect != "Allow" || r.Applied || !(r.Type == t || t == Resource && r.Type == Trust) {
			continue
		}
		if best == nil || rank(r) > rank(best) {
			best = r
		}
	}
	if best != nil && rank(best) == 1 && t != Resource {
		return nil // a statement about another service says nothing
	}
	return best
}

// change is the smallest change that would allow the request.
func (d *Decision) change(t Type, near *Reason) string {
	if near == nil {
		return "add a statement such as " + d.allow(t) + where(t, d.called(t))
	}
	place := fmt.Sprintf("statement %d", near.Index+1)
	switch near.Clause {
	case "Principal":
		return fmt.Sprintf("add %s to the Principal of %s", d.principalValue(), place)
	case "Action", "Resource":
		return fmt.Sprintf("add %q to the %s of %s", near.Found[0], near.Clause, place)
	case "NotPrincipal", "NotAction", "NotResource":
		return fmt.Sprintf("take %q out of the %s of %s", near.Found[0], near.Clause, place)
	}
	return near.Remedy(&d.req)
}

func where(t Type, name string) string {
	switch t {
	case Boundary, Session, ServiceControl, ResourceControl, Resource:
		return " to the " + name
	}
	return " to a policy of the caller"
}

// allow is the statement that would do, in JSON.
func (d *Decision) allow(t Type) string {
	statement := statementJSON{Effect: "Allow", Action: d.req.Action, Resource: d.req.Resource}
	if t == Resource {
		statement.Principal = d.principalValue()
		if d.findings.trust {
			statement.Resource = ""
		}
	}
	text, err := marshal(statement, "", "")
	if err != nil {
		return "an Allow of " + d.req.Action
	}
	return string(text)
}

// principalValue is the caller as a Principal element names it.
func (d *Decision) principalValue() json.RawMessage {
	p := &d.req.Principal
	var v any = "*"
	switch p.Kind {
	case Service:
		v = map[string]string{"Service": p.ARN}
	case Federated:
		v = map[string]string{"Federated": p.ARN}
	case Root, User, AssumedRole:
		v = map[string]string{"AWS": p.identityARN()}
	}
	text, _ := json.Marshal(v) // strings and maps of strings always marshal
	return text
}

// Statement is the statement's place: `statement 1 (Sid "X", line 3, column 5)
// of POLICY`.
func (r Reason) Statement() string {
	sid := ""
	if r.Sid != "" {
		sid = fmt.Sprintf("Sid %q, ", r.Sid)
	}
	name := r.Policy
	if name == "" {
		name = "the " + r.Type.String()
	}
	return fmt.Sprintf("statement %d (%sline %d, column %d) of %s", r.Index+1, sid, r.Line, r.Col, name)
}

// Mismatch is the clause that failed, with what it wants and what was found:
// `its condition StringEquals on aws:RequestTag/x wants "a", and the request has "b"`.
// It is empty for a statement that applied.
func (r Reason) Mismatch() string {
	switch {
	case r.Applied:
		return ""
	case r.Clause == "Condition":
		found := "the request has " + quoted(r.Found, "and")
		if r.Found == nil {
			found = "the request does not have that key"
		}
		return fmt.Sprintf("its condition %s on %s wants %s, and %s", r.Operator, r.Key, quoted(r.Wanted, "or"), found)
	case r.Key != "":
		return fmt.Sprintf("its %s is %s, and the request has no single value for the variable ${%s}", r.Clause, quoted(r.Wanted, "or"), r.Key)
	case strings.HasPrefix(r.Clause, "Not"):
		return fmt.Sprintf("its %s excludes %s", r.Clause, quoted(r.Found, "and"))
	}
	return fmt.Sprintf("its %s is %s, and the request's is %s", r.Clause, quoted(r.Wanted, "or"), quoted(r.Found, "and"))
}

// sourceKeys exist only in requests that an AWS service makes on someone's behalf.
var sourceKeys = map[string]bool{
	"aws:sourcearn": true, "aws:sourceaccount": true, "aws:sourceorgid": true, "aws:sourceorgpaths": true,
}

// Remedy is the smallest change that makes a failed condition hold.
func (r Reason) Remedy(req *Request) string {
	place := fmt.Sprintf("the condition on %s in statement %d", r.Key, r.Index+1)
	switch {
	case r.Clause != "Condition":
		return ""
	case sourceKeys[asciiLower(r.Key)] && req.Principal.Kind != Service:
		return "remove " + place + ": the key exists only when an AWS service calls, so with this principal the condition never holds"
	case r.Found == nil:
		return fmt.Sprintf("make the request carry %s, or remove %s", r.Key, place)
	case len(r.Found) > 1 && !strings.HasPrefix(r.Operator, "For"):
		return fmt.Sprintf("write ForAnyValue:%s or ForAllValues:%s in %s: the key has several values, which the plain operator never matches", r.Operator, r.Operator, place)
	case strings.Contains(r.Operator, "Not"):
		return fmt.Sprintf("take what matches %s out of %s", quoted(r.Found, "and"), place)
	case strings.HasPrefix(r.Operator, "Null"), strings.HasPrefix(r.Operator, "Bool"):
		return "change the request, or remove " + place
	}
	return fmt.Sprintf("make the request carry %s, or add %s to %s", quoted(r.Wanted, "or"), quoted(r.Found, "and"), place)
}

// quoted lists values for people; long lists are cut.
func quoted(values []string, word string) string {
	const most = 5
	if len(values) == 0 {
		return "nothing"
	}
	list := make([]string, 0, most+1)
	for i, v := range values {
		if i == most && len(values) > most+1 {
			list = append(list, fmt.Sprintf("%d more", len(values)-most))
			break
		}
		list = append(list, fmt.Sprintf("%q", v))
	}
	if len(list) == 1 {
		return list[0]
	}
	last := len(list) - 1
	return strings.Join(list[:last], ", ") + " " + word + " " + list[last]
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
