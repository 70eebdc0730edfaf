package auth

import (
	"reflect"

	"github.com/openpodidentity/podid/problem"
)

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

// Record is the type of a line of the audit record.
var Record = reflect.TypeFor[record]()
