package auth

import "github.com/openpodidentity/podid/problem"

// Exception is a row of the table, for its test.
type Exception struct {
	Name   string
	Status int
}

// Exceptions is the table.
func Exceptions() map[problem.Code]Exception {
	m := make(map[problem.Code]Exception, len(exceptions))
	for code, e := range exceptions {
		m[code] = Exception{e.name, e.status}
	}
	return m
}
