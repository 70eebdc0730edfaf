package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Statement is the statement's place: `statement 1 (Sid "X", line 3) of POLICY`;
// with the column where the document begins on the same line.
func (r Reason) Statement() string {
	at := fmt.Sprintf("line %d", r.Line)
	if r.Line == 1 {
		at += fmt.Sprintf(", column %d", r.Column)
	}
	if r.Sid != "" {
		at = fmt.Sprintf("Sid %q, %s", r.Sid, at)
	}
	return fmt.Sprintf("statement %d (%s) of %s", r.Number, at, r.document())
}

// short is the place for a fix, which goes into AWS's sentences too.
func (r Reason) short() string {
	sid := ""
	if r.Sid != "" {
		sid = fmt.Sprintf(" (Sid %q)", r.Sid)
	}
	return fmt.Sprintf("statement %d%s of %s", r.Number, sid, cmp.Or(r.Policy, r.document()))
}

// document is how people call the statement's policy.
func (r Reason) document() string { return named(r.Type, r.Policy) }

// Mismatch is the clause that failed, with what it wants and what was found:
// `its condition StringEquals on aws:RequestTag/x wants "a", and the request has "b"`.
// It is empty for a statement that applied.
func (r Reason) Mismatch() string {
	switch {
	case r.Applied:
		return ""
	case r.Clause == "Condition":
		return fmt.Sprintf("its condition %s on %s wants %s, and %s%s", r.Operator, r.Key, quoted(r.Wanted, "or"), r.has(), r.hint())
	case r.Key != "":
		if tag, ok := principalTag(r.Key); ok {
			return fmt.Sprintf("its %s is %s, and the caller has no tag %s", r.Clause, quoted(r.Wanted, "or"), tag)
		}
		return fmt.Sprintf("its %s is %s, and the request has no single value for the variable ${%s}%s", r.Clause, quoted(r.Wanted, "or"), r.Key, ofUsers(r.Key))
	case strings.HasPrefix(r.Clause, "Not"):
		return fmt.Sprintf("its %s is %s, which covers %s", r.Clause, quoted(r.Wanted, "and"), quoted(r.Found, "and"))
	case r.Clause == "Principal":
		caller, _, _ := strings.Cut(strings.Join(r.Found, " and "), " (")
		return fmt.Sprintf("its Principal is %s, not %s%s", quoted(r.Wanted, "or"), caller, r.hint())
	}
	return fmt.Sprintf("its %s is %s, not %s%s", r.Clause, quoted(r.Wanted, "or"), quoted(r.Found, "and"), r.hint())
}

// has is what the request has of the key.
func (r Reason) has() string {
	tag, isTag := principalTag(r.Variable)
	if !isTag && r.Variable == "" {
		tag, isTag = principalTag(r.Key)
		isTag = isTag && r.Found == nil
	}
	switch {
	case isTag:
		return "the caller has no tag " + tag
	case r.Variable != "":
		return "the request has no single value for the variable ${" + r.Variable + "}" + ofUsers(r.Variable)
	case r.Found != nil:
		return "the request has " + quoted(r.Found, "and")
	case strings.EqualFold(r.Key, "aws:PrincipalOrgID"), strings.EqualFold(r.Key, "aws:PrincipalOrgPaths"):
		return "the caller's account is in no organization"
	}
	return "the request does not have that key" + ofUsers(r.Key)
}

// ofUsers says that a key is not for everybody.
func ofUsers(key string) string {
	switch {
	case strings.EqualFold(key, "aws:username"):
		return " (only users have it)"
	case serviceOnly(asciiLower(key)):
		return " (only AWS services bring it)"
	case strings.Contains(key, "${"):
		return " (in a key ${…} is plain text)"
	}
	return ""
}

func serviceOnly(key string) bool {
	facts, _ := catalogued(key)
	return facts.serviceOnly
}

// hint is the usual mistake behind a mismatch.
func (r Reason) hint() string {
	found := ""
	if len(r.Found) == 1 {
		found = r.Found[0]
	}
	wants := func(is func(w string) bool) bool { return slices.ContainsFunc(r.Wanted, is) }
	plain := strings.HasSuffix(strings.TrimSuffix(r.Operator, "IfExists"), "StringEquals")
	switch {
	case r.Clause == "Resource":
		return resourceHint(r.Wanted, found)
	case r.Clause == "Action":
		return actionHint(r.Wanted, found)
	case r.Clause == "Principal":
		return principalHint(r.Wanted, found)
	case len(r.Wanted) == 0:
		return " (without a value it never holds)"
	case found == "":
		return ""
	case wants(func(w string) bool { return r.differsByCase(w, found) }):
		return " (the values are case-sensitive)"
	case plain && wants(func(w string) bool { return strings.ContainsAny(w, "*?") && !strings.Contains(w, "${") }):
		return " (to " + r.Operator + " a wildcard is a plain character)"
	case plain && wants(func(w string) bool { return w != found && strings.TrimSpace(w) == strings.TrimSpace(found) }):
		return " (there is a space too many)"
	case strings.Contains(r.Operator, "Arn") && !isARN(found):
		return " (which is no ARN)"
	case badValue(r.Operator, found):
		return " (which is no value for " + r.Operator + ")"
	}
	return ""
}

