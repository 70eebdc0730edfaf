package iam

import (
	"errors"
	"net/http"
	"strings"

	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/policy"
)

// Quotas of an account, AWS's defaults.
//
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const (
	MaxRoles              = 1000
	MaxUsers              = 5000
	MaxPolicies           = 1500
	MaxAttached           = 10 // managed policies of one identity
	MaxKeys               = 2  // access keys of one user
	MaxTrustPolicy        = 2048
	MaxManagedPolicy      = 6144
	MaxInlineOfRole       = 10240 // all inline policies of a role together
	MaxInlineOfUser       = 2048
	MinSession            = 3600
	MaxSession            = 43200
	maxPolicyDocument     = 131072
	maxDescription        = 1000
	defaultSessionSeconds = 3600
)

func noSuchEntity(format string, args ...any) error {
	return awswire.Errorf(http.StatusNotFound, "NoSuchEntity", format, args...)
}

func noSuchIdentity(kind Kind, name string) error {
	return noSuchEntity("The %s with name %s cannot be found.", kind, name)
}

func noSuchPolicy(arn string) error { return noSuchEntity("Policy %s was not found.", arn) }

func alreadyExists(kind Kind, name string) error {
	return awswire.Errorf(http.StatusConflict, "EntityAlreadyExists", "%s with name %s already exists.", title(kind), name)
}

func deleteConflict(message string) error {
	return awswire.Errorf(http.StatusConflict, "DeleteConflict", "%s", message)
}

func limitExceeded(format string, args ...any) error {
	return awswire.Errorf(http.StatusConflict, "LimitExceeded", format, args...)
}

func quotaExceeded(quota string, n int) error {
	return limitExceeded("Cannot exceed quota for %s: %d", quota, n)
}

func invalidPath() error {
	return awswire.Errorf(http.StatusBadRequest, "ValidationError",
		"The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.")
}

func malformed(format string, args ...any) error {
	return awswire.Errorf(http.StatusBadRequest, "MalformedPolicyDocument", format, args...)
}

// malformedPolicy words a parser's complaint: AWS's sentence, and then, since
// the local AWS is a teacher, where and what.
func malformedPolicy(t policy.Type, err error) error {
	message := "Syntax errors in policy."
	if e, ok := errors.AsType[*policy.SyntaxError](err); ok {
		where := *e
		where.Policy = "" // the caller knows which one they sent
		message = syntaxError(t, e) + " At " + where.Error() + "."
	}
	return &awswire.Error{Status: http.StatusBadRequest, Code: "MalformedPolicyDocument", Message: message, Err: err}
}

// syntaxError is AWS's sentence for a mistake; where AWS's is not known, its
// general one. Trust policies have a parser of their own there.
func syntaxError(t policy.Type, e *policy.SyntaxError) string {
	if e.Expected == "valid JSON" {
		return "This policy contains invalid Json."
	}
	for _, known := range sentences {
		if strings.HasSuffix(e.Problem, known.problem) && (t == policy.Trust) == known.trust {
			return known.sentence
		}
	}
	return "Syntax errors in policy."
}

// sentences are AWS's, by the end of ours.
var sentences = []struct {
	trust             bool
	problem, sentence string
}{
	{true, "role trust policy has no Resource", "Has prohibited field Resource."},
	{true, "the statement has no Principal", "Missing required field Principal."},
	{true, "the list of principals is empty", "Missing required field Principal."},
	{true, "the statement has no Action", "Missing required field Action."},
	{true, "the list of actions is empty", "Missing required field Action."},
	{true, " is no principal of a role trust policy", `AssumeRolepolicy contained an invalid principal: "STAR":"*".`},
	{true, " is no action of a role trust policy", "AssumeRole policy may only specify STS AssumeRole actions."},
	{false, "policy has no Principal", "Policy document should not specify a principal."},
	{false, "policy has no NotPrincipal", "Policy document should not specify a principal."},
	{false, "the statement has no Action", "Policy statement must contain actions."},
	{false, "the list of actions is empty", "Policy statement must contain actions."},
	{false, "the statement has no Resource", "Policy statement must contain resources."},
	{false, "the list of resources is empty", "Policy statement must contain resources."},
	{false, " does not name its service in full", "Resource vendor must be fully qualified and cannot contain regexes."},
	{false, " is not an action", "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."},
	{false, " is used twice", "Statement IDs (SID) in a single policy must be unique."},
}

func title(kind Kind) string { return strings.ToUpper(string(kind[:1])) + string(kind[1:]) }
