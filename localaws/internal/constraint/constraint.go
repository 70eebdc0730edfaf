// Package constraint checks the parameters of IAM and STS calls against the
// constraints of AWS's service models, and words a violation as AWS does.
//
// Source: the models of IAM (2010-05-08) and STS (2011-06-15).
package constraint

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/openpodidentity/podid/internal/awswire"
)

// Text constrains a string: its length in characters, and the pattern that the
// whole of it must match. A zero Max and a nil Pattern constrain nothing.
type Text struct {
	Min, Max int
	Pattern  *Pattern
}

// Pattern is a regular expression with the text that AWS prints for it.
type Pattern struct {
	shown string
	whole *regexp.Regexp
}

// Whole compiles shown, anchored at both ends.
func Whole(shown string) *Pattern {
	return &Pattern{shown: shown, whole: regexp.MustCompile(`\A(?:` + shown + `)\z`)}
}

// Shown is a Pattern whose printed form is not what Go's syntax needs.
func Shown(shown, compiled string) *Pattern {
	return &Pattern{shown: shown, whole: regexp.MustCompile(`\A(?:` + compiled + `)\z`)}
}

// Check says what is wrong with value, a ValidationError at member (AWS's
// spelling, such as roleName or tags.1.member.key).
func (t Text) Check(member, value string) error {
	n := utf8.RuneCountInString(value)
	switch {
	case n < t.Min:
		return Violation(member, value, fmt.Sprintf("Member must have length greater than or equal to %d", t.Min))
	case t.Max > 0 && n > t.Max:
		return Violation(member, value, fmt.Sprintf("Member must have length less than or equal to %d", t.Max))
	case t.Pattern != nil && !t.Pattern.whole.MatchString(value):
		return Violation(member, value, "Member must satisfy regular expression pattern: "+t.Pattern.shown)
	}
	return nil
}

// OneOf checks an enumeration.
func OneOf(member, value string, values ...string) error {
	if slices.Contains(values, value) {
		return nil
	}
	return Violation(member, value, "Member must satisfy enum value set: ["+strings.Join(values, ", ")+"]")
}

// Violation is AWS's wording of a violated constraint.
func Violation(member, value, constraint string) *awswire.Error {
	if len(value) > 300 {
		value = strings.ToValidUTF8(value[:300], "") + "…"
	}
	return awswire.Errorf(http.StatusBadRequest, "ValidationError",
		"1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: %s", value, member, constraint)
}

// Constraints that IAM and STS share.
var (
	// NamePattern is that of users, roles, policies, sessions, source identities.
	NamePattern = Whole(`[\w+=,.@-]+`)
	ARN         = Text{Min: 20, Max: 2048}
	TagKey      = Text{Min: 1, Max: 128, Pattern: Whole(`[\p{L}\p{Z}\p{N}_.:/=+\-@]+`)}
	TagValue    = Text{Max: 256, Pattern: Whole(`[\p{L}\p{Z}\p{N}_.:/=+\-@]*`)}
)
