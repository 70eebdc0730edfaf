package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// TrustSid is the Sid of the statement that lets pod identity assume a role
// (https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html).
const TrustSid = "AllowEksAuthToAssumeRoleForPodIdentity"

// TrustStatement describes the statement that lets pod identity assume a role.
// Exactly one of Service and AWS is set.
type TrustStatement struct {
	// Service is the principal inside AWS: pods.eks.amazonaws.com.
	Service string
	// AWS is the ARN of the user or role that podid's broker signs as.
	AWS string
	// SourceARN (of the cluster) and SourceAccount keep other clusters and accounts
	// from using the service on the role: conditions on aws:SourceArn and
	// aws:SourceAccount. With AWS they are an error: these keys exist only when a
	// service calls, so the conditions would always deny.
	SourceARN, SourceAccount string
	// Tags are conditions on the session's tags, aws:RequestTag/KEY: the values by
	// key, with * and ? as wildcards.
	Tags map[string]string
}

// statementJSON is a statement in the order in which AWS writes it.
type statementJSON struct {
	Sid       string `json:",omitempty"`
	Effect    string
	Principal json.RawMessage `json:",omitempty"`
	Action    any
	Resource  string                       `json:",omitempty"`
	Condition map[string]map[string]string `json:",omitempty"`
}

func (t TrustStatement) statement() (s statementJSON, err error) {
	principal := map[string]string{"Service": t.Service}
	switch {
	case (t.Service == "") == (t.AWS == ""):
		return s, errors.New("trust statement: give either a service or the ARN of an IAM principal")
	case t.AWS != "" && (t.SourceARN != "" || t.SourceAccount != ""):
		return s, errors.New("trust statement: aws:SourceArn and aws:SourceAccount exist only when an AWS service calls; with an IAM principal such conditions always deny")
	case t.AWS != "":
		principal = map[string]string{"AWS": t.AWS}
	}
	s = statementJSON{Sid: TrustSid, Effect: "Allow", Action: []string{"sts:AssumeRole", "sts:TagSession"}}
	if s.Principal, err = json.Marshal(principal); err != nil {
		return s, err
	}
	s.Condition = make(map[string]map[string]string)
	condition := func(operator, key, value string) {
		if value == "" {
			return
		}
		if s.Condition[operator] == nil {
			s.Condition[operator] = make(map[string]string)
		}
		s.Condition[operator][key] = value
	}
	condition("StringEquals", "aws:SourceAccount", t.SourceAccount)
	condition("ArnEquals", "aws:SourceArn", t.SourceARN)
	for key, value := range t.Tags {
		operator := "StringEquals"
		if strings.ContainsAny(value, "*?") {
			operator = "StringLike"
		}
		condition(operator, "aws:RequestTag/"+key, value)
	}
	return s, nil
}

// Document is a whole trust policy with this one statement, in the layout of
// AWS's documentation.
func (t TrustStatement) Document() ([]byte, error) {
	s, err := t.statement()
	if err != nil {
		return nil, err
	}
	doc, err := marshal(struct {
		Version   string
		Statement []statementJSON
	}{version2012, []statementJSON{s}}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("trust statement: %w", err)
	}
	if _, err := Parse(Trust, "", doc); err != nil {
		return nil, fmt.Errorf("trust statement: %w", err)
	}
	return append(doc, '\n'), nil
}

// Merge puts the statement into an existing trust policy: in place of the
// statement with its Sid, or as the last one. Everything else stays byte for
// byte; a document that has the statement already is returned as it is.
func (t TrustStatement) Merge(document []byte) ([]byte, error) {
	s, err := t.statement()
	if err != nil {
		return nil, err
	}
	if _, err := Parse(Trust, "existing trust policy", document); err != nil {
		return nil, err
	}
	_, root, err := readDocument("existing trust policy", document)
	if err != nil {
		return nil, err
	}
	merged, err := splice(document, root.member("Statement"), s)
	if err != nil {
		return nil, err
	}
	if _, err := Parse(Trust, "merged trust policy", merged); err != nil {
		return nil, err
	}
	return merged, nil
}

func (n *node) member(key string) *node {
	for _, m := range n.members {
		if m.key == key {
			return m.value
		}
	}
	return nil
}

func splice(document []byte, body *node, s statementJSON) ([]byte, error) {
	statements := []*node{body}
	if body.kind == arrayNode {
		statements = body.items
	}
	layout := layoutOf(document, statements)
	text, err := layout.render(s)
	if err != nil {
		return nil, err
	}
	for _, n := range statements {
		if sid := n.member("Sid"); sid != nil && sid.text == s.Sid {
			if same(document[n.start:n.end], text) {
				return document, nil
			}
			return replace(document, n.start, n.end, text), nil
		}
	}
	switch {
	case body.kind != arrayNode:
		both := slices.Concat([]byte("["), document[body.start:body.end], []byte(","), layout.gap(), text, []byte("]"))
		return replace(document, body.start, body.end, both), nil
	case len(statements) == 0:
		return replace(document, body.start, body.end, slices.Concat([]byte("["), text, []byte("]"))), nil
	}
	last := statements[len(statements)-1]
	return replace(document, last.end, last.end, slices.Concat([]byte(","), layout.gap(), text)), nil
}

// layout is how a document indents: its statements by prefix, and what is in
// them by unit more; and how its lines end.
type layout struct {
	lines        bool
	prefix, unit string
	end          string
}

func layoutOf(document []byte, statements []*node) layout {
	l := layout{lines: bytes.IndexByte(bytes.TrimSpace(document), '\n') >= 0, end: "\n"}
	if first := bytes.IndexByte(document, '\n'); first > 0 && document[first-1] == '\r' {
		l.end = "\r\n"
	}
	l.unit = unitOf(document)
	if len(statements) == 0 {
		l.prefix = l.unit
		return l
	}
	line := document[bytes.LastIndexByte(document[:statements[0].start], '\n')+1 : statements[0].start]
	l.prefix = string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
	return l
}

// unitOf is the indentation of the first line that has any; two spaces if none
// has.
func unitOf(document []byte) string {
	for line := range bytes.Lines(document) {
		text := bytes.TrimLeft(line, " \t")
		if indent := line[:len(line)-len(text)]; len(indent) > 0 && len(bytes.TrimSpace(text)) > 0 {
			return string(indent)
		}
	}
	return "  "
}

func (l layout) gap() []byte {
	if l.lines {
		return []byte(l.end + l.prefix)
	}
	return nil
}

func (l layout) render(s statementJSON) ([]byte, error) {
	if !l.lines {
		return marshal(s, "", "")
	}
	text, err := marshal(s, l.prefix, l.unit)
	return bytes.ReplaceAll(text, []byte("\n"), []byte(l.end)), err // in JSON's strings a newline is escaped
}

// marshal is JSON without HTML escapes and without a last newline; one line if
// indent is empty.
func marshal(v any, prefix, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent(prefix, indent)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

func same(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func replace(document []byte, start, end int, text []byte) []byte {
	return slices.Concat(document[:start], text, document[end:])
}
