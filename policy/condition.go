package policy

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
		// A missing key fulfils negated operators, …IfExists and ForAllValues.
		return k.ifExists || k.quantifier == forAllValues || k.negated && k.quantifier == scalar, ""
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

// holdsFor decides the condition for one value of the request.
func (k *condition) holdsFor(c *context, s string) (ok bool, missing string) {
	for i := range k.values {
		ok, valid, m := k.match(c, &k.values[i], s)
		switch {
		case !valid:
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
