package policy

import (
	"regexp"
	"slices"
	"strings"
)

var plainSid = regexp.MustCompile(`^[0-9A-Za-z]*$`)

func (c *compiler) sid(s *statement, n *node) error {
	sid, err := c.text(n, "a string")
	if err != nil {
		return err
	}
	s.sid = sid
	switch {
	case c.policy.Type == Resource:
		// Services with policies of their own have their own rules for Sid
		// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_sid.html).
	case !plainSid.MatchString(sid):
		return c.failNode(n, excerpt(sid)+" is not a statement ID", "letters and digits only")
	case sid != "" && c.sids[sid]:
		return c.failNode(n, "the Sid "+excerpt(sid)+" is used twice", "a Sid that is unique in the policy")
	}
	c.sids[sid] = true
	return nil
}

const noTrustPrincipal = " is no principal of a role trust policy"

func (c *compiler) principals(n *node) ([]grantee, error) {
	const expected = `"*", or an object with AWS, Service, Federated or CanonicalUser`
	list := []grantee{}
	switch n.kind {
	case stringNode:
		if n.text != "*" {
			return nil, c.failNode(n, excerpt(n.text)+" is not a principal", expected)
		}
		if c.policy.Type == Trust {
			// https://docs.aws.amazon.com/IAM/latest/UserGuide/access-analyzer-reference-policy-checks.html#access-analyzer-reference-policy-checks-error-role-trust-policy-unsupported-wildcard-in-principal
			return nil, c.failNode(n, `"*"`+noTrustPrincipal, `{"AWS": "*"}, or better the accounts, roles and users meant`)
		}
		list = append(list, grantee{kind: everyone, source: "*"})
	case objectNode:
		for _, m := range n.members {
			if !slices.Contains([]string{"AWS", "Service", "Federated", "CanonicalUser"}, m.key) {
				return nil, c.fail(m.start, m.value.path, "there is no kind of principal "+excerpt(m.key), "AWS, Service, Federated or CanonicalUser")
			}
			values, err := c.list(m.value, false)
			if err != nil {
				return nil, err
			}
			for _, v := range values {
				g, expected := compileGrantee(m.key, v.text)
				if expected != "" {
					return nil, c.failNode(v, excerpt(v.text)+" is not a principal of kind "+m.key, expected)
				}
				list = append(list, g)
			}
		}
	default:
		return nil, c.failNode(n, "a principal is not "+n.kind.String(), expected)
	}
	if len(list) == 0 {
		return nil, c.failNode(n, "the list of principals is empty", "at least one principal")
	}
	if c.policy.Type == ResourceControl && n.kind != stringNode {
		return nil, c.failNode(n, "a resource control policy speaks of every principal", `"*"`)
	}
	return list, nil
}

// forbids reports whether policies of type t do without one of the elements of
// negation
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html
// and https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_rcps_syntax.html).
func (t Type) forbids(element string) bool {
	switch element {
	case "NotPrincipal":
		return t == Trust || t == ResourceControl
	case "NotAction":
		return t == ResourceControl
	}
	return false
}

var actionPattern = regexp.MustCompile(`^([A-Za-z0-9-]+:[A-Za-z0-9*?_./-]+|\*)$`)

// trustVerbs are the actions of trust policies, in lower case
// (https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecuritytokenservice.html).
var trustVerbs = []string{
	"sts:assumerole", "sts:assumerolewithsaml", "sts:assumerolewithwebidentity", "sts:tagsession", "sts:setsourceidentity", "sts:setcontext",
}

const noTrustAction = " is no action of a role trust policy"

// trusts reports whether a trust policy may name the action: IAM refuses others
// (https://github.com/hashicorp/terraform-provider-aws/issues/32872). A wildcard
// is taken if it covers one; whether IAM takes it is not documented.
func (a *action) trusts() bool {
	return slices.ContainsFunc(trustVerbs, func(verb string) bool { return glob(a.pattern, verb) })
}

// actions compiles an Action element, or if named is unset a NotAction.
func (c *compiler) actions(n *node, named bool) ([]action, error) {
	values, err := c.list(n, false)
	if err != nil {
		return nil, err
	}
	if len(values) == 0 {
		return nil, c.failNode(n, "the list of actions is empty", "at least one action")
	}
	list := make([]action, 0, len(values))
	for _, v := range values {
		if !actionPattern.MatchString(v.text) {
			return nil, c.failNode(v, excerpt(v.text)+" is not an action", `"*" or SERVICE:ACTION, such as s3:GetObject or s3:Get*`)
		}
		one := action{v.text, wildcards.Replace(asciiLower(v.text))}
		if c.policy.Type == Trust && named && !one.trusts() {
			return nil, c.failNode(v, excerpt(v.text)+noTrustAction,
				"sts:AssumeRole, sts:AssumeRoleWithWebIdentity, sts:AssumeRoleWithSAML, sts:TagSession, sts:SetSourceIdentity or sts:SetContext")
		}
		list = append(list, one)
	}
	return list, nil
}

func (c *compiler) resources(n *node) ([]template, error) {
	values, err := c.list(n, false)
	if err != nil {
		return nil, err
	}
	if len(values) == 0 {
		return nil, c.failNode(n, "the list of resources is empty", "at least one resource")
	}
	list := make([]template, 0, len(values))
	for _, v := range values {
		// Services name resources in their own policies in their own ways too.
		if c.policy.Type != Resource && v.text != "*" && !strings.HasPrefix(v.text, "arn:") {
			return nil, c.failNode(v, excerpt(v.text)+" is not a resource", `"*" or an ARN`)
		}
		if v.text == "" {
			return nil, c.failNode(v, "the resource is empty", `"*" or an ARN`)
		}
		if prefix, _, found := strings.Cut(v.text, "${"); found && c.variables() && strings.HasPrefix(v.text, "arn:") && strings.Count(prefix, ":") < 5 {
			return nil, c.failNode(v, "a policy variable stands before the fifth colon of an ARN", "variables in the resource part only")
		}
		if c.policy.Type != Resource && v.text != "*" && !namesService(v.text) {
			return nil, c.failNode(v, excerpt(v.text)+noService, `"*", or an ARN whose third part is a service, without wildcards`)
		}
		whole := v.text
		if missing := 5 - strings.Count(whole, ":"); missing > 0 && strings.HasPrefix(whole, "arn:") && !strings.Contains(whole, "*") {
			// An incomplete ARN; a star would cross colons anyway. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
			switch c.policy.Type {
			case Identity, Boundary:
				whole += strings.Repeat(":*", missing)
			case Session:
				return nil, c.failNode(v, excerpt(v.text)+" is an incomplete ARN, which session policies do not support", "an ARN with six parts")
			}
		}
		t, problem := compileTemplate(whole, true, c.variables())
		if problem != "" {
			return nil, c.failNode(v, problem, "${key} or ${key, 'default'}")
		}
		t.source = v.text
		list = append(list, t)
	}
	return list, nil
}

const noService = " does not name its service in full"

// namesService reports whether an ARN has a service, and in it no wildcards
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html#reference_policies_elements_resource_wildcards;
// Organizations speaks a subset of the same language). The partition may have one.
func namesService(arn string) bool {
	parts := strings.SplitN(arn, ":", 4)
	return len(parts) > 2 && !strings.ContainsAny(parts[2], "*?")
}
