package policy

import (
	"slices"
	"strings"
)

func (m *miss) resourceOptions(c *context) []plan {
	if tag, ok := m.missesTag(); ok {
		return m.tagFirst(c, tag)
	}
	if later := m.later(); later != nil {
		return []plan{later}
	}
	for _, t := range m.resources() {
		if slices.ContainsFunc(t.parts, func(p part) bool { return isTag(p.key.lower) }) {
			if own := m.ownResource(c); own != nil {
				return []plan{own}
			}
			return nil
		}
	}
	value := m.resourceToAdd(c.req.Resource)
	if value == "*" || value == "" {
		return nil
	}
	return []plan{m.add("Resource", []string{value}, func(s *statement) bool {
		t, problem := compileTemplate(value, true, m.variables())
		s.resources = append(s.resources, t)
		return problem == ""
	})}
}

func (m *miss) resources() []template {
	if m.statement == nil {
		return nil
	}
	return m.statement.resources
}

func (m *miss) variables() bool { return m.at.Policy == nil || m.at.version == version2012 }

// resourceToAdd is the resource as the statement would name it: the objects of a
// bucket that it names, else the resource itself.
func (m *miss) resourceToAdd(resource string) string {
	if m.asked.resource != "" {
		return m.asked.resource
	}
	for _, w := range m.Wanted {
		if objects := w + "/*"; isBucket(w) && strings.HasPrefix(resource, w+"/") {
			return objects
		}
	}
	if m.Type != Resource && !strings.HasPrefix(resource, "arn:") {
		return "*"
	}
	return literal(resource, m.variables())
}

// isBucket reports whether the ARN is of an S3 bucket, not of objects.
func isBucket(arn string) bool {
	return strings.HasPrefix(arn, "arn:") && strings.Contains(arn, ":s3:::") && !strings.ContainsAny(arn, "/*")
}

// ownResource is the advice to ask for what the statement gives to whoever has
// the caller's tags: a value of the policy's own would let the others in.
func (m *miss) ownResource(c *context) plan {
	var patterns []string
	example := ""
	for _, t := range m.resources() {
		filled, missing := t.expand(c)
		pattern := filled
		if missing != "" || t.parts == nil || !begins(c.req.Resource, t.parts[0].text) {
			continue
		}
		if m.asks(&t) {
			pattern = t.source
		} else {
			pattern = people(literals.Replace(literal(pattern, true)))
		}
		patterns = append(patterns, pattern)
		if example == "" {
			example = fill(filled, "x")
		}
	}
	if example == "" {
		return nil
	}
	return plan{{
		Change: Change{Do: SetResource, Values: patterns, Text: "ask for " + quoted(patterns, "or") + ", which is what " + m.place() + " gives to this caller"},
		ask:    func(r *Request) { r.Resource = example },
	}}
}

// asks reports whether the value speaks of what the request does not have yet.
func (m *miss) asks(t *template) bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return m.asked.key(p.key.lower) })
}

// values are values of the policy in the language of 2012-10-17.
func (m *miss) values(list []string) []string {
	if m.variables() {
		return list
	}
	escaped := make([]string, len(list))
	for i, s := range list {
		escaped[i] = literal(s, true)
	}
	return escaped
}

// people writes a compiled pattern as policies have it.
func people(pattern string) string {
	return strings.NewReplacer(string([]byte{star}), "*", string([]byte{any1}), "?").Replace(pattern)
}

// literals are the wildcards that are plain characters where the others are
// compiled.
var literals = strings.NewReplacer("*", "${*}", "?", "${?}")

// fill is text that the compiled pattern matches.
func fill(pattern, with string) string {
	return strings.NewReplacer(string([]byte{star}), with, string([]byte{any1}), "x").Replace(pattern)
}
