package policy

// Operators are the names of the condition operators.
func Operators() []string {
	var names []string
	for _, o := range operators {
		names = append(names, `"`+o.name+`"`)
	}
	return names
}

// Missing are the statements that an explained denial would add, by the type of
// the policy to add them to.
func Missing(d Decision) map[Type]string {
	m := make(map[Type]string)
	lacks := d.lacks()
	for _, t := range checks {
		if lacks.has(t) {
			kind := t
			if t == Resource && d.findings.trust {
				kind = Trust
			}
			m[kind] = d.allow(t)
		}
	}
	return m
}
