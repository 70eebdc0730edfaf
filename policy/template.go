package policy

import "strings"

// template is a compiled policy value: a pattern with holes for policy variables
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html).
type template struct {
	source string // as written
	// pattern is the whole pattern when there are no variables; parts otherwise.
	pattern string
	parts   []part
}

// part is literal pattern text, or a variable if key is set.
type part struct {
	text       string
	key        contextKey
	fallback   string
	hasDefault bool
}

// compileTemplate compiles a value. wild makes * and ? wildcards; variables are
// known to the language of 2012-10-17 only, in the older one "${" is text. The
// problem is a clause for a SyntaxError, empty if there is none.
func compileTemplate(source string, wild, variables bool) (t template, problem string) {
	t.source = source
	text := func(s string) string {
		if wild {
			return wildcards.Replace(s)
		}
		return s
	}
	if !variables || !strings.Contains(source, "${") {
		t.pattern = text(source)
		return t, ""
	}
	var literal strings.Builder
	rest := source
	for {
		before, after, found := strings.Cut(rest, "${")
		literal.WriteString(text(before))
		if !found {
			break
		}
		if escape, after, ok := cutEscape(after); ok {
			literal.WriteString(escape)
			rest = after
			continue
		}
		p, after, problem := parseVariable(after)
		if problem != "" {
			return t, problem
		}
		if literal.Len() > 0 {
			t.parts = append(t.parts, part{text: literal.String()})
			literal.Reset()
		}
		t.parts = append(t.parts, p)
		rest = after
	}
	if t.parts == nil {
		t.pattern = literal.String()
	} else if literal.Len() > 0 {
		t.parts = append(t.parts, part{text: literal.String()})
	}
	return t, ""
}

// cutEscape reads *}, ?} or $} after "${".
func cutEscape(s string) (literal, after string, ok bool) {
	if len(s) >= 2 && s[1] == '}' && strings.IndexByte("*?$", s[0]) >= 0 {
		return s[:1], s[2:], true
	}
	return "", s, false
}

// parseVariable reads KEY} or KEY, 'DEFAULT'} after "${".
func parseVariable(s string) (p part, after, problem string) {
	end := strings.IndexAny(s, ",}")
	if end < 0 {
		return p, "", "the policy variable has no closing brace"
	}
	key := strings.TrimSpace(s[:end])
	switch {
	case key == "":
		return p, "", "the policy variable is empty"
	case strings.ContainsAny(key, " \t\r\n"):
		return p, "", "the policy variable has a space in its key"
	case strings.ContainsAny(key, "${'"):
		return p, "", "the policy variable has no closing brace"
	}
	p.key = newContextKey(key)
	if s[end] == '}' {
		return p, s[end+1:], ""
	}
	rest := strings.TrimLeft(s[end+1:], " ")
	if !strings.HasPrefix(rest, "'") {
		return p, "", "the default value of the policy variable is not in single quotes"
	}
	value, after, found := strings.Cut(rest[1:], "'")
	after = strings.TrimLeft(after, " ")
	if !found || !strings.HasPrefix(after, "}") {
		return p, "", "the default value of the policy variable does not end with a single quote and a brace"
	}
	p.fallback, p.hasDefault = value, true
	return p, after[1:], ""
}

// maxFilled is how long a value of a policy may become by its variables, in bytes.
// Nothing that is compared is longer, and a page of variables would multiply a
// long value of a request by their thousands.
const maxFilled = 64 << 10

// expand fills in the variables. A variable whose key is not in the request, or
// has several values, and that has no default cannot be filled in, nor can one
// whose value is too long (maxFilled): then missing is its key.
func (t *template) expand(c *context) (pattern, missing string) {
	if t.parts == nil {
		return t.pattern, ""
	}
	var b strings.Builder
	b.Grow(len(t.source) + 32)
	for i := range t.parts {
		p := &t.parts[i]
		if p.key.name == "" {
			b.WriteString(p.text)
			continue
		}
		values := c.values(&p.key)
		single := len(values) == 1 && !p.key.multivalued
		switch {
		case single && b.Len()+len(values[0]) <= maxFilled:
			// The bytes of wildcards must not come from a request.
			b.WriteString(strings.ToValidUTF8(values[0], "\uFFFD"))
		case !single && p.hasDefault:
			b.WriteString(p.fallback)
		default:
			return "", p.key.name
		}
	}
	return b.String(), ""
}

// match reports whether the template, filled in, matches s.
func (t *template) match(c *context, s string) (ok bool, missing string) {
	if t.parts != nil && !begins(s, t.parts[0].text) {
		return false, ""
	}
	pattern, missing := t.expand(c)
	if missing != "" {
		return false, missing
	}
	return glob(pattern, s), ""
}

// begins reports whether s begins with the pattern's text up to its first
// wildcard: most resources of most statements fail here, without a copy.
func begins(s, pattern string) bool {
	for i := range len(pattern) {
		switch {
		case pattern[i] == star || pattern[i] == any1:
			return true
		case i == len(s) || s[i] != pattern[i]:
			return false
		}
	}
	return true
}
