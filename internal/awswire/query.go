package awswire

import (
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a query-protocol request.
const (
	MaxForm       = 1 << 20 // bytes of the form
	MaxParameters = 5000    // parameters in it
	maxIndex      = 9999    // N of a list's member.N
)

// Query is a decoded call of the AWS query protocol, or one member of a list of
// structures in it. Reading a parameter marks it as known, so that an operation
// can refuse the ones it does not implement (see Unimplemented).
//
// Source: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
type Query struct {
	Action  string
	Version string
	form    *form
	prefix  string
}

type form struct {
	values map[string]string
	read   map[string]bool
}

// ParseQuery decodes a GET's query string, or a POST's form and query string.
// The parameters of a presigned URL (X-Amz-…) are left out. Errors are *Error:
// MissingAction, MalformedQueryString, or EntityTooLarge.
func ParseQuery(r *http.Request) (Query, error) {
	f := &form{values: map[string]string{}, read: map[string]bool{"Action": true, "Version": true}}
	if err := f.add(r.URL.RawQuery); err != nil {
		return Query{}, err
	}
	switch r.Method {
	case http.MethodGet:
	case http.MethodPost:
		body, err := readForm(r)
		if err != nil {
			return Query{}, err
		}
		if err := f.add(body); err != nil {
			return Query{}, err
		}
	default:
		return Query{}, Errorf(http.StatusMethodNotAllowed, "MalformedHttpRequest", "The query protocol takes GET and POST, not %s.", clip(r.Method))
	}
	q := Query{Action: f.values["Action"], Version: f.values["Version"], form: f}
	if q.Action == "" {
		return Query{}, Errorf(http.StatusBadRequest, "MissingAction", "The request is missing an action or a required parameter.")
	}
	// The action's name goes into element names and messages.
	if len(q.Action) > 128 || strings.ContainsFunc(q.Action, func(c rune) bool { return c > unicode.MaxASCII || !unicode.IsLetter(c) && !unicode.IsDigit(c) }) {
		return Query{}, Errorf(http.StatusBadRequest, "InvalidAction", "Could not find operation %s.", clip(q.Action))
	}
	return q, nil
}

func readForm(r *http.Request) (string, error) {
	// A missing type is taken for the form: some small clients leave it out.
	if kind := r.Header.Get("Content-Type"); kind != "" {
		if kind, _, err := mime.ParseMediaType(kind); err != nil || kind != "application/x-www-form-urlencoded" {
			return "", malformed("the Content-Type must be application/x-www-form-urlencoded")
		}
	}
	if r.Body == nil {
		return "", nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxForm+1))
	if err != nil {
		return "", fmt.Errorf("read form: %w", err)
	}
	if len(body) > MaxForm {
		return "", Errorf(http.StatusRequestEntityTooLarge, "EntityTooLarge", "The request is larger than %d bytes.", MaxForm)
	}
	return string(body), nil
}

func (f *form) add(raw string) error {
	if n := strings.Count(raw, "&") + 1; n > MaxParameters {
		return malformed(fmt.Sprintf("more than %d parameters", MaxParameters))
	}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		k, v, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(k)
		if err != nil {
			return malformed("a parameter's name is not percent-encoded")
		}
		value, err := url.QueryUnescape(v)
		if err != nil {
			return malformed("the value of " + clip(key) + " is not percent-encoded")
		}
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return malformed("a parameter is not UTF-8")
		}
		if len(key) >= 6 && strings.EqualFold(key[:6], "X-Amz-") {
			continue
		}
		// Two values for one name could be read as one by whoever checks the
		// request and as the other by whoever performs it.
		if _, twice := f.values[key]; twice {
			return malformed("the parameter " + clip(key) + " occurs twice")
		}
		f.values[key] = value
	}
	return nil
}

func malformed(why string) *Error {
	return Errorf(http.StatusBadRequest, "MalformedQueryString", "The query string contains a syntax error: %s.", why)
}

// Has says whether the parameter is there, perhaps empty.
func (q Query) Has(name string) bool {
	if q.form == nil {
		return false
	}
	_, ok := q.form.values[q.prefix+name]
	return ok
}

// String is the parameter's value, empty if it is absent.
func (q Query) String(name string) string {
	if q.form == nil {
		return ""
	}
	q.form.read[q.prefix+name] = true
	return q.form.values[q.prefix+name]
}

// Required is the parameter's value; absent or empty is a ValidationError.
func (q Query) Required(name string) (string, error) {
	if v := q.String(name); v != "" {
		return v, nil
	}
	if q.Has(name) {
		return "", q.invalid(name, "", "Member must have length greater than or equal to 1")
	}
	return "", Errorf(http.StatusBadRequest, "ValidationError",
		"1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", member(q.prefix+name))
}

