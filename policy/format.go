package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// MarshalJSON writes the policy in AWS's layout, on one line: Version, Id and
// Statement, which is always a list; in a statement Sid, Effect, Principal, Action,
// Resource and Condition. A list of one is written as the value alone. Values are
// written as they were read, numbers and booleans in quotes, and operators in
// AWS's spelling; a Version that was left out, and what says nothing (an empty Sid
// or Condition), is not kept. Parsing the result gives a policy that decides alike.
func (p *Policy) MarshalJSON() ([]byte, error) {
	document := struct {
		Version   string
		ID        string `json:"Id,omitempty"`
		Statement []statementLayout
	}{p.version, p.id, make([]statementLayout, len(p.statements))}
	for i := range p.statements {
		document.Statement[i] = p.statements[i].layout()
	}
	text, err := marshal(document, "", "")
	if err != nil {
		return nil, fmt.Errorf("write policy: %w", err)
	}
	return text, nil
}

// statementLayout is a statement in the order in which AWS writes it.
type statementLayout struct {
	Sid          string `json:",omitempty"`
	Effect       string
	Principal    any    `json:",omitempty"`
	NotPrincipal any    `json:",omitempty"`
	Action       any    `json:",omitempty"`
	NotAction    any    `json:",omitempty"`
	Resource     any    `json:",omitempty"`
	NotResource  any    `json:",omitempty"`
	Condition    object `json:",omitempty"`
}

func (s *statement) layout() statementLayout {
	l := statementLayout{Sid: s.sid, Effect: "Allow"}
	if s.deny {
		l.Effect = "Deny"
	}
	either := func(not bool, no, yes *any) *any {
		if not {
			return no
		}
		return yes
	}
	if s.principals != nil {
		*either(s.notPrincipal, &l.NotPrincipal, &l.Principal) = principalLayout(s.principals)
	}
	var values []string
	for i := range s.actions {
		values = append(values, s.actions[i].source)
	}
	*either(s.notAction, &l.NotAction, &l.Action) = oneOrMore(values)
	if s.resources != nil {
		values = nil
		for i := range s.resources {
			values = append(values, s.resources[i].source)
		}
		*either(s.notResource, &l.NotResource, &l.Resource) = oneOrMore(values)
	}
	for i := range s.conditions {
		k := &s.conditions[i]
		keys, _ := l.Condition.get(k.label).(object)
		l.Condition.set(k.label, append(keys, field{k.key.name, oneOrMore(k.wanted())}))
	}
	return l
}

func principalLayout(list []grantee) any {
	if list[0].source == "*" {
		return "*"
	}
	var kinds object
	for i := range list {
		kind, value, _ := strings.Cut(list[i].source, ":")
		values, _ := kinds.get(kind).([]string)
		kinds.set(kind, append(values, value))
	}
	for i := range kinds {
		kinds[i].value = oneOrMore(kinds[i].value.([]string))
	}
	return kinds
}

// oneOrMore is the value alone, or the list.
func oneOrMore(values []string) any {
	if len(values) == 1 {
		return values[0]
	}
	return values
}

// object is a JSON object that keeps its order.
type object []field

type field struct {
	key   string
	value any
}

func (m object) get(key string) any {
	for _, f := range m {
		if f.key == key {
			return f.value
		}
	}
	return nil
}

func (m *object) set(key string, value any) {
	for i := range *m {
		if (*m)[i].key == key {
			(*m)[i].value = value
			return
		}
	}
	*m = append(*m, field{key, value})
}

func (m object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range m {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := marshal(f.key, "", "")
		if err != nil {
			return nil, err
		}
		value, err := marshal(f.value, "", "")
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

var _ json.Marshaler = (*Policy)(nil)
