package association

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"
)

// Kubernetes names: RFC 1123 labels for namespaces, RFC 1123 subdomains for
// service accounts
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/).
var (
	namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	accountName   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

// Tags as AWS restricts them
// (https://docs.aws.amazon.com/eks/latest/userguide/eks-using-tags.html).
var tagText = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// What STS takes as a session policy
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
var policyText = regexp.MustCompile(`^[\x{0009}\x{000A}\x{000D}\x{0020}-\x{00FF}]+$`)

// Validate checks what a caller may set of an association against the rules of
// the EKS API. Errors are problems that name the field: association-invalid,
// session-policy-invalid for the policy, tag-limit for too many tags,
// request-invalid for the client token.
func Validate(a podid.Association) error {
	if a.ClientToken != "" {
		if err := ValidateClientToken(a.ClientToken); err != nil {
			return err
		}
	}
	if err := validateNames(a.Namespace, a.ServiceAccount); err != nil {
		return err
	}
	if _, err := podid.ParseRoleARN(string(a.Role)); err != nil {
		return invalid("roleArn: %v", err)
	}
	if a.Target != "" {
		if _, err := podid.ParseRoleARN(string(a.Target)); err != nil {
			return invalid("targetRoleArn: %v", err)
		}
	}
	if err := validatePolicy(a); err != nil {
		return err
	}
	return ValidateTags(a.Tags)
}

// ValidateClientToken checks a clientRequestToken: 33 to 126 characters.
func ValidateClientToken(token string) error {
	if n := utf8.RuneCountInString(token); n < 33 || n > 126 {
		return problem.New(problem.RequestInvalid,
			"The client request token parameter must be between 33 and 126 characters.").
			Because("this one has %d", n).
			Fixed("send a UUID, as the SDKs do, or leave clientRequestToken out")
	}
	return nil
}

func validateNames(namespace, account string) error {
	switch {
	case namespace == "":
		return invalid("the namespace is missing")
	case len(namespace) > 63:
		return invalid("the namespace is %d characters long, more than 63", len(namespace))
	case !namespaceName.MatchString(namespace):
		return invalid("the namespace %q does not match the pattern %s", namespace, namespaceName)
	case account == "":
		return invalid("the serviceAccount is missing")
	case len(account) > 253:
		return invalid("the serviceAccount is %d characters long, more than 253", len(account))
	case !accountName.MatchString(account):
		return invalid("the serviceAccount %q does not match the pattern %s", account, accountName)
	}
	return nil
}

// validatePolicy follows
// https://docs.aws.amazon.com/eks/latest/APIReference/API_CreatePodIdentityAssociation.html:
// a policy needs disableSessionTags.
func validatePolicy(a podid.Association) error {
	if a.Policy == "" {
		return nil
	}
	refuse := func(format string, args ...any) *problem.Problem {
		return problem.New(problem.SessionPolicyInvalid, format, args...)
	}
	switch n := utf8.RuneCountInString(a.Policy); {
	case n > MaxPolicy:
		return refuse("the policy is %d characters long, more than %d", n, MaxPolicy)
	case !a.DisableSessionTags:
		return refuse("the policy is set and disableSessionTags is not").
			Fixed("set disableSessionTags to true together with policy")
	case !policyText.MatchString(a.Policy):
		return refuse("the policy has characters that STS does not take: only tab, line breaks and U+0020 to U+00FF")
	case !isObject(a.Policy):
		return refuse("the policy is not a JSON object")
	}
	if _, err := policy.Parse(policy.Session, "session policy", []byte(a.Policy)); err != nil {
		return refuse("the policy is not an IAM policy: %v", err)
	}
	return nil
}

func isObject(s string) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal([]byte(s), &object) == nil && object != nil
}

// ValidateTags checks resource tags: at most 50; keys of 1–128 and values of up
// to 256 characters, of letters, digits, spaces and _.:/=+-@; no aws: prefix.
func ValidateTags(tags map[string]string) error {
	if len(tags) > MaxTags {
		return problem.New(problem.TagLimit, "%d tags are more than the %d an association may have", len(tags), MaxTags)
	}
	// In order, so that the same request gets the same answer each time.
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if err := validateTag(key, tags[key]); err != nil {
			return err
		}
	}
	return nil
}

func validateTag(key, value string) error {
	switch keyLength, valueLength := utf8.RuneCountInString(key), utf8.RuneCountInString(value); {
	case keyLength == 0:
		return invalid("a tag has an empty key")
	case keyLength > 128:
		return invalid("a tag key is %d characters long, more than 128", keyLength)
	case valueLength > 256:
		return invalid("the value of tag %q is %d characters long, more than 256", key, valueLength)
	case reserved(key) || reserved(value):
		return invalid("tag %q: the prefix aws: is reserved for AWS", key)
	case !tagText.MatchString(key):
		return invalid("tag key %q has characters other than letters, digits, spaces and _.:/=+-@", key)
	case !tagText.MatchString(value):
		return invalid("the value of tag %q has characters other than letters, digits, spaces and _.:/=+-@", key)
	}
	return nil
}

func reserved(s string) bool {
	return len(s) >= 4 && strings.EqualFold(s[:4], "aws:")
}

// invalid is the problem of a field whose fault is told in full by what is said
// of it.
func invalid(format string, args ...any) *problem.Problem {
	return problem.New(problem.AssociationInvalid, format, args...).Because("")
}
