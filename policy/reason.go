package policy

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Statement is the statement's place: `statement 1 (Sid "X", line 3, column 5)
// of POLICY`.
func (r Reason) Statement() string {
	sid := ""
	if r.Sid != "" {
		sid = fmt.Sprintf("Sid %q, ", r.Sid)
	}
	return fmt.Sprintf("statement %d (%sline %d, column %d) of %s", r.Index+1, sid, r.Line, r.Col, cmp.Or(r.Policy, "the "+r.Type.String()))
}

func (r Reason) short() string {
	sid := ""
	if r.Sid != "" {
		sid = fmt.Sprintf(" (Sid %q)", r.Sid)
	}
	return fmt.Sprintf("statement %d%s of %s", r.Index+1, sid, cmp.Or(r.Policy, "the "+r.Type.String()))
}

// Mismatch is the clause that failed, with what it wants and what was found:
// `its condition StringEquals on aws:RequestTag/x wants "a", and the request has "b"`.
// It is empty for a statement that applied.
func (r Reason) Mismatch() string {
	switch {
	case r.Applied:
		return ""
	case r.Clause == "Condition":
		found := "the request has " + quoted(r.Found, "and")
		if tag, ok := principalTag(r.Variable); ok {
			found = "the caller has no tag " + tag
		} else if r.Found == nil {
			found = "the request does not have that key"
		}
		return fmt.Sprintf("its condition %s on %s wants %s, and %s", r.Operator, r.Key, quoted(r.Wanted, "or"), found)
	case r.Key != "":
		if tag, ok := principalTag(r.Key); ok {
			return fmt.Sprintf("its %s is %s, and the caller has no tag %s", r.Clause, quoted(r.Wanted, "or"), tag)
		}
		return fmt.Sprintf("its %s is %s, and the request has no single value for the variable ${%s}", r.Clause, quoted(r.Wanted, "or"), r.Key)
	case strings.HasPrefix(r.Clause, "Not"):
		return fmt.Sprintf("its %s is %s, which covers %s", r.Clause, quoted(r.Wanted, "and"), quoted(r.Found, "and"))
	}
	return fmt.Sprintf("its %s is %s, not %s", r.Clause, quoted(r.Wanted, "or"), quoted(r.Found, "and"))
}

// sourceKeys exist only in requests that an AWS service makes on someone's behalf.
var sourceKeys = map[string]bool{
	"aws:sourcearn": true, "aws:sourceaccount": true, "aws:sourceorgid": true, "aws:sourceorgpaths": true,
}

// Remedy is the smallest change that makes the failed clause match req. It is
// empty for a statement that applied.
func (r Reason) Remedy(req *Request) string {
	place := r.short()
	if tag, ok := r.missesTag(); ok {
		return tagged(req, tag)
	}
	switch r.Clause {
	case "":
		return ""
	case "Principal":
		return fmt.Sprintf("add %s to the Principal of %s", req.Principal.element(), place)
	case "Resource":
		if r.Key != "" {
			return fmt.Sprintf("give the variable a default value (${%s, '…'}), or add %s to the Resource of %s", r.Key, quoted(r.Found, "and"), place)
		}
		return fmt.Sprintf("add %s to the Resource of %s", quoted(r.Found, "and"), place)
	case "Action":
		return fmt.Sprintf("add %s to the Action of %s", quoted(r.Found, "and"), place)
	case "Condition":
		return r.remedyCondition(req, "the condition on "+r.Key+" in "+place)
	}
	return fmt.Sprintf("narrow the %s of %s so that it no longer covers %s", r.Clause, place, quoted(r.Found, "and"))
}

// principalTag is the key of the principal's tag that a condition key stands for.
func principalTag(key string) (tag string, ok bool) {
	const prefix = "aws:principaltag/"
	if len(key) <= len(prefix) || asciiLower(key[:len(prefix)]) != prefix {
		return "", false
	}
	return key[len(prefix):], true
}

// missesTag is the principal's tag that the clause needs and the request lacks.
func (r Reason) missesTag() (tag string, ok bool) {
	if tag, ok := principalTag(r.Variable); ok {
		return tag, true
	}
	if r.Clause == "Condition" && r.Found == nil {
		return principalTag(r.Key)
	}
	return "", false
}

// tagged is the one remedy for a missing tag. A default value, or a statement
// that does without the tag, would end the isolation that the tag is there for.
func tagged(req *Request, tag string) string {
	switch req.Principal.Kind {
	case AssumedRole:
		return "tag the session: the session has no tag " + tag + " (an association with disableSessionTags gives none)"
	case User:
		return "tag the user: the user has no tag " + tag
	}
	return "call as a principal that has the tag " + tag
}

func (r Reason) remedyCondition(req *Request, place string) string {
	text := strings.Contains(r.Operator, "String") || strings.Contains(r.Operator, "Arn")
	switch {
	case sourceKeys[asciiLower(r.Key)] && req.Principal.Kind != Service:
		return "remove " + place + ": the key exists only when an AWS service calls, so with this principal the condition never holds"
	case r.Found == nil && text && !strings.Contains(r.Operator, "Not"):
		return fmt.Sprintf("make the request carry %s with %s, or remove %s", r.Key, quoted(r.Wanted, "or"), place)
	case r.Found == nil:
		return fmt.Sprintf("make the request carry %s, or remove %s", r.Key, place)
	case (len(r.Found) > 1 || newContextKey(r.Key).multivalued) && !strings.HasPrefix(r.Operator, "For"):
		return fmt.Sprintf("write ForAnyValue:%s or ForAllValues:%s in %s: the key holds a list, which the plain operator never matches", r.Operator, r.Operator, place)
	case strings.Contains(r.Operator, "Not"):
		return fmt.Sprintf("take what matches %s out of %s", quoted(r.Found, "and"), place)
	case !text:
		return "change the request's " + r.Key + ", or " + place
	}
	return fmt.Sprintf("make the request's %s %s, or add %s to %s", r.Key, quoted(r.Wanted, "or"), quoted(r.Found, "and"), place)
}

// quoted lists values for people; long lists are cut, and so are values that are
// longer than an S3 object's ARN can be.
func quoted(values []string, word string) string {
	const most, longest = 5, 1280
	if len(values) == 0 {
		return "nothing"
	}
	list := make([]string, 0, most+1)
	for i, v := range values {
		if i == most && len(values) > most+1 {
			list = append(list, fmt.Sprintf("%d more", len(values)-most))
			break
		}
		list = append(list, strconv.Quote(clip(v, longest)))
	}
	if len(list) == 1 {
		return list[0]
	}
	last := len(list) - 1
	return strings.Join(list[:last], ", ") + " " + word + " " + list[last]
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
