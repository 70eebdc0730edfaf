package policy

import "slices"

// organization checks what every policy of an organization must have: "Every SCP
// must include a Version element with the value 2012-10-17", and so must RCPs
// (https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps_syntax.html#scp-syntax-version).
func (c *compiler) organization(root *node) error {
	if t := c.policy.Type; t != ServiceControl && t != ResourceControl || c.policy.version == version2012 {
		return nil
	}
	const problem = "the policies of an organization speak the language of 2012-10-17"
	if v := root.member("Version"); v != nil {
		return c.failNode(v, problem, `"2012-10-17"`)
	}
	return c.failNode(root, problem, `"Version": "2012-10-17"`)
}

// resourceControl checks that the policy only denies, and not the actions of
// every service at once, unless it is AWS's own RCPFullAWSAccess
// (https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_rcps_syntax.html).
func (c *compiler) resourceControl(items []*node) error {
	if c.policy.isRCPFullAWSAccess() {
		return nil
	}
	for i, n := range items {
		s := &c.policy.statements[i]
		if !s.deny {
			return c.failNode(n.member("Effect"), "a resource control policy only denies", `"Deny"`)
		}
		if all := slices.IndexFunc(s.actions, func(a action) bool { return a.source == "*" }); all >= 0 {
			at := n.member("Action")
			if at.kind == arrayNode {
				at = at.items[all]
			}
			return c.failNode(at, "a resource control policy names the service", "SERVICE:*, such as s3:*")
		}
	}
	return nil
}

// isRCPFullAWSAccess reports whether the policy allows everything, as the one
// that AWS attaches at every level of an organization.
func (p *Policy) isRCPFullAWSAccess() bool {
	if len(p.statements) != 1 {
		return false
	}
	s := &p.statements[0]
	return !s.deny && len(s.conditions) == 0 &&
		len(s.actions) == 1 && s.actions[0].source == "*" &&
		len(s.resources) == 1 && s.resources[0].source == "*" && !s.notResource
}
