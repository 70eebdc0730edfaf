package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
)

// policyFiles are the flags that give policies as files.
type policyFiles struct {
	identity, trust, boundary, session, resource, scp, rcp []string
}

func (f *policyFiles) flags(c *cobra.Command) {
	flags := c.Flags()
	flags.StringArrayVar(&f.identity, "identity", nil, "identity-based policy of who asks, a `FILE`; repeatable")
	flags.StringArrayVar(&f.trust, "trust", nil, "the role's trust policy, a `FILE`")
	flags.StringArrayVar(&f.resource, "resource-policy", nil, "policy of the bucket, key, queue, …, a `FILE`; repeatable")
	flags.StringArrayVar(&f.boundary, "boundary", nil, "permissions boundary of who asks, a `FILE`")
	flags.StringArrayVar(&f.session, "session", nil, "session policy, a `FILE`; repeatable. A pod's session then has no tags, as in EKS")
	flags.StringArrayVar(&f.scp, "scp", nil, "service control policies of one level of the organization, `FILES` separated by commas; repeat from the root to the account")
	flags.StringArrayVar(&f.rcp, "rcp", nil, "resource control policy, a `FILE`; repeatable")
}

func (f *policyFiles) any() bool {
	return len(f.identity)+len(f.trust)+len(f.boundary)+len(f.session)+len(f.resource)+len(f.scp)+len(f.rcp) > 0
}

// documents are the files, parsed.
type documents struct {
	policy.Set
	trust []*policy.Policy
}

func (f *policyFiles) parse() (d documents, err error) {
	for _, one := range []struct {
		files []string
		t     policy.Type
		to    *[]*policy.Policy
	}{
		{f.identity, policy.Identity, &d.Identity},
		{f.trust, policy.Trust, &d.trust},
		{f.boundary, policy.Boundary, &d.Boundary},
		{f.session, policy.Session, &d.Session},
		{f.resource, policy.Resource, &d.Resource},
		{f.rcp, policy.ResourceControl, &d.ResourceControl},
	} {
		if *one.to, err = parseFiles(one.t, one.files); err != nil {
			return d, err
		}
	}
	for _, level := range f.scp {
		list, err := parseFiles(policy.ServiceControl, strings.Split(level, ","))
		if err != nil {
			return d, err
		}
		d.ServiceControl = append(d.ServiceControl, list)
	}
	return d, nil
}

// maxPolicyFile is far above every quota of IAM, in bytes.
const maxPolicyFile = 1 << 20

// parseFiles parses policies, which keep the names of their files; nil for none.
func parseFiles(t policy.Type, names []string) (list []*policy.Policy, err error) {
	for _, name := range names {
		document, err := readPolicyFile(name)
		if err != nil {
			return nil, problem.New(problem.Usage, "%s cannot be read", name).Because("%v", err).Fixed("check the path")
		}
		p, err := policy.Parse(t, name, document)
		if err != nil {
			return nil, problem.New(problem.PolicyInvalid, "%s is not %s", name, called(t)).
				Because("%s", strings.TrimPrefix(err.Error(), name+": "))
		}
		list = append(list, p)
	}
	return list, nil
}

func readPolicyFile(name string) ([]byte, error) {
	file, err := os.Open(name) //nolint:gosec // reading it is what was asked for
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxPolicyFile))
}

func called(t policy.Type) string {
	if t == policy.Identity {
		return "an " + t.String()
	}
	return "a " + t.String()
}

// assumesRole reports whether the question is for a role's trust policy.
func (q *question) assumesRole() bool {
	action := strings.ToLower(q.action)
	return strings.HasPrefix(part(q.resource, 5), "role/") && part(q.resource, 2) == "iam" &&
		(strings.HasPrefix(action, "sts:assumerole") || action == "sts:tagsession" || action == "sts:setsourceidentity")
}

// decide answers by the files alone.
func (f *canIFlags) decide(q question) (*canIReply, error) {
	d, err := f.parse()
	if err != nil {
		return nil, err
	}
	if err := f.fits(&q, d); err != nil {
		return nil, err
	}
	if q.isPod() {
		return f.decidePod(q, d)
	}
	actions := []string{q.action}
	if q.assumesRole() {
		d.Resource = d.trust
		actions = q.tagging()
	}
	r := q.evaluateAll(actions, d.Set, assumedKeys(q.Principal, q.resource, time.Now()))
	if len(actions) > 1 && strings.EqualFold(q.action, "sts:AssumeRole") {
		r.Notes = append(r.Notes, "this is a session of pod identity by its name, and the tags of such sessions go along, unless the association disables them")
	}
	if issuer := issuerOf(q.ARN); q.Kind == policy.Federated && issuer != "" && !hasKey(q.keys, issuer+":sub") {
		r.Notes = append(r.Notes, fmt.Sprintf("what the token says is not given: --key %s:sub=… --key %[1]s:aud=…; for a pod --as NAMESPACE/SERVICEACCOUNT knows it", issuer))
	}
	r.noteTags(&q)
	return r, nil
}

