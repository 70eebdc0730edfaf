package iam

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
)

// trustActions are the actions that a trust policy may name.
//
// Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecuritytokenservice.html
var trustActions = []string{
	"sts:AssumeRole", "sts:AssumeRoleWithSAML", "sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity", "sts:SetContext",
}

// checkActions refuses a trust policy, one that was parsed, with other actions
// than STS's for assuming a role, as AWS does. A wildcard after "sts:" is taken
// if it covers one of them; whether AWS takes it is not documented.
func checkActions(text string) error {
	var document struct {
		Statement list[struct{ Action list[string] }]
	}
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		return malformed("Syntax errors in policy.")
	}
	for _, s := range document.Statement {
		for _, action := range s.Action {
			if !trustAction(action) {
				return malformed("AssumeRole policy may only specify STS AssumeRole actions. %q is none: %s are.", action, strings.Join(trustActions, ", "))
			}
		}
	}
	return nil
}

func trustAction(action string) bool {
	action = strings.ToLower(action)
	return strings.HasPrefix(action, "sts:") && slices.ContainsFunc(trustActions, func(a string) bool {
		ok, _ := path.Match(action, strings.ToLower(a))
		return ok
	})
}

// list is one JSON value or an array of them.
type list[T any] []T

// UnmarshalJSON reads both forms.
func (l *list[T]) UnmarshalJSON(b []byte) error {
	if b[0] == '[' {
		return json.Unmarshal(b, (*[]T)(l))
	}
	*l = make([]T, 1)
	return json.Unmarshal(b, &(*l)[0])
}
