package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
)

// Explain is the decision in words: the answer, the statement that decides with
// its place, and for a denial what was asked, what was found, and the smallest
// change that would allow the request.
func (d Decision) Explain() string { return d.explain(d.Changes(), nil) }

// Fix is the smallest change that would allow the request, as a clause in the
// imperative; empty if it is allowed. It is the text of [Decision.Changes].
func (d Decision) Fix() string { return fix(d.Changes()) }

func fix(changes []Change) string {
	texts := make([]string, len(changes))
	for i := range changes {
		texts[i] = changes[i].sentence()
	}
	return strings.Join(texts, "; and ")
}

// sentence is the change with what would do instead.
func (ch *Change) sentence() string {
	if ch.Instead == nil {
		return ch.Text
	}
	return ch.Text + ", or " + ch.Instead.Text
}

// explain is the text; also are refused parts of the same call.
func (d *Decision) explain(changes []Change, also []Decision) string {
	var b strings.Builder
	answer, verb := "Yes", "may"
	if !d.Allowed {
		answer, verb = "No", "may not"
	}
	fmt.Fprintf(&b, "%s. %s %s %s", answer, d.req.Principal.name(), verb, d.req.Action)
	if d.req.Resource != "" {
		fmt.Fprintf(&b, " on %s", d.req.Resource)
	}
	b.WriteString(".\n")
	if d.Allowed {
		d.explainAllow(&b)
		return strings.TrimRight(b.String(), "\n")
	}
	d.explainDeny(&b)
	said := ""
	for _, l := range d.missing() {
		said = d.explainLack(&b, l, said)
	}
	for i := range also {
		fmt.Fprintf(&b, "The same call needs %s, which is refused as well.\n", also[i].needed())
	}
	if len(changes) == 1 {
		fmt.Fprintf(&b, "To allow it: %s.\n", changes[0].sentence())
		return strings.TrimRight(b.String(), "\n")
	}
	b.WriteString("To allow it:\n")
	for i := range changes {
		fmt.Fprintf(&b, "%d. %s.\n", i+1, capital(changes[i].sentence()))
	}
	return strings.TrimRight(b.String(), "\n")
}

// name is how an explanation calls the caller.
func (p *Principal) name() string {
	if p.Kind == Anonymous {
		return "An anonymous caller"
	}
	return cmp.Or(p.ARN, "The caller")
}

// explainAllow names what grants, then the limits that let it pass.
func (d *Decision) explainAllow(b *strings.Builder) {
	p := &d.req.Principal
	granted, limits := 0, 0
	for _, r := range d.Reasons() {
		switch {
		case !r.Decides:
		case r.Type.limits():
			limits++
		default:
			granted++
			fmt.Fprintf(b, "%s allows it.\n", capital(r.Statement()))
		}
	}
	switch {
	case granted > 0:
	case p.Kind == Root:
		b.WriteString("The root user of an account may do everything in it.\n")
	case p.federatedRoot():
		b.WriteString("Behind the session is the root user of the account, who may do everything in it.\n")
	}
	if limits == 0 {
		return
	}
	var names []string
	for _, r := range d.Reasons() {
		if r.Decides && r.Type.limits() {
			names = append(names, r.Statement())
		}
	}
	fmt.Fprintf(b, "%s let%s it pass.\n", capital(listed(names)), plural(len(names)))
}

// limits reports whether policies of the type only limit what others grant.
func (t Type) limits() bool {
	return t == Boundary || t == Session || t == ServiceControl || t == ResourceControl
}

func plural(n int) string {
	if n == 1 {
		return "s"
	}
	return ""
}

