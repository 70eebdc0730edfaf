package policy

// Operators are the names of the condition operators.
func Operators() []string {
	var names []string
	for _, o := range operators {
		names = append(names, `"`+o.name+`"`)
	}
	return names
}
