package iam

import (
	"slices"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/localaws/internal/constraint"
	"github.com/openpodidentity/podid/policy"
)

// The operations that roles and users have in common.

// allowOn asks for an operation on a role or user, with further keys.
func (c *call) allowOn(action string, kind Kind, name string, further policy.Keys) error {
	keys := c.identityKeys(kind, name)
	for k, v := range further {
		keys[k] = v
	}
	return c.allow(action, c.arn(kind, name), keys)
}

func deleteIdentity(kind Kind) operation {
	return func(c *call) (any, error) {
		name := c.identityName(kind)
		if err := c.allowOn("Delete"+title(kind), kind, name, nil); err != nil {
			return nil, err
		}
		return nil, c.state.Delete(kind, name)
	}
}

func putInline(kind Kind) operation {
	return func(c *call) (any, error) {
		name, policyName, document := c.identityName(kind), c.named("PolicyName", 128), c.document("PolicyDocument")
		if err := c.allowOn("Put"+title(kind)+"Policy", kind, name, nil); err != nil {
			return nil, err
		}
		return nil, c.state.PutInline(kind, name, policyName, document)
	}
}

func getInline(kind Kind) operation {
	return func(c *call) (any, error) {
		name, policyName := c.identityName(kind), c.named("PolicyName", 128)
		if err := c.allowOn("Get"+title(kind)+"Policy", kind, name, nil); err != nil {
			return nil, err
		}
		d, err := c.state.Inline(kind, name, policyName)
		if err != nil {
			return nil, err
		}
		result := struct {
			RoleName       string `xml:",omitempty"`
			UserName       string `xml:",omitempty"`
			PolicyName     string
			PolicyDocument string
		}{PolicyName: policyName, PolicyDocument: encoded(d.Text)}
		if kind == Role {
			result.RoleName = name
		} else {
			result.UserName = name
		}
		return result, nil
	}
}

func deleteInline(kind Kind) operation {
	return func(c *call) (any, error) {
		name, policyName := c.identityName(kind), c.named("PolicyName", 128)
		if err := c.allowOn("Delete"+title(kind)+"Policy", kind, name, nil); err != nil {
			return nil, err
		}
		return nil, c.state.DeleteInline(kind, name, policyName)
	}
}

func listInline(kind Kind) operation {
	return func(c *call) (any, error) {
		name, page := c.identityName(kind), c.page()
		if err := c.allowOn("List"+title(kind)+"Policies", kind, name, nil); err != nil {
			return nil, err
		}
		i, err := c.state.Identity(kind, name)
		if err != nil {
			return nil, err
		}
		var result struct {
			PolicyNames members[string]
			Page
		}
		result.PolicyNames.Member, result.Page = cut(page, sortedKeys(i.Inline), func(s string) string { return s })
		return result, nil
	}
}

func attach(kind Kind) operation {
	return func(c *call) (any, error) {
		name, arn := c.identityName(kind), c.policyARN()
		if err := c.allowOn("Attach"+title(kind)+"Policy", kind, name, policy.Keys{"iam:PolicyARN": {arn}}); err != nil {
			return nil, err
		}
		return nil, c.state.Attach(kind, name, arn)
	}
}

func detach(kind Kind) operation {
	return func(c *call) (any, error) {
		name, arn := c.identityName(kind), c.policyARN()
		if err := c.allowOn("Detach"+title(kind)+"Policy", kind, name, policy.Keys{"iam:PolicyARN": {arn}}); err != nil {
			return nil, err
		}
		return nil, c.state.Detach(kind, name, arn)
	}
}

func listAttached(kind Kind) operation {
	return func(c *call) (any, error) {
		name, prefix, page := c.identityName(kind), c.pathPrefix(), c.page()
		if err := c.allowOn("ListAttached"+title(kind)+"Policies", kind, name, nil); err != nil {
			return nil, err
		}
		i, err := c.state.Identity(kind, name)
		if err != nil {
			return nil, err
		}
		type attached struct{ PolicyName, PolicyArn string }
		var result struct {
			AttachedPolicies members[attached]
			Page
		}
		arns := slices.DeleteFunc(slices.Sorted(slices.Values(i.Attached)), func(arn string) bool {
			p, err := c.state.ManagedPolicy(arn)
			return err != nil || !strings.HasPrefix(p.Path, prefix)
		})
		arns, result.Page = cut(page, arns, func(s string) string { return s })
		for _, arn := range arns {
			result.AttachedPolicies.Member = append(result.AttachedPolicies.Member, attached{policyName(arn), arn})
		}
		return result, nil
	}
}

func tagIdentity(kind Kind) operation {
	return func(c *call) (any, error) {
		name, tags := c.identityName(kind), c.tags()
		c.needList("Tags", tags == nil)
		if err := c.allowOn("Tag"+title(kind), kind, name, addRequestTags(policy.Keys{}, tags)); err != nil {
			return nil, err
		}
		return nil, c.state.Tag(kind, name, tags)
	}
}

func untagIdentity(kind Kind) operation {
	return func(c *call) (any, error) {
		name, keys := c.identityName(kind), c.tagKeys()
		c.needList("TagKeys", keys == nil)
		if err := c.allowOn("Untag"+title(kind), kind, name, policy.Keys{"aws:TagKeys": keys}); err != nil {
			return nil, err
		}
		return nil, c.state.Untag(kind, name, keys)
	}
}

// needList refuses a call without a required list.
func (c *call) needList(name string, missing bool) {
	if missing && !c.Has(name) {
		_, err := c.Required(name)
		c.fail(err)
	}
}

func listTags(kind Kind) operation {
	return func(c *call) (any, error) {
		name, page := c.identityName(kind), c.page()
		if err := c.allowOn("List"+title(kind)+"Tags", kind, name, nil); err != nil {
			return nil, err
		}
		i, err := c.state.Identity(kind, name)
		if err != nil {
			return nil, err
		}
		return tagList(page, i.Tags), nil
	}
}

type tagListResult struct {
	Tags members[podid.Tag]
	Page
}

func tagList(page paging, tags []podid.Tag) tagListResult {
	var result tagListResult
	result.Tags.Member, result.Page = cut(page, tags, func(t podid.Tag) string { return constraint.FoldKey(t.Key) })
	return result
}

func putBoundary(kind Kind) operation {
	return func(c *call) (any, error) {
		name, arn := c.identityName(kind), c.text("PermissionsBoundary", constraint.ARN)
		if err := c.allowOn("Put"+title(kind)+"PermissionsBoundary", kind, name, policy.Keys{"iam:PermissionsBoundary": {arn}}); err != nil {
			return nil, err
		}
		return nil, c.state.SetBoundary(kind, name, arn)
	}
}

func deleteBoundary(kind Kind) operation {
	return func(c *call) (any, error) {
		name := c.identityName(kind)
		if err := c.allowOn("Delete"+title(kind)+"PermissionsBoundary", kind, name, nil); err != nil {
			return nil, err
		}
		return nil, c.state.SetBoundary(kind, name, "")
	}
}
