package iam

import (
	"slices"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/localaws/internal/constraint"
	"github.com/openpodidentity/podid/policy"
)

type policyXML struct {
	PolicyName                    string
	PolicyId                      string
	Arn                           string
	Path                          string
	DefaultVersionId              string
	AttachmentCount               int
	PermissionsBoundaryUsageCount int
	IsAttachable                  bool
	Description                   string `xml:",omitempty"`
	CreateDate                    string `xml:",omitempty"`
	UpdateDate                    string
	Tags                          *members[podid.Tag] `xml:",omitempty"`
}

type policyResult struct{ Policy policyXML }

// briefPolicy is what ListPolicies gives: no description, no tags.
func (s *State) briefPolicy(p *ManagedPolicy) policyXML {
	x := policyXML{
		PolicyName: p.Name, PolicyId: p.ID, Arn: p.ARN, Path: p.Path, DefaultVersionId: p.Version,
		IsAttachable: true, UpdateDate: awswire.ISO(p.Updated),
	}
	if !p.Created.IsZero() {
		x.CreateDate = awswire.ISO(p.Created)
	}
	x.AttachmentCount, x.PermissionsBoundaryUsageCount = s.Usage(p.ARN)
	return x
}

func (s *State) fullPolicy(p *ManagedPolicy) policyResult {
	x := s.briefPolicy(p)
	x.Description, x.Tags = p.Description, tagsOf(p.Tags)
	return policyResult{x}
}

func createPolicy(c *call) (any, error) {
	p := ManagedPolicy{
		Name: c.named("PolicyName", 128), Path: c.optional("Path", constraint.Text{Min: 1, Max: 512}),
		Document:    Document{Text: c.document("PolicyDocument")},
		Description: c.optional("Description", constraint.Text{Max: maxDescription}),
		Tags:        c.tags(),
	}
	path := p.Path
	if path == "" {
		path = "/"
	}
	arn, keys := c.state.arn("policy", path, p.Name), addRequestTags(policy.Keys{}, p.Tags)
	err := c.allow("CreatePolicy", arn, keys)
	if err == nil && len(p.Tags) > 0 {
		err = c.allow("TagPolicy", arn, keys)
	}
	if err != nil {
		return nil, err
	}
	made, err := c.state.CreatePolicy(p)
	if err != nil {
		return nil, err
	}
	return c.state.fullPolicy(made), nil
}

// allowPolicy asks for an operation on a managed policy.
func (c *call) allowPolicy(action, arn string, further policy.Keys) error {
	keys := policy.Keys{}
	if p, err := c.state.ManagedPolicy(arn); err == nil {
		addResourceTags(keys, p.Tags)
	}
	for k, v := range further {
		keys[k] = v
	}
	return c.allow(action, arn, keys)
}

func getPolicy(c *call) (any, error) {
	arn := c.policyARN()
	if err := c.allowPolicy("GetPolicy", arn, nil); err != nil {
		return nil, err
	}
	p, err := c.state.ManagedPolicy(arn)
	if err != nil {
		return nil, err
	}
	return c.state.fullPolicy(p), nil
}

type versionXML struct {
	Document         string `xml:",omitempty"`
	VersionId        string
	IsDefaultVersion bool
	CreateDate       string
}

func getPolicyVersion(c *call) (any, error) {
	arn, version := c.policyARN(), c.text("VersionId", versionID)
	if err := c.allowPolicy("GetPolicyVersion", arn, nil); err != nil {
		return nil, err
	}
	p, err := c.state.ManagedPolicy(arn)
	if err != nil {
		return nil, err
	}
	if version != p.Version {
		return nil, noSuchEntity("Policy %s version %s does not exist or is not attachable.", arn, version)
	}
	return struct{ PolicyVersion versionXML }{
		versionXML{encoded(p.Document.Text), p.Version, true, awswire.ISO(p.Updated)},
	}, nil
}

var versionID = constraint.Text{Pattern: constraint.Whole(`v[1-9][0-9]*(\.[A-Za-z0-9-]*)?`)}

func listPolicyVersions(c *call) (any, error) {
	arn := c.policyARN()
	c.page()
	if err := c.allowPolicy("ListPolicyVersions", arn, nil); err != nil {
		return nil, err
	}
	p, err := c.state.ManagedPolicy(arn)
	if err != nil {
		return nil, err
	}
	return struct {
		Versions members[versionXML]
		Page
	}{Versions: members[versionXML]{[]versionXML{{"", p.Version, true, awswire.ISO(p.Updated)}}}}, nil
}

