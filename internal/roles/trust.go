package roles

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/smithy-go"
)

const (
	actionAssume = "sts:AssumeRole"
	actionTag    = "sts:TagSession"
)

// Check says whether role's trust policy admits the principal at all (conditions
// on the workload's tags aside): nil, role-missing, trust-invalid, or nil when
// it could not tell. It guards CreatePodIdentityAssociation, whose caller, unlike
// a pod, is told the principal's ARN.
func (s *Assumer) Check(ctx context.Context, role podid.RoleARN) error {
	trust, err := s.trustPolicy(ctx, role)
	if problem.Is(err, problem.RoleMissing) {
		return err
	}
	if err != nil {
		return nil //nolint:nilerr // could not tell; what IAM took and we cannot parse is our fault, not the caller's
	}
	verdict := policy.ExplainTrust(trust, question(role, s.principal(), nil), actionAssume, actionTag)
	switch verdict.Outcome {
	case policy.TrustPrincipal, policy.TrustAction:
		return problem.New(problem.TrustInvalid, "the trust policy of role %s does not allow %s to %s", role, verdict.Action, cmp.Or(s.Principal.ARN, podid.ServicePrincipal)).
			From(finding(verdict))
	}
	return nil
}

// explain says why STS refused the association's role: by the trust policy if
// it can be read, else by STS's own message. The pod sees the result, so it names
// the pod's own role and tags and the condition's key, and neither the values the
// policy wants nor other principals in it; those are in Err, for the log.
func (s *Assumer) explain(ctx context.Context, w podid.Workload, a podid.Association, denied smithy.APIError, cause error) error {
	trust, err := s.trustPolicy(ctx, a.Role)
	if problem.Is(err, problem.RoleMissing) {
		return problem.Of(err)
	}
	if err != nil {
		return s.unexplained(a, denied).From(found{cause, err})
	}
	verdict := policy.ExplainTrust(trust, question(a.Role, s.principal(), s.keys(w, a)), actions(a)...)
	cause = found{cause, finding(verdict)}
	refuse := func(code problem.Code, format string, args ...any) *problem.Problem {
		return problem.New(code, "role %s refuses the session: %s", a.Role, fmt.Sprintf(format, args...)).From(cause)
	}
	switch verdict.Outcome {
	case policy.TrustPrincipal:
		p := refuse(problem.TrustPrincipal, "its trust policy does not name %s", s.name())
		asService := policy.ExplainTrust(trust, question(a.Role, servicePrincipal, nil), actionAssume)
		if !s.Principal.Service && asService.Outcome != policy.TrustPrincipal {
			p.Because("it trusts the service %s, which outside EKS nobody can be", podid.ServicePrincipal)
		}
		return p
	case policy.TrustAction:
		if verdict.Action == actionTag {
			return refuse(problem.TrustTagSession, "its trust policy does not allow sts:TagSession")
		}
		return refuse(problem.TrustInvalid, "its trust policy does not allow %s", verdict.Action)
	case policy.TrustCondition:
		return s.condition(refuse(problem.TrustCondition, "a condition of its trust policy does not hold, on %s", verdict.Reason.Key), roleWhose, a, verdict.Reason)
	case policy.TrustDenied:
		return refuse(problem.TrustDenied, "a Deny statement of its trust policy applies to %s", verdict.Action).
			Because("a Deny that applies wins over every Allow").
			Fixed("narrow the Deny statement in the role's trust policy, or bind the role to the workload it is meant for")
	}
	action := actionIn(denied.ErrorMessage())
	if action == "" {
		action = actionAssume
	}
	return refuse(problem.TrustDenied, "its trust policy admits the session, and STS denies %s all the same", action).
		Because("podid's own principal lacks %s on the role, or a policy of the organization denies it, or the trust policy was changed a moment ago", action).
		Fixed("allow podid's principal sts:AssumeRole and sts:TagSession on the role; if the trust policy was just corrected, try again in a minute")
}

// unexplained is what STS's own message tells.
func (s *Assumer) unexplained(a podid.Association, denied smithy.APIError) *problem.Problem {
	if actionIn(denied.ErrorMessage()) == actionTag {
		return problem.New(problem.TrustTagSession, "role %s refuses the session: sts:TagSession is not allowed", a.Role)
	}
	return problem.New(problem.TrustDenied, "STS refuses podid a session of role %s", a.Role)
}

