package policy

// Operators are the names of the condition operators.
func Operators() []string {
	var names []string
	for _, o := range operators {
		names = append(names, `"`+o.name+`"`)
	}
	return names
}

// Additions are the statements that an explained denial would add, by the type
// of the policy to add them to.
func Additions(d Decision) map[Type]string {
	m := make(map[Type]string)
	for _, t := range d.Missing() {
		m[t] = string(d.statement(lack{Type: t}, nil, asked{}))
	}
	return m
}