// tagging are the actions of a call that assumes a role, where tags surely go
// along: in a session of pod identity, and where sts:TagSession is asked.
func (q *question) tagging() []string {
	switch {
	case strings.EqualFold(q.action, "sts:TagSession"):
		return []string{q.action, "sts:AssumeRole"}
	case strings.EqualFold(q.action, "sts:AssumeRole") && q.Kind == policy.AssumedRole && strings.Contains(q.ARN, "/eks-"):
		return []string{q.action, "sts:TagSession"}
	}
	return []string{q.action}
}

// issuerOf is the issuer of a registered OpenID Connect provider.
func issuerOf(provider string) string {
	_, issuer, _ := strings.Cut(provider, ":oidc-provider/")
	return issuer
}

// fits completes who asks by the flags, and refuses flags that have no say.
func (f *canIFlags) fits(q *question, d documents) error {
	switch {
	case q.assumesRole() && d.trust == nil:
		return problem.New(problem.Usage, "the trust policy of %s is not given", q.resource).
			Because("a role is assumed only by whom its trust policy allows").Fixed("give it: --trust FILE")
	case d.trust != nil && !q.assumesRole() && !q.isPod():
		return problem.New(problem.Usage, "--trust has no say in %s by %s", q.action, q.as).
			Because("a trust policy decides who may assume its role, and what the role may do is decided by its other policies").
			Fixed("leave it out; to ask for the role, give sts:AssumeRole and the role's ARN")
	case f.role != "" && q.Kind == policy.AssumedRole:
		return f.ofSession(&q.who)
	case f.given() != "" && !q.isPod():
		return problem.New(problem.Usage, "--%s goes with a pod", f.given()).Because("").
			Fixed("give --as NAMESPACE/SERVICEACCOUNT, or leave it out")
	}
	if f.user == "" {
		return nil
	}
	user, err := parsePrincipalARN(f.user)
	if err != nil || q.Kind != policy.FederatedUser || user.Account != q.Account || user.Kind != policy.User && user.Kind != policy.Root {
		return problem.New(problem.Usage, "--user %s is not the user behind %s", clip(f.user), q.as).
			Because("it is the ARN of the user, or of the account's root, that a federated user is of").
			Fixed("give it with --as arn:aws:sts::ACCOUNT:federated-user/NAME of the same account")
	}
	q.UserARN = f.user
	return nil
}

// noteTags says what a session is taken for whose tags nobody knows, where a tag
// may decide.
func (r *canIReply) noteTags(q *question) {
	tag := func(s policy.Reason) bool {
		return !s.Applied && strings.Contains(strings.ToLower(s.Key+" "+s.Variable), "aws:principaltag/")
	}
	if q.Kind != policy.AssumedRole || !slices.ContainsFunc(r.Statements, tag) {
		return
	}
	note := "the session is taken for one without tags; --key aws:PrincipalTag/KEY=VALUE gives it one"
	if strings.Contains(q.ARN, "/eks-") {
		note += ", and --as NAMESPACE/SERVICEACCOUNT those of a pod"
	}
	r.Notes = append(r.Notes, note)
}

// evaluateAll asks the policies for the actions that one call needs, with the keys
// that were given over the assumed.
func (q *question) evaluateAll(actions []string, set policy.Set, assumed policy.Keys) *canIReply {
	keys := policy.Keys{}
	for key, values := range assumed {
		if hasKey(q.keys, key) {
			delete(assumed, key)
			continue
		}
		keys[key] = values
	}
	for key, values := range q.keys {
		keys[key] = values
	}
	decisions := make([]policy.Decision, len(actions))
	for i, action := range actions {
		decisions[i] = policy.Evaluate(policy.Request{
			Principal: q.Principal, Action: action, Resource: q.resource, ResourceAccount: q.account, Keys: keys,
		}, set)
	}
	r := &canIReply{Report: policy.ReportCall(decisions...), As: q.as, Assumed: assumed}
	if q.called != "" {
		answer, arn := "No. ", q.ARN
		if r.Decision == policy.Allowed {
			answer = "Yes. "
		}
		called := q.called
		if !q.isPod() {
			called = sentence(called)
		}
		r.Explanation = strings.Replace(r.Explanation, answer+arn, answer+called, 1)
		r.Explanation = strings.ReplaceAll(r.Explanation, ", not "+arn, ", not "+q.called)
	}
	for _, also := range actions[1:] {
		if r.Decision == policy.Allowed {
			r.Notes = append(r.Notes, also+", which the session tags need, is allowed as well")
		}
	}
	return r
}

// assumedKeys are what almost every request has: now, over TLS, and for a role's
// session that it is new and without a second factor
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html).
func assumedKeys(p policy.Principal, resource string, now time.Time) policy.Keys {
	keys := policy.Keys{
		"aws:CurrentTime":     {now.UTC().Format(time.RFC3339)},
		"aws:EpochTime":       {strconv.FormatInt(now.Unix(), 10)},
		"aws:SecureTransport": {"true"},
		"aws:ViaAWSService":   {"false"},
	}
	if region := part(resource, 3); region != "" && region != "*" {
		keys["aws:RequestedRegion"] = []string{region}
	}
	if p.Kind == policy.AssumedRole || p.Kind == policy.FederatedUser {
		keys["aws:TokenIssueTime"] = keys["aws:CurrentTime"]
		keys["aws:MultiFactorAuthPresent"] = []string{"false"}
	}
	return keys
}
