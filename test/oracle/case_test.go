package oracle_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/openpodidentity/podid/policy"
)

// question is one case: a request, and every policy that applies to it.
type question struct {
	Principal string              `json:"principal"` // of cast
	Action    string              `json:"action"`
	Resource  string              `json:"resource-arn"`
	Account   string              `json:"resource-account"`
	Keys      map[string][]string `json:"keys,omitempty"`

	Identity       []document   `json:"identity,omitempty"`
	Trust          *document    `json:"trust,omitempty"`
	ResourcePolicy *document    `json:"resource,omitempty"`
	Boundary       *document    `json:"boundary,omitempty"`
	Session        *document    `json:"session,omitempty"`
	SCP            [][]document `json:"scp,omitempty"` // by level
	RCP            [][]document `json:"rcp,omitempty"`

	probe string // the operator that decides, if the question is about one
}

// document is a policy, in a form that can be changed.
type document struct {
	Version   string      `json:",omitempty"`
	Statement []statement `json:"Statement"`
}

type statement struct {
	Effect       string
	Principal    principals                 `json:",omitzero"`
	NotPrincipal principals                 `json:",omitzero"`
	Action       list                       `json:",omitzero"`
	NotAction    list                       `json:",omitzero"`
	Resource     list                       `json:",omitzero"`
	NotResource  list                       `json:",omitzero"`
	Condition    map[string]map[string]list `json:",omitempty"`
}

// list is one value, written without brackets, or a list of them.
type list struct {
	values []value
	bare   bool
}

// value is a string, or a number or boolean that is written without quotes.
type value struct {
	text string
	raw  bool
}

func one(s string) list { return list{[]value{{text: s}}, true} }

func (l list) IsZero() bool { return l.values == nil }

func (l list) MarshalJSON() ([]byte, error) {
	out := make([]any, len(l.values))
	for i, v := range l.values {
		out[i] = v.text
		if v.raw {
			out[i] = json.RawMessage(v.text)
		}
	}
	if l.bare && len(out) == 1 {
		return json.Marshal(out[0])
	}
	return json.Marshal(out)
}

func (l *list) UnmarshalJSON(data []byte) error {
	var many []json.RawMessage
	if l.bare = data[0] != '['; l.bare {
		many = []json.RawMessage{data}
	} else if err := json.Unmarshal(data, &many); err != nil {
		return err
	}
	l.values = []value{}
	for _, one := range many {
		v := value{raw: one[0] != '"', text: string(one)}
		if !v.raw {
			if err := json.Unmarshal(one, &v.text); err != nil {
				return err
			}
		}
		l.values = append(l.values, v)
	}
	return nil
}

// principals is a Principal element: "*", or names by kind.
type principals struct {
	everyone bool
	kinds    map[string]list
}

// everybody is how a policy of type t names everyone.
func everybody(t policy.Type) principals {
	if t == policy.Trust {
		return principals{kinds: map[string]list{"AWS": one("*")}}
	}
	return principals{everyone: true}
}

func (p principals) IsZero() bool { return !p.everyone && p.kinds == nil }

func (p principals) MarshalJSON() ([]byte, error) {
	if p.everyone {
		return []byte(`"*"`), nil
	}
	return json.Marshal(p.kinds)
}

func (p *principals) UnmarshalJSON(data []byte) error {
	if p.everyone = string(data) == `"*"`; p.everyone {
		return nil
	}
	return json.Unmarshal(data, &p.kinds)
}

// marshal renders without escapes for HTML: a person may read it.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // of types that have no error
	}
	return bytes.TrimSpace(b.Bytes())
}

func (q *question) clone() *question {
	var c question
	if err := json.Unmarshal(marshal(q), &c); err != nil {
		panic(err)
	}
	return &c
}

// each calls do with every document and its type.
func (q *question) each(do func(t policy.Type, d *document)) {
	for i := range q.Identity {
		do(policy.Identity, &q.Identity[i])
	}
	single := func(t policy.Type, d *document) {
		if d != nil {
			do(t, d)
		}
	}
	single(policy.Trust, q.Trust)
	single(policy.Resource, q.ResourcePolicy)
	single(policy.Boundary, q.Boundary)
	single(policy.Session, q.Session)
	for _, level := range q.SCP {
		for i := range level {
			do(policy.ServiceControl, &level[i])
		}
	}
	for _, level := range q.RCP {
		for i := range level {
			do(policy.ResourceControl, &level[i])
		}
	}
}

// request is the question as package policy has it. The keys that follow from
// the principal and the resource are left to it.
func (q *question) request() policy.Request {
	return policy.Request{
		Principal: cast[q.Principal].principal, Action: q.Action, Resource: q.Resource,
		ResourceAccount: q.Account, Keys: q.Keys,
	}
}

func (q *question) set() (policy.Set, error) {
	var failed error
	compile := func(t policy.Type, documents ...document) []*policy.Policy {
		list := []*policy.Policy{}
		for i, d := range documents {
			p, err := policy.Parse(t, fmt.Sprintf("%s %d", t, i+1), marshal(d))
			if err != nil {
				failed = err
				continue
			}
			list = append(list, p)
		}
		return list
	}
	var s policy.Set
	s.Identity = compile(policy.Identity, q.Identity...)
	for t, at := range map[policy.Type]struct {
		d    *document
		list *[]*policy.Policy
	}{
		policy.Trust: {q.Trust, &s.Resource}, policy.Resource: {q.ResourcePolicy, &s.Resource},
		policy.Boundary: {q.Boundary, &s.Boundary}, policy.Session: {q.Session, &s.Session},
	} {
		if at.d != nil {
			*at.list = append(*at.list, compile(t, *at.d)...)
		}
	}
	for _, level := range q.SCP {
		s.ServiceControl = append(s.ServiceControl, compile(policy.ServiceControl, level...))
	}
	for _, level := range q.RCP {
		s.ResourceControl = append(s.ResourceControl, compile(policy.ResourceControl, level...)...)
	}
	return s, failed
}

