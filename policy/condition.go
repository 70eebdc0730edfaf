package policy

import (
	"slices"
	"strings"
)

// quantifier says how an operator treats a key with several values.
type quantifier int

const (
	scalar quantifier = iota
	forAllValues
	forAnyValue
)

// condition is one key under one operator: all values of the policy are
// alternatives.
type condition struct {
	operator
	quantifier quantifier
	ifExists   bool
	label      string // the operator with its qualifiers, in the spelling of AWS
	key        contextKey
	values     []operand
}

// holds decides the condition. missing names a policy variable that has no
// value: nothing equals it, so negated operators hold
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-no-value).
func (k *condition) holds(c *context) (ok bool, missing string) {
	found := c.values(&k.key)
	if k.kind == null {
		for i := range k.values {
			if k.values[i].truth == (found == nil) {
				return true, ""
			}
		}
		return false, ""
	}
	if found == nil {
		return !k.demands(), ""
	}
	if k.quantifier != scalar && allEmpty(found) {
		// "A null data set, such as an empty string": nothing to compare.
		return k.quantifier == forAllValues, ""
	}
	switch k.quantifier {
	case forAllValues:
		for _, s := range found {
			if ok, missing := k.holdsFor(c, s); !ok {
				return false, missing
			}
		}
		return true, ""
	case forAnyValue:
		for _, s := range found {
			if ok, m := k.holdsFor(c, s); ok {
				return true, ""
			} else if m != "" {
				missing = m
			}
		}
		return false, missing
	}
	// A list never matches a scalar operator, not even a negated one.
	if len(found) > 1 || k.key.multivalued {
		return false, ""
	}
	return k.holdsFor(c, found[0])
}

// demands reports whether the condition holds only if the request has the key: a
// missing key fulfils negated operators, …IfExists and ForAllValues. ForAnyValue
// fails without the key, whatever follows it.
func (k *condition) demands() bool {
	switch {
	case k.kind == null:
		return !slices.ContainsFunc(k.values, func(v operand) bool { return v.truth })
	case k.quantifier == scalar:
		return !k.negated && !k.ifExists
	}
	return k.quantifier == forAnyValue
}

// holdsFor decides the condition for one value of the request.
func (k *condition) holdsFor(c *context, s string) (ok bool, missing string) {
	v, ok := k.read(s)
	if !ok {
		return false, ""
	}
	for i := range k.values {
		ok, valid, m := k.match(c, &k.values[i], &v)
		switch {
		case !valid && k.negated:
			return false, ""
		case ok:
			return !k.negated, ""
		case m != "":
			missing = m
		}
	}
	if k.negated {
		return true, ""
	}
	return false, missing
}

func allEmpty(values []string) bool {
	for _, s := range values {
		if s != "" {
			return false
		}
	}
	return true
}

// wanted are the values as written.
func (k *condition) wanted() []string {
	out := make([]string, len(k.values))
	for i := range k.values {
		out[i] = k.values[i].source
	}
	return out
}

func (c *compiler) conditions(n *node) ([]condition, error) {
	if n.kind != objectNode {
		return nil, c.failNode(n, "a condition is not "+n.kind.String(), "an object of operators")
	}
	var list []condition
	seen := make(map[string]bool)
	for _, m := range n.members {
		k, ok := parseOperator(m.key)
		if !ok {
			return nil, c.fail(m.start, m.value.path, "there is no condition operator "+excerpt(m.key), "an operator such as StringEquals, StringLike, ArnLike, ForAnyValue:StringEquals or StringEqualsIfExists")
		}
		if m.value.kind != objectNode {
			return nil, c.failNode(m.value, m.key+" is not followed by "+m.value.kind.String(), `an object of condition keys: {"aws:RequestTag/team": "blue"}`)
		}
		for _, km := range m.value.members {
			if !strings.Contains(km.key, ":") {
				return nil, c.fail(km.start, km.value.path, excerpt(km.key)+" is not a condition key", "SERVICE:KEY, such as aws:RequestTag/team")
			}
			one := k
			one.key = newContextKey(km.key)
			id := one.label + " " + one.key.lower
			if seen[id] {
				return nil, c.fail(km.start, km.value.path, "the key appears twice under one operator in different spellings", "each key once")
			}
			seen[id] = true
			var err error
			if one.values, err = c.operands(one.operator, km.value); err != nil {
				return nil, err
			}
			list = append(list, one)
		}
	}
	return list, nil
}

// parseOperator reads [ForAllValues:|ForAnyValue:]Operator[IfExists].
func parseOperator(s string) (k condition, ok bool) {
	name := asciiLower(s)
	prefix, suffix := "", ""
	if rest, cut := strings.CutPrefix(name, "forallvalues:"); cut {
		k.quantifier, name, prefix = forAllValues, rest, "ForAllValues:"
	} else if rest, cut := strings.CutPrefix(name, "foranyvalue:"); cut {
		k.quantifier, name, prefix = forAnyValue, rest, "ForAnyValue:"
	}
	if rest, cut := strings.CutSuffix(name, "ifexists"); cut {
		k.ifExists, name, suffix = true, rest, "IfExists"
	}
	k.operator, ok = operators[name]
	if k.kind == null && (prefix != "" || suffix != "") {
		return k, false // Null tests presence itself
	}
	k.label = prefix + k.name + suffix
	return k, ok
}

func (c *compiler) operands(o operator, n *node) ([]operand, error) {
	values, err := c.list(n, true)
	if err != nil {
		return nil, err
	}
	list := make([]operand, 0, len(values))
	for _, v := range values {
		one, problem, expected := compileOperand(o, v.text, c.variables())
		if problem != "" {
			return nil, c.failNode(v, excerpt(v.text)+": "+problem, expected)
		}
		list = append(list, one)
	}
	return list, nil
}