func listPolicies(c *call) (any, error) {
	scope := c.enum("Scope", "All", "All", "AWS", "Local")
	usage := c.enum("PolicyUsageFilter", "", "PermissionsPolicy", "PermissionsBoundary")
	onlyAttached, err := c.Bool("OnlyAttached", false)
	c.fail(err)
	prefix, page := c.pathPrefix(), c.page()
	if err := c.allow("ListPolicies", c.state.arn("policy", prefix, ""), nil); err != nil {
		return nil, err
	}
	var result struct {
		Policies members[policyXML]
		Page
	}
	list := slices.DeleteFunc(c.state.ManagedPolicies(), func(p *ManagedPolicy) bool {
		attached, boundaries := c.state.Usage(p.ARN)
		switch {
		case !strings.HasPrefix(p.Path, prefix), scope == "AWS" && !p.AWS(), scope == "Local" && p.AWS():
			return true
		case usage == "PermissionsBoundary":
			return boundaries == 0
		case usage == "PermissionsPolicy", onlyAttached:
			return attached == 0
		}
		return false
	})
	list, result.Page = cut(page, list, func(p *ManagedPolicy) string { return p.ARN })
	for _, p := range list {
		result.Policies.Member = append(result.Policies.Member, c.state.briefPolicy(p))
	}
	return result, nil
}

// enum is one of values; missing if the parameter is absent.
func (c *call) enum(name, missing string, values ...string) string {
	if !c.Has(name) {
		return missing
	}
	v := c.String(name)
	c.fail(constraint.OneOf(lowerFirst(name), v, values...))
	return v
}

func deletePolicy(c *call) (any, error) {
	arn := c.policyARN()
	if err := c.allowPolicy("DeletePolicy", arn, nil); err != nil {
		return nil, err
	}
	return nil, c.state.DeletePolicy(arn)
}

func tagPolicy(c *call) (any, error) {
	arn, tags := c.policyARN(), c.tags()
	c.needList("Tags", tags == nil)
	if err := c.allowPolicy("TagPolicy", arn, addRequestTags(policy.Keys{}, tags)); err != nil {
		return nil, err
	}
	return nil, c.state.TagPolicy(arn, tags)
}

func untagPolicy(c *call) (any, error) {
	arn, keys := c.policyARN(), c.tagKeys()
	c.needList("TagKeys", keys == nil)
	if err := c.allowPolicy("UntagPolicy", arn, policy.Keys{"aws:TagKeys": keys}); err != nil {
		return nil, err
	}
	return nil, c.state.UntagPolicy(arn, keys)
}

func listPolicyTags(c *call) (any, error) {
	arn, page := c.policyARN(), c.page()
	if err := c.allowPolicy("ListPolicyTags", arn, nil); err != nil {
		return nil, err
	}
	p, err := c.state.ManagedPolicy(arn)
	if err != nil {
		return nil, err
	}
	return tagList(page, p.Tags), nil
}

func listEntitiesForPolicy(c *call) (any, error) {
	arn, prefix, page := c.policyARN(), c.pathPrefix(), c.page()
	filter := c.enum("EntityFilter", "", "User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy")
	usage := c.enum("PolicyUsageFilter", "", "PermissionsPolicy", "PermissionsBoundary")
	if err := c.allowPolicy("ListEntitiesForPolicy", arn, nil); err != nil {
		return nil, err
	}
	if _, err := c.state.ManagedPolicy(arn); err != nil {
		return nil, err
	}
	var entities []*Identity
	for _, kind := range []Kind{Role, User} {
		if filter != "" && filter != title(kind) {
			continue
		}
		for _, i := range c.state.Identities(kind, prefix) {
			attached := usage != "PermissionsBoundary" && slices.Contains(i.Attached, arn)
			boundary := usage != "PermissionsPolicy" && i.Boundary == arn
			if attached || boundary {
				entities = append(entities, i)
			}
		}
	}
	type roleOf struct{ RoleName, RoleId string }
	type userOf struct{ UserName, UserId string }
	var result struct {
		PolicyGroups string
		PolicyRoles  members[roleOf]
		PolicyUsers  members[userOf]
		Page
	}
	// By kind and name, as they were gathered.
	entities, result.Page = cut(page, entities, func(i *Identity) string { return string(i.Kind) + "/" + fold(i.Name) })
	for _, i := range entities {
		if i.Kind == Role {
			result.PolicyRoles.Member = append(result.PolicyRoles.Member, roleOf{i.Name, i.ID})
		} else {
			result.PolicyUsers.Member = append(result.PolicyUsers.Member, userOf{i.Name, i.ID})
		}
	}
	return result, nil
}