// verdict is a decision in one word.
type verdict string

const (
	allowed  verdict = "allowed"
	implicit verdict = "implicitly denied"
	explicit verdict = "explicitly denied"
)

// decide is package policy's answer.
func (q *question) decide() (verdict, policy.Decision, error) {
	set, err := q.set()
	if err != nil {
		return "", policy.Decision{}, err
	}
	d := policy.Evaluate(q.request(), set)
	switch {
	case d.Allowed:
		return allowed, d, nil
	case d.Explicit:
		return explicit, d, nil
	}
	return implicit, d, nil
}

// simulation is the question as the simulator has it. It knows no keys but
// those it is given, so that cast tells it what AWS puts into every request.
func (q *question) simulation() map[string]any {
	type named struct {
		Name   string   `json:"name"`
		Policy document `json:"policy"`
	}
	type level struct {
		Org      string  `json:"orgIdentifier"`
		Policies []named `json:"policies"`
	}
	names := func(list []document) []named {
		out := []named{}
		for i, d := range list {
			out = append(out, named{fmt.Sprintf("p%d", i), d})
		}
		return out
	}
	levels := func(list [][]document) []level {
		out := []level{}
		for i, l := range list {
			out = append(out, level{fmt.Sprintf("level %d", i), names(l)})
		}
		return out
	}
	member := cast[q.Principal]
	keys := map[string]any{}
	for key, v := range q.allKeys() {
		keys[key] = v
		if len(v) == 1 && !multivalued[strings.ToLower(key)] {
			keys[key] = v[0]
		}
	}
	var principal any = member.principal.ARN
	if member.principal.Kind == policy.Anonymous {
		principal = map[string]string{"type": "Anonymous"}
	}
	s := map[string]any{
		"request": map[string]any{
			"principal": principal, "action": q.Action, "contextVariables": keys,
			"resource": map[string]string{"resource": q.Resource, "accountId": q.Account},
		},
		"identityPolicies":        names(q.Identity),
		"serviceControlPolicies":  levels(q.SCP),
		"resourceControlPolicies": levels(q.RCP),
	}
	if q.Trust != nil {
		s["resourcePolicy"] = q.Trust
	}
	if q.ResourcePolicy != nil {
		s["resourcePolicy"] = q.ResourcePolicy
	}
	if q.Boundary != nil {
		s["permissionBoundaryPolicies"] = names([]document{*q.Boundary})
	}
	if q.Session != nil {
		s["sessionPolicy"] = q.Session
	}
	return s
}

// applies reports whether a statement of a policy of type t applies to the
// question, by asking package policy about it alone, as a Deny.
func (q *question) applies(t policy.Type, version string, s statement) bool {
	s.Effect = "Deny"
	alone := &question{Principal: q.Principal, Action: q.Action, Resource: q.Resource, Account: q.Account, Keys: q.Keys}
	d := document{version, []statement{s}}
	switch t {
	case policy.Identity:
		alone.Identity = []document{d}
	case policy.Trust:
		alone.Trust = &d
	case policy.Resource:
		alone.ResourcePolicy = &d
	case policy.Boundary:
		alone.Boundary = &d
	case policy.Session:
		alone.Session = &d
	case policy.ServiceControl:
		alone.SCP = [][]document{{d}}
	case policy.ResourceControl:
		alone.RCP = [][]document{{d}}
	}
	v, _, err := alone.decide()
	return err == nil && v == explicit
}

// holds reports whether package policy says that the condition holds.
func (q *question) holds(version, operator, key string, wanted list) bool {
	return q.applies(policy.Resource, version, statement{
		Principal: principals{everyone: true}, Action: one("*"), Resource: one("*"),
		Condition: map[string]map[string]list{operator: {key: wanted}},
	})
}

// allKeys are the request's keys with those that AWS derives from principal,
// resource and the other keys.
func (q *question) allKeys() map[string][]string {
	keys := maps.Clone(q.Keys)
	if keys == nil {
		keys = map[string][]string{}
	}
	derive := func(key string, values ...string) {
		if keys[key] == nil {
			keys[key] = values
		}
	}
	derive("aws:ResourceAccount", q.Account)
	for key, v := range cast[q.Principal].keys {
		derive(key, v)
	}
	if chain := q.Keys["aws:CalledVia"]; chain != nil {
		derive("aws:CalledViaFirst", chain[0])
		derive("aws:CalledViaLast", chain[len(chain)-1])
		derive("aws:ViaAWSService", "true")
	}
	derive("aws:ViaAWSService", "false")
	if q.Keys["aws:RequestTag/team"] != nil {
		derive("aws:TagKeys", "team")
	}
	return keys
}

// found are the values of a key in the request.
func (q *question) found(key string) []string {
	for name, v := range q.allKeys() {
		if strings.EqualFold(name, key) {
			return v
		}
	}
	return nil
}

// sorted are the keys of a map in order, so that a walk is the same every time.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