// Int is the parameter's value, or missing if it is absent. Anything but a
// decimal number from min to max is a ValidationError.
func (q Query) Int(name string, missing, min, max int) (int, error) {
	v := q.String(name)
	if !q.Has(name) {
		return missing, nil
	}
	n, err := strconv.Atoi(v)
	switch {
	case err != nil:
		return 0, q.invalid(name, v, "Member must be a number")
	case n < min:
		return 0, q.invalid(name, v, fmt.Sprintf("Member must have value greater than or equal to %d", min))
	case n > max:
		return 0, q.invalid(name, v, fmt.Sprintf("Member must have value less than or equal to %d", max))
	}
	return n, nil
}

// Bool is the parameter's value, or missing if it is absent. Anything but true
// and false (in any case) is a ValidationError.
func (q Query) Bool(name string, missing bool) (bool, error) {
	v := q.String(name)
	switch {
	case !q.Has(name):
		return missing, nil
	case strings.EqualFold(v, "true"):
		return true, nil
	case strings.EqualFold(v, "false"):
		return false, nil
	}
	return false, q.invalid(name, v, "Member must be true or false")
}

// Strings is the list name.member.1, name.member.2, … in the order of the
// numbers; gaps are closed. More than max members are a ValidationError. It is
// nil if the list is absent and empty if it is there without members ("name=").
func (q Query) Strings(name string, max int) ([]string, error) {
	numbers, present, err := q.members(name, max)
	if err != nil || !present {
		return nil, err
	}
	list := make([]string, len(numbers))
	for i, n := range numbers {
		key := name + ".member." + strconv.Itoa(n)
		if !q.Has(key) {
			return nil, malformed(clip(q.prefix+key) + " is a structure where a text is wanted")
		}
		list[i] = q.String(key)
	}
	return list, nil
}

// List is the list of structures name.member.1.FIELD, name.member.2.FIELD, …;
// each comes as a Query whose parameters are the fields. As Strings otherwise.
func (q Query) List(name string, max int) ([]Query, error) {
	numbers, present, err := q.members(name, max)
	if err != nil || !present {
		return nil, err
	}
	list := make([]Query, len(numbers))
	for i, n := range numbers {
		list[i] = Query{Action: q.Action, Version: q.Version, form: q.form, prefix: q.prefix + name + ".member." + strconv.Itoa(n) + "."}
	}
	return list, nil
}

// members finds the numbers N of name.member.N and name.member.N.FIELD.
func (q Query) members(name string, max int) (numbers []int, present bool, err error) {
	if q.form == nil {
		return nil, false, nil
	}
	if q.Has(name) {
		if v := q.String(name); v != "" {
			return nil, false, q.invalid(name, v, "Member must be a list")
		}
		present = true
	}
	seen := map[int]bool{}
	prefix := q.prefix + name + ".member."
	for key := range q.form.values {
		rest, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		digits, _, _ := strings.Cut(rest, ".")
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 || n > maxIndex || strconv.Itoa(n) != digits {
			return nil, false, malformed(clip(key) + " is not numbered from 1")
		}
		seen[n] = true
	}
	if len(seen) > max {
		return nil, false, Errorf(http.StatusBadRequest, "ValidationError",
			"1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", member(q.prefix+name), max)
	}
	return slices.Sorted(maps.Keys(seen)), present || len(seen) > 0, nil
}

// Unknown are the names of the parameters that nobody has read, sorted.
func (q Query) Unknown() []string {
	if q.form == nil {
		return nil
	}
	var names []string
	for name := range q.form.values {
		if !q.form.read[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Unimplemented refuses by name (501) the first parameter that nobody has read;
// nil if there is none. An operation calls it before it changes anything.
func (q Query) Unimplemented(service string) error {
	names := q.Unknown()
	if len(names) == 0 {
		return nil
	}
	return NotImplemented(service, "The parameter "+clip(names[0])+" of "+q.Action)
}

// invalid is AWS's own wording of a violated constraint.
func (q Query) invalid(name, value, constraint string) *Error {
	return Errorf(http.StatusBadRequest, "ValidationError",
		"1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: %s", clip(value), member(q.prefix+name), constraint)
}

// member is a parameter's name as AWS's messages write it: RoleName is roleName,
// Tags.member.1.Key is tags.1.member.key.
func member(name string) string {
	parts := strings.Split(name, ".")
	for i, part := range parts {
		if part != "" {
			parts[i] = strings.ToLower(part[:1]) + part[1:]
		}
	}
	for i := 1; i+1 < len(parts); i++ {
		if parts[i] == "member" {
			parts[i], parts[i+1] = parts[i+1], "member"
			i++
		}
	}
	return clip(strings.Join(parts, "."))
}

// clip keeps what a caller sent from filling an answer.
func clip(s string) string {
	const most = 256
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
