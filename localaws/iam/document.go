package iam

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"github.com/openpodidentity/podid/policy"
)

// Document is a policy as it was written, and parsed.
type Document struct {
	Text     string
	compiled *policy.Policy
}

// MarshalJSON writes the text alone.
func (d Document) MarshalJSON() ([]byte, error) { return json.Marshal(d.Text) }

// UnmarshalJSON reads the text; it is not parsed yet.
func (d *Document) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &d.Text) }

func (d *Document) compile(t policy.Type, name string) error {
	p, err := policy.Parse(t, name, []byte(d.Text))
	if err != nil {
		return fmt.Errorf("parse %s: %w", name, err)
	}
	d.compiled = p
	return nil
}

// Parse checks a document that a caller sent. MalformedPolicyDocument.
func Parse(t policy.Type, name, text string) (Document, error) {
	d := Document{Text: text}
	p, err := policy.Parse(t, name, []byte(text))
	if err != nil {
		return Document{}, malformedPolicy(t, err)
	}
	if p.Empty() {
		return Document{}, malformed("Syntax errors in policy. The list of statements is empty; expected at least one.")
	}
	d.compiled = p
	return d, nil
}

// Policy is the parsed document.
func (d Document) Policy() *policy.Policy { return d.compiled }

// size is what counts against a quota: white space does not.
//
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
func (d Document) size() int {
	n := 0
	for _, r := range d.Text {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	return n
}

// span is a principal in a document, as byte offsets of its JSON string.
type span struct {
	value      string
	start, end int64
}

// principals finds the values of "AWS" in Principal and NotPrincipal of the
// statements of a document.
func principals(text string) []span {
	var (
		found []span
		dec   = json.NewDecoder(strings.NewReader(text))
		path  []string // keys of the enclosing objects; "" for an array
		keyed []bool   // whether the next token of an object is a value
	)
	for {
		before := dec.InputOffset()
		token, err := dec.Token()
		if err != nil {
			return found
		}
		depth := len(path) - 1
		object := depth >= 0 && path[depth] != "[]"
		if delim, ok := token.(json.Delim); ok {
			switch delim {
			case '{':
				path, keyed = append(path, ""), append(keyed, false)
			case '[':
				path, keyed = append(path, "[]"), append(keyed, false)
			default:
				path, keyed = path[:depth], keyed[:depth]
				if depth > 0 {
					keyed[depth-1] = false
				}
			}
			continue
		}
		s, isString := token.(string)
		switch {
		case object && !keyed[depth]:
			path[depth], keyed[depth] = s, true
		default:
			if isString && isPrincipal(path) {
				end := dec.InputOffset()
				start := before + int64(strings.IndexByte(text[before:end], '"'))
				found = append(found, span{s, start, end})
			}
			if object {
				keyed[depth] = false
			}
		}
	}
}

// isPrincipal matches Statement / Principal / AWS, with arrays anywhere.
func isPrincipal(path []string) bool {
	var keys []string
	for _, p := range path {
		if p != "[]" {
			keys = append(keys, p)
		}
	}
	return len(keys) == 3 && keys[0] == "Statement" && (keys[1] == "Principal" || keys[1] == "NotPrincipal") && keys[2] == "AWS"
}

// replacePrincipal writes another principal in the place of one.
func replacePrincipal(text, old, replacement string) string {
	var b strings.Builder
	at := int64(0)
	for _, p := range principals(text) {
		if p.value == old {
			b.WriteString(text[at:p.start])
			b.WriteString(`"` + replacement + `"`)
			at = p.end
		}
	}
	return b.String() + text[at:]
}

// checkPrincipals refuses a trust policy that names a user or role of this
// account that does not exist, as AWS does.
func (s *State) checkPrincipals(text string) error {
	for _, p := range principals(text) {
		resource, ours := strings.CutPrefix(p.value, s.arn("", "", ""))
		named := ours && (strings.HasPrefix(resource, "user/") || strings.HasPrefix(resource, "role/"))
		orphaned := isUniqueID(p.value)
		if named && s.identityByARN(p.value) == nil || orphaned {
			return malformed(`Invalid principal in policy: "AWS":"%s"`, p.value)
		}
	}
	return nil
}

func isUniqueID(s string) bool {
	return len(s) == 21 && (strings.HasPrefix(s, "AROA") || strings.HasPrefix(s, "AIDA"))
}