// explainTarget does the same for the target role.
func (s *Assumer) explainTarget(ctx context.Context, w podid.Workload, a podid.Association, session Session, denied smithy.APIError, cause error) error {
	principal := policy.Principal{Kind: policy.AssumedRole, Account: a.Role.Account(),
		ARN: session.AssumedRole.ARN, RoleARN: string(a.Role)}
	p := problem.New(problem.TargetRoleDenied, "target role %s refuses role %s", a.Target, a.Role)
	trust, err := s.trustPolicy(ctx, a.Target)
	if problem.Is(err, problem.RoleMissing) {
		return problem.New(problem.RoleMissing, "target role %s does not exist", a.Target).
			Because("the association's targetRoleArn names a role that IAM does not have").
			Fixed("create the target role, or correct the association's targetRoleArn").From(cause)
	}
	if err != nil {
		if message := denied.ErrorMessage(); strings.Contains(message, "no identity-based policy allows") {
			p.Because("no policy of the association's role allows it %s on the target role", actionIn(message)).
				Fixed("allow sts:AssumeRole and sts:TagSession on the target role in a policy of the association's role")
		} else if actionIn(message) == actionTag {
			p.Because("sts:TagSession is not allowed, and the session carries tags").
				Fixed("allow sts:TagSession beside sts:AssumeRole, in the role's policy and in the target role's trust policy")
		}
		return p.From(found{cause, err})
	}
	verdict := policy.ExplainTrust(trust, question(a.Target, principal, s.targetKeys(w, a)), actions(a)...)
	p.From(found{cause, finding(verdict)})
	switch verdict.Outcome {
	case policy.TrustPrincipal:
		return p.Because("the target role's trust policy does not name the association's role").
			Fixed("name role %s in a statement of the target role's trust policy that allows %s", a.Role, strings.Join(actions(a), " and "))
	case policy.TrustAction:
		return p.Because("the target role's trust policy does not allow %s to the association's role", verdict.Action).
			Fixed("add %q to the Action of the statement of the target role's trust policy that names the association's role", verdict.Action)
	case policy.TrustCondition:
		p.Fixed("correct the condition in the target role's trust policy, or set the association's targetRoleArn to the role meant for this workload")
		return s.condition(p, targetWhose, a, verdict.Reason)
	case policy.TrustDenied:
		return p.Because("a Deny statement of the target role's trust policy applies to %s, and wins over every Allow", verdict.Action).
			Fixed("narrow the Deny statement in the target role's trust policy")
	}
	return p.Because("the target role's trust policy admits the association's role, so that role's own policies do not allow it %s",
		strings.Join(actions(a), " and ")).
		Fixed("allow sts:AssumeRole and sts:TagSession on the target role in a policy of the association's role")
}

// trustPolicy reads and parses role's trust policy.
func (s *Assumer) trustPolicy(ctx context.Context, role podid.RoleARN) (*policy.Policy, error) {
	if s.Trust == nil {
		return nil, errors.New("no trust policies to read")
	}
	document, err := s.Trust.TrustPolicy(ctx, role)
	if err != nil {
		return nil, err
	}
	trust, err := policy.Parse(policy.Trust, string(role), []byte(document))
	if err != nil {
		return nil, fmt.Errorf("parse trust policy: %w", err)
	}
	return trust, nil
}

func question(role podid.RoleARN, principal policy.Principal, keys policy.Keys) policy.Request {
	return policy.Request{Principal: principal, Resource: string(role), ResourceAccount: role.Account(), Keys: keys}
}

// actions are those that a session of a needs.
func actions(a podid.Association) []string {
	if a.DisableSessionTags {
		return []string{actionAssume}
	}
	return []string{actionAssume, actionTag}
}

// keys is the condition context of the first call.
func (s *Assumer) keys(w podid.Workload, a podid.Association) policy.Keys {
	keys := policy.Keys{
		"sts:RoleSessionName": {podid.SessionName(s.Cluster, w)},
		"aws:SecureTransport": {strconv.FormatBool(s.secure())},
	}
	if s.Principal.Service {
		keys["aws:SourceArn"] = []string{s.Cluster.ARN()}
		keys["aws:SourceAccount"] = []string{s.Cluster.Account}
	}
	if !a.DisableSessionTags {
		for _, tag := range podid.SessionTags(s.Cluster, w) {
			keys["aws:RequestTag/"+tag.Key] = []string{tag.Value}
			keys["aws:TagKeys"] = append(keys["aws:TagKeys"], tag.Key)
		}
		keys["sts:TransitiveTagKeys"] = keys["aws:TagKeys"]
	}
	return keys
}

// targetKeys is that of the second: the tags are inherited, and are the caller's
// as well.
func (s *Assumer) targetKeys(w podid.Workload, a podid.Association) policy.Keys {
	keys := s.keys(w, a)
	delete(keys, "aws:SourceArn")
	delete(keys, "aws:SourceAccount")
	keys["sts:ExternalId"] = []string{a.ExternalID(s.Cluster)}
	if !a.DisableSessionTags {
		for _, tag := range podid.SessionTags(s.Cluster, w) {
			keys["aws:PrincipalTag/"+tag.Key] = []string{tag.Value}
		}
	}
	return keys
}

var servicePrincipal = policy.Principal{Kind: policy.Service, ARN: podid.ServicePrincipal}

// principal is podid's own, as the policy language has it.
func (s *Assumer) principal() policy.Principal {
	if s.Principal.Service {
		return servicePrincipal
	}
	p := policy.Principal{Kind: policy.User, ARN: s.Principal.ARN, Account: account(s.Principal.ARN)}
	switch role := podid.RoleARN(s.Principal.ARN); {
	case role.Name() != "":
		p.Kind, p.RoleARN, p.Account = policy.AssumedRole, string(role), role.Account()
		partition, _, _ := strings.Cut(string(role), ":iam:")
		p.ARN = partition + ":sts::" + role.Account() + ":assumed-role/" + role.Name() + "/podid"
	case strings.HasSuffix(s.Principal.ARN, ":root"):
		p.Kind = policy.Root
	}
	return p
}

// secure says whether STS is spoken to over TLS.
func (s *Assumer) secure() bool {
	return s.AWS.BaseEndpoint == nil || !strings.HasPrefix(strings.ToLower(*s.AWS.BaseEndpoint), "http:")
}

// name is how the pod's message calls the principal: the service's name is no
// secret, the broker's ARN is for podid's own log.
func (s *Assumer) name() string {
	if s.Principal.Service {
		return podid.ServicePrincipal
	}
	return "podid's principal"
}
