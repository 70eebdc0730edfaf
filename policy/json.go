package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of a document, in bytes. IAM's APIs take 131,072 characters. AWS's limits
// without white space are lower than this one (a managed policy has at most 6,144
// characters, the inline policies of a role 10,240, a bucket policy 20 KB), which
// only keeps the parser's work small.
const (
	MaxDocument     = 128 << 10
	MaxWithoutSpace = 32 << 10 // without the white space between tokens
)

const (
	maxDepth  = 12
	maxValues = 4096 // of one list or object
)

// SyntaxError is a mistake in a document: where it is, and what was expected.
type SyntaxError struct {
	Policy       string // the name given to Parse
	Line, Column int    // from 1; the column counts characters
	Path         string // JSON path: $.Statement[0].Effect; long keys are cut
	Problem      string // what is wrong, with the beginning of the value
	Expected     string // what belongs there; may be empty
}

// Error is one sentence.
func (e *SyntaxError) Error() string {
	s := fmt.Sprintf("line %d, column %d (%s): %s", e.Line, e.Column, e.Path, e.Problem)
	if e.Policy != "" {
		s = e.Policy + ": " + s
	}
	if e.Expected != "" {
		s += "; expected " + e.Expected
	}
	return s
}

// maxExcerpt is how much of a value a SyntaxError shows, in bytes: a document is
// its author's, and an error goes to logs and over wires.
const maxExcerpt = 80

// excerpt is the beginning of a value, quoted.
func excerpt(s string) string { return strconv.Quote(clip(s, maxExcerpt)) }

// clip cuts s, between two characters, to at most n bytes and a mark.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

type nodeKind int

const (
	stringNode  nodeKind = iota
	literalNode          // number, true, false
	nullNode
	objectNode
	arrayNode
)

func (k nodeKind) String() string {
	return [...]string{"a string", "a number or a boolean", "null", "an object", "a list"}[k]
}

// node is a JSON value with its place in the document.
type node struct {
	kind       nodeKind
	path       string
	start, end int    // bytes
	text       string // of a string, number or boolean
	members    []member
	items      []*node
}

type member struct {
	key   string
	start int
	value *node
}

// reader turns a document into nodes. It wraps json.Decoder, which knows the
// grammar, and adds positions, bounds and the refusal of duplicate keys.
type reader struct {
	name string
	doc  []byte
	dec  *json.Decoder
}

func readDocument(name string, doc []byte) (*reader, *node, error) {
	r := &reader{name: name, doc: doc}
	if len(doc) > MaxDocument {
		return nil, nil, r.fail(0, "$", fmt.Sprintf("the document has %d bytes", len(doc)), fmt.Sprintf("at most %d", MaxDocument))
	}
	if n := withoutSpace(doc); n > MaxWithoutSpace {
		return nil, nil, r.fail(0, "$", fmt.Sprintf("the document has %d bytes without the white space between tokens", n), fmt.Sprintf("at most %d", MaxWithoutSpace))
	}
	if at := firstInvalid(doc); at < len(doc) {
		return nil, nil, r.fail(at, "$", "the document is not UTF-8", "")
	}
	r.dec = json.NewDecoder(bytes.NewReader(doc))
	r.dec.UseNumber()
	n, err := r.value("$", 0)
	if err != nil {
		return nil, nil, err
	}
	at := r.next()
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, r.fail(at, "$", "there is something after the document", "nothing")
	}
	return r, n, nil
}

// withoutSpace is the size of doc without the white space between its tokens.
func withoutSpace(doc []byte) (n int) {
	text, escaped := false, false // in a string, after a backslash
	for _, c := range doc {
		switch {
		case escaped:
			escaped = false
		case c == '"':
			text = !text
		case text:
			escaped = c == '\\'
		case isSpace(c):
			continue
		}
		n++
	}
	return n
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// firstInvalid is where doc is not UTF-8, len(doc) if it is.
func firstInvalid(doc []byte) (at int) {
	for at < len(doc) {
		c, n := utf8.DecodeRune(doc[at:])
		if c == utf8.RuneError && n == 1 {
			break
		}
		at += n
	}
	return at
}

// next is where the next token begins.
func (r *reader) next() int { return r.skip(" \t\r\n,:") }

func (r *reader) skip(these string) int {
	i := int(r.dec.InputOffset())
	for i < len(r.doc) && strings.IndexByte(these, r.doc[i]) >= 0 {
		i++
	}
	return i
}

// position is the place of a byte, from 1; the column counts characters.
func (r *reader) position(at int) (line, column int) {
	before := r.doc[:min(at, len(r.doc))]
	line = 1 + bytes.Count(before, []byte{'\n'})
	return line, 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
}

func (r *reader) fail(at int, path, problem, expected string) error {
	line, column := r.position(at)
	return &SyntaxError{Policy: r.name, Line: line, Column: column, Path: path, Problem: problem, Expected: expected}
}

func (r *reader) failNode(n *node, problem, expected string) error {
	return r.fail(n.start, n.path, problem, expected)
}

func (r *reader) token(path string) (json.Token, int, error) {
	at := r.next()
	t, err := r.dec.Token()
	if err == nil {
		return t, at, nil
	}
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, 0, r.fail(len(r.doc), path, "the document ends too early", "valid JSON")
	case errors.As(err, &syntax):
		return nil, 0, r.fail(r.skip(" \t\r\n"), path, "not JSON: "+syntax.Error(), "valid JSON")
	}
	return nil, 0, r.fail(at, path, "not JSON: "+err.Error(), "valid JSON")
}

func (r *reader) value(path string, depth int) (*node, error) {
	t, at, err := r.token(path)
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, r.fail(at, path, "the document is nested too deeply", fmt.Sprintf("at most %d levels", maxDepth))
	}
	n := &node{path: path, start: at}
	switch t := t.(type) {
	case string:
		n.kind, n.text = stringNode, t
	case json.Number:
		n.kind, n.text = literalNode, t.String()
	case bool:
		n.kind, n.text = literalNode, strconv.FormatBool(t)
	case nil:
		n.kind = nullNode
	case json.Delim:
		if t == '{' {
			err = r.object(n, depth)
		} else {
			err = r.array(n, depth)
		}
	}
	n.end = int(r.dec.InputOffset())
	return n, err
}

func (r *reader) object(n *node, depth int) error {
	n.kind = objectNode
	seen := make(map[string]bool)
	for r.dec.More() {
		t, at, err := r.token(n.path)
		if err != nil {
			return err
		}
		key, _ := t.(string)
		path := n.path + "." + clip(key, maxExcerpt)
		if seen[key] {
			return r.fail(at, path, excerpt(key)+" appears twice in one object", "each key once")
		}
		if len(seen) == maxValues {
			return r.fail(at, path, "too many keys in one object", fmt.Sprintf("at most %d", maxValues))
		}
		seen[key] = true
		v, err := r.value(path, depth+1)
		if err != nil {
			return err
		}
		n.members = append(n.members, member{key, at, v})
	}
	_, _, err := r.token(n.path)
	return err
}

func (r *reader) array(n *node, depth int) error {
	n.kind = arrayNode
	for r.dec.More() {
		if len(n.items) == maxValues {
			return r.failNode(n, "too many values in one list", fmt.Sprintf("at most %d", maxValues))
		}
		v, err := r.value(n.path+"["+strconv.Itoa(len(n.items))+"]", depth+1)
		if err != nil {
			return err
		}
		n.items = append(n.items, v)
	}
	_, _, err := r.token(n.path)
	return err
}