// differsByCase reports whether what is wanted and found differ by upper and
// lower case alone.
func (r Reason) differsByCase(wanted, found string) bool {
	if strings.Contains(r.Operator, "IgnoreCase") || wanted == found {
		return false
	}
	if strings.Contains(r.Operator, "Like") || strings.Contains(r.Operator, "Arn") {
		fold := wildcards.Replace(asciiLower(wanted))
		return glob(fold, asciiLower(found)) && !glob(wildcards.Replace(wanted), found)
	}
	return strings.EqualFold(wanted, found)
}

// badValue reports whether what was found is not of the operator's type.
func badValue(label, found string) bool {
	k, ok := parseOperator(label)
	if !ok {
		return false
	}
	switch k.kind {
	case numeric, date, boolean, binary, ipAddress:
		_, problem, _ := compileOperand(k.operator, found, false)
		return problem != ""
	}
	return false
}

func resourceHint(wanted []string, found string) string {
	for _, w := range wanted {
		bucket, objects := strings.CutSuffix(w, "/*")
		switch {
		case w != found && strings.EqualFold(w, found):
			return " (resources are case-sensitive)"
		case glob(wildcards.Replace(asciiLower(w)), asciiLower(found)):
			return " (resources are case-sensitive)"
		case isBucket(w) && strings.HasPrefix(found, w+"/"):
			return fmt.Sprintf(" (that is the bucket; its objects are %q)", w+"/*")
		case objects && bucket == found && isBucket(found):
			return " (those are its objects, not the bucket itself)"
		case found == "*":
			return ` (only "*" covers an action that is not about one resource)`
		}
	}
	return ""
}

// calls are operations of S3 whose permission has another name
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html).
var calls = map[string]string{
	"s3:listobjects": "s3:ListBucket", "s3:listobjectsv2": "s3:ListBucket", "s3:headbucket": "s3:ListBucket",
	"s3:headobject": "s3:GetObject", "s3:listbuckets": "s3:ListAllMyBuckets", "s3:deleteobjects": "s3:DeleteObject",
	"s3:listobjectversions": "s3:ListBucketVersions", "s3:listmultipartuploads": "s3:ListBucketMultipartUploads",
	"s3:createmultipartupload": "s3:PutObject", "s3:uploadpart": "s3:PutObject", "s3:completemultipartupload": "s3:PutObject",
	"s3:listparts": "s3:ListMultipartUploadParts", "s3:copyobject": "s3:PutObject", "s3:uploadpartcopy": "s3:PutObject",
}

// Permission is the action that policies name for a call of S3 which has another
// name: s3:ListBucket for s3:ListObjectsV2. It is empty for other calls.
func Permission(call string) string { return calls[asciiLower(call)] }

func actionHint(wanted []string, found string) string {
	for _, w := range wanted {
		if permission := calls[asciiLower(w)]; strings.EqualFold(permission, found) {
			return fmt.Sprintf(" (%s is a call; its permission is %s)", w, permission)
		}
	}
	if strings.EqualFold(found, "sts:TagSession") && slices.ContainsFunc(wanted, func(w string) bool { return strings.EqualFold(w, "sts:AssumeRole") }) {
		return " (a session with tags needs both)"
	}
	return ""
}

// principalHint knows the principals that look like the caller.
func principalHint(wanted []string, found string) string {
	role, _, _ := strings.Cut(found, " (")
	if i := strings.LastIndexByte(role, '/'); i >= 0 && strings.Contains(role, ":assumed-role/") {
		role = role[:i+1]
	} else {
		role = ""
	}
	for _, w := range wanted {
		kind, value, _ := strings.Cut(w, ":")
		switch {
		case strings.EqualFold(value, found):
			return " (principals are case-sensitive)"
		case role != "" && strings.HasPrefix(value, role):
			return " (that is another session; the role's ARN names all of them)"
		case kind == "AWS" && uniqueID.MatchString(value):
			return " (such an ID is what IAM leaves of a user or role that was deleted; one made again under the same name has to be named again)"
		}
	}
	return ""
}

// mismatch is Mismatch with what the policy's variables stand for here.
func (m *miss) mismatch(c *context) string {
	text := m.Mismatch()
	if m.Clause != "Resource" || m.Key != "" {
		return text
	}
	var here []string
	for _, t := range m.resources() {
		if pattern, missing := t.expand(c); t.parts != nil && missing == "" {
			here = append(here, people(pattern))
		}
	}
	if here == nil {
		return text
	}
	return strings.Replace(text, ", not ", " (for this caller "+quoted(here, "or")+"), not ", 1)
}

// Remedy is the smallest change that makes the failed clause match req. It is
// empty for a statement that applied.
func (r Reason) Remedy(req *Request) string {
	if r.Applied {
		return ""
	}
	m := miss{Reason: r, at: attached{as: r.Type, level: r.Level}}
	if k, ok := parseOperator(r.Operator); ok && r.Clause == "Condition" {
		k.key = newContextKey(r.Key)
		for _, w := range r.Wanted {
			if v, problem, _ := compileOperand(k.operator, w, true); problem == "" {
				k.values = append(k.values, v)
			}
		}
		m.condition = &k
	}
	c := context{req: req}
	if options := m.options(&c); len(options) > 0 {
		return options[0][0].Text
	}
	return "add a statement of its own, beside " + r.short()
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

// tagged is the one remedy for a missing tag.
func tagged(req *Request, tag string) string {
	switch req.Principal.Kind {
	case AssumedRole:
		return "tag the session: it has no tag " + tag + " (an association with disableSessionTags gives none)"
	case FederatedUser:
		return "tag the session or its user: neither has the tag " + tag
	case User:
		return "tag the user: it has no tag " + tag
	}
	return "call as a principal that has the tag " + tag
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
