package roles

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"
)

// condition says what the session has for the key of a condition that failed,
// where that is the pod's own, and what to do where it has nothing. whose is
// whose trust policy it is: that of the role or the target role.
func (s *Assumer) condition(p *problem.Problem, whose string, a podid.Association, r policy.Reason) *problem.Problem {
	key := strings.ToLower(r.Key)
	switch {
	case r.Found == nil:
		return s.without(p, whose, a, r.Key)
	case key == "aws:securetransport" && !s.secure():
		return p.Because("podid speaks to STS over plain HTTP, so %s is false", r.Key).
			Fixed("give podid the https endpoint of STS, or remove that condition from the %s's trust policy", whose)
	case key == "sts:externalid":
		return p.Because("for this workload %s is %s, which is not what the trust policy wants", r.Key, quoted(r.Found)).
			Fixed("set %s in the %s's trust policy to the association's externalId, %s", r.Key, whose, quoted(r.Found))
	case isRequestTag(key), strings.HasPrefix(key, principalTag), key == "aws:sourcearn", key == "aws:sourceaccount", key == "sts:rolesessionname":
		return p.Because("for this workload %s is %s, which is not what the trust policy wants", r.Key, quoted(r.Found))
	}
	return p.Because("the session's value of %s is not what the trust policy wants", r.Key)
}

// without is a condition on a key for which the request had no value.
func (s *Assumer) without(p *problem.Problem, whose string, a podid.Association, key string) *problem.Problem {
	remove := "remove that condition from the " + whose + "'s trust policy"
	target := whose == targetWhose
	switch lower := strings.ToLower(key); {
	case ofServices[lower] && (target || !s.Principal.Service):
		return p.Because("%s exists only when an AWS service calls; podid calls as a principal of IAM here", key).
			Fixed("remove that condition, and set conditions on aws:RequestTag/eks-cluster-arn, aws:RequestTag/kubernetes-namespace and aws:RequestTag/kubernetes-service-account instead")
	case a.DisableSessionTags && (isRequestTag(lower) || target && isSessionTag(lower)):
		p.Because("session tags are disabled on this association, so the session has no value of %s", key)
		if a.Policy != "" {
			return p.Fixed("%s; a session policy rules session tags out", remove)
		}
		return p.Fixed("%s, or set disableSessionTags of the association to false", remove)
	case isRequestTag(lower):
		return p.Because("the session has no value of %s: it is none of the session tags that podid sends", key).
			Fixed("%s, or correct its key: the tags are %s", remove, strings.Join(tagKeys(), ", "))
	case strings.HasPrefix(lower, "aws:multifactorauth"):
		return p.Because("no person with a second factor signs in when a pod asks, so the session has no value of %s", key).
			Fixed("%s", remove)
	}
	return p.Because("the session has no value of %s that podid knows", key).
		Fixed("%s, or compare it with what podid's principal and its way to STS have", remove)
}

const (
	roleWhose, targetWhose = "role", "target role"

	principalTag = "aws:principaltag/"
)

// ofServices are the condition keys, in lower case, that exist only when an AWS
// service calls
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html).
var ofServices = set("aws:sourcearn", "aws:sourceaccount", "aws:sourceorgid", "aws:sourceorgpaths")

// isRequestTag says whether a condition key, in lower case, is about the tags
// of the request.
func isRequestTag(key string) bool {
	return strings.HasPrefix(key, "aws:requesttag/") || key == "aws:tagkeys" || key == "sts:transitivetagkeys"
}

// isSessionTag says whether a condition key, in lower case, is about a session
// tag of podid's as the principal has it.
func isSessionTag(key string) bool {
	tag, ok := strings.CutPrefix(key, principalTag)
	return ok && slices.Contains(tagKeys(), tag)
}

func tagKeys() []string {
	var keys []string
	for _, tag := range podid.SessionTags(podid.Cluster{}, podid.Workload{}) {
		keys = append(keys, tag.Key)
	}
	return keys
}

// found is what STS said, and what was found in the trust policy: one sentence
// for the log.
type found struct{ said, finding error }

func (f found) Error() string {
	return strings.TrimRight(f.said.Error(), ". ") + "; " + f.finding.Error()
}

func (f found) Unwrap() []error { return []error{f.said, f.finding} }

// finding is the verdict for the log, with what the policy wants. Statements
// count from 1, as STS and package policy count them.
func finding(v policy.TrustVerdict) error {
	if v.Outcome == policy.TrustAllowed {
		return errors.New("trust policy: allows")
	}
	r := v.Reason
	if r.Policy == "" {
		return fmt.Errorf("trust policy: %s: no Allow statement", v.Action)
	}
	where := "statement " + strconv.Itoa(r.Number)
	if r.Sid != "" {
		where += " (" + r.Sid + ")"
	}
	if r.Applied {
		return fmt.Errorf("trust policy: %s: %s applies: %s", v.Action, where, r.Effect)
	}
	clause := r.Clause
	for _, part := range []string{r.Operator, r.Key} {
		if part != "" {
			clause += " " + part
		}
	}
	return fmt.Errorf("trust policy: %s: %s: %s wants %s, has %s", v.Action, where, clause, quoted(r.Wanted), quoted(r.Found))
}

func quoted(values []string) string {
	if len(values) == 0 {
		return "nothing"
	}
	q := make([]string, len(values))
	for i, v := range values {
		q[i] = strconv.Quote(v)
	}
	return strings.Join(q, ", ")
}