// listed joins names for people.
func listed(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// explainDeny names every Deny that applies, with what makes it apply.
func (d *Decision) explainDeny(b *strings.Builder) {
	c := d.context()
	first := true
	for _, a := range d.attached() {
		for i := range a.statements {
			s := &a.statements[i]
			if !s.deny || s.try(&c).failed != applied {
				continue
			}
			m := miss{Reason: s.reason(&c, a.Policy, verdict{}), at: a, statement: s}
			m.Level = a.level
			fmt.Fprintf(b, "%s%s denies it explicitly%s", capital(m.Statement()), d.on(a), m.since(&c))
			if first {
				b.WriteString(", and a Deny beats every Allow")
			}
			b.WriteString(".\n")
			first = false
		}
	}
}

// on says where a policy of an organization is attached.
func (d *Decision) on(a attached) string {
	if a.as != ServiceControl || len(d.set.ServiceControl) < 2 {
		return ""
	}
	return ", at " + d.level(a.level) + ","
}

// level is what people call a level of the organization.
func (d *Decision) level(n int) string {
	switch {
	case n == 1 && len(d.set.ServiceControl) < 2:
		return "the organization"
	case n == 1:
		return "the organization's root"
	case n == len(d.set.ServiceControl):
		return "the account, level " + fmt.Sprint(n)
	}
	return fmt.Sprintf("the organizational unit of level %d of %d", n, len(d.set.ServiceControl))
}

// needed is the action, with what a call needs it for.
func (d *Decision) needed() string {
	if strings.EqualFold(d.req.Action, "sts:TagSession") {
		return d.req.Action + ", for its session tags"
	}
	return d.req.Action
}

// since is what makes a Deny apply, where it is not for everything.
func (m *miss) since(c *context) string {
	s := m.statement
	var causes []string
	if s.notPrincipal {
		causes = append(causes, "its NotPrincipal "+notExempt(c))
	}
	if s.notAction {
		causes = append(causes, "its NotAction does not list the action")
	}
	if s.notResource {
		causes = append(causes, "its NotResource does not list the resource")
	}
	for i := range s.conditions {
		one := m.with(c, &s.conditions[i])
		has := "the request has " + quoted(one.Found, "and")
		if one.Found == nil {
			has = "the request does not have that key"
		}
		causes = append(causes, fmt.Sprintf("its condition %s %s on %s holds: %s", one.Operator, quoted(one.Wanted, "or"), one.Key, has))
	}
	if causes == nil {
		return ""
	}
	return ", since " + strings.Join(causes, ", and ")
}

// notExempt says why NotPrincipal does not exempt the caller.
func notExempt(c *context) string {
	switch p := &c.req.Principal; {
	case c.bounded && p.inIAM() && p.Kind != Root:
		return "never exempts who has a permissions boundary"
	case p.Kind == AssumedRole:
		return "does not list all three: account, role and session"
	case p.Kind == FederatedUser:
		return "does not list all three: account, user and session"
	case p.Kind == User:
		return "does not list both account and user"
	}
	return "does not list the caller"
}

// explainLack says which type of policy does not allow, what it is for unless
// that was said before, and what came nearest.
func (d *Decision) explainLack(b *strings.Builder, l lack, before string) (why string) {
	var says string
	switch {
	case l.Type == Trust:
		says = "the role trust policy does not allow it"
	case l.Type == ServiceControl && len(d.set.ServiceControl) > 1:
		says = "no " + l.String() + " allows it at " + d.level(l.level)
	default:
		says = "no " + l.String() + " allows it"
	}
	if d.Explicit {
		says = "besides, " + says
	}
	why = d.role(l)
	if none := d.none(l); none != "" {
		says += none
	} else if why != before {
		says += why
	}
	fmt.Fprintf(b, "%s.\n", capital(says))
	near := d.nearest(l)
	if near == nil {
		return why
	}
	c := d.context()
	mismatches := make([]string, len(near))
	for i := range near {
		mismatches[i] = near[i].mismatch(&c)
	}
	fmt.Fprintf(b, "The nearest is %s, but %s.\n", near[0].Statement(), strings.Join(mismatches, ", and "))
	return why
}

// none says that there is no policy that could allow.
func (d *Decision) none(l lack) string {
	name := ""
	for _, a := range d.attached() {
		switch {
		case !l.of(a):
		case len(a.statements) > 0:
			return ""
		default:
			name = named(l.Type, a.Name)
		}
	}
	switch {
	case name != "":
		return ": " + name + " has no statement"
	case l.Type == Identity:
		return ": " + d.holder() + " has no policy at all" + d.role(l)
	case l.Type == Session && d.req.Principal.Kind == FederatedUser && d.set.Session == nil:
		return ": the session was made without one, and so has no permission of its user"
	}
	return ": there is none at all"
}

// holder is whose the identity policies are.
func (d *Decision) holder() string {
	p := &d.req.Principal
	return cmp.Or(p.behind(), p.UserARN, p.ARN, "the caller")
}

// role says why the type counts, where that is not plain.
func (d *Decision) role(l lack) string {
	p := &d.req.Principal
	across := p.inIAM() && d.req.resourceAccount() != p.Account
	switch {
	case l.Type == ServiceControl && len(d.set.ServiceControl) > 1:
		return ", and every level must"
	case l.limits():
		return ", and it limits what the others grant"
	case l.Type == Identity && d.findings.trust && d.findings.granted == namedAccount && !across:
		return "; the trust policy names the account only, so that the caller's own policies must allow it as well"
	case across:
		return fmt.Sprintf("; account %s owns the resource, and both accounts must allow", d.req.ResourceAccount)
	}
	return ""
}

// where is what a statement may be added to.
func (d *Decision) where(l lack) string {
	if l.Type == Identity {
		return "a policy of " + d.holder()
	}
	var managed string
	for _, a := range d.attached() {
		switch {
		case !l.of(a):
		case awsManaged(a.Name):
			managed = a.Name
		default:
			return named(l.Type, a.Name)
		}
	}
	at := ""
	if l.Type == ServiceControl && len(d.set.ServiceControl) > 1 {
		at = ", attached to " + d.level(l.level)
	}
	if managed != "" || at != "" {
		return ofYourOwn(l.Type, managed) + at
	}
	return "the " + l.String()
}

// named is how people call the policy of this type and name.
func named(t Type, name string) string {
	switch {
	case name == "":
		return "the " + t.String()
	case !t.limits() || strings.Contains(name, t.String()):
		return name
	}
	return "the " + t.String() + " " + name
}

// awsManaged reports whether the policy of this name is AWS's own, which nobody
// else can change.
func awsManaged(name string) bool {
	return name == fullAWSAccess || strings.HasPrefix(name, "arn:") && strings.Contains(name, ":aws:policy/")
}

// fullAWSAccess is the service control policy that AWS attaches at every level
// (https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps_strategies.html).
const fullAWSAccess = "FullAWSAccess"

// ofYourOwn is the policy of type t to use where AWS's own does not do. There is
// one boundary, and any number of the others.
func ofYourOwn(t Type, managed string) string {
	if t == Boundary && managed != "" {
		return "a " + t.String() + " of your own, in place of " + managed
	}
	return "a " + t.String() + " of your own"
}

// element is the principal as a Principal element of a policy of type t names it.
func (p *Principal) element(t Type) json.RawMessage {
	var v any = "*"
	if t == Trust {
		v = map[string]string{"AWS": "*"}
	}
	switch p.Kind {
	case Service:
		v = map[string]string{"Service": p.ARN}
	case Federated:
		v = map[string]string{"Federated": p.ARN}
	case Root, User, AssumedRole, FederatedUser:
		v = map[string]string{"AWS": cmp.Or(p.identityARN(), p.ARN)}
	}
	text, _ := json.Marshal(v) // strings and maps of strings always marshal
	return text
}
