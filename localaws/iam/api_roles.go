package iam

import (
	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/localaws/internal/constraint"
	"github.com/openpodidentity/podid/policy"
)

// roleXML is a role in an answer.
type roleXML struct {
	Path                     string
	RoleName                 string
	RoleId                   string
	Arn                      string
	CreateDate               string
	AssumeRolePolicyDocument string
	Description              string              `xml:",omitempty"`
	MaxSessionDuration       int                 `xml:",omitempty"`
	PermissionsBoundary      *boundaryXML        `xml:",omitempty"`
	Tags                     *members[podid.Tag] `xml:",omitempty"`
	RoleLastUsed             *lastUsedXML        `xml:",omitempty"`
}

type boundaryXML struct {
	PermissionsBoundaryType string
	PermissionsBoundaryArn  string
}

type lastUsedXML struct {
	LastUsedDate string `xml:",omitempty"`
	Region       string `xml:",omitempty"`
}

// briefRole is what ListRoles gives: no boundary, tags or last use.
func briefRole(r *Identity) roleXML {
	return roleXML{
		Path: r.Path, RoleName: r.Name, RoleId: r.ID, Arn: r.ARN, CreateDate: awswire.ISO(r.Created),
		AssumeRolePolicyDocument: encoded(r.Trust.Text), Description: r.Description, MaxSessionDuration: r.MaxSession,
	}
}

func (s *State) fullRole(r *Identity) roleXML {
	x := briefRole(r)
	x.PermissionsBoundary, x.Tags = boundaryOf(r), tagsOf(r.Tags)
	x.RoleLastUsed = &lastUsedXML{}
	if u, ok := s.LastUse(r.ID); ok {
		*x.RoleLastUsed = lastUsedXML{awswire.ISO(u.At), u.Region}
	}
	return x
}

func boundaryOf(i *Identity) *boundaryXML {
	if i.Boundary == "" {
		return nil
	}
	return &boundaryXML{"PermissionsBoundaryPolicy", i.Boundary}
}

func tagsOf(tags []podid.Tag) *members[podid.Tag] {
	if len(tags) == 0 {
		return nil
	}
	return &members[podid.Tag]{tags}
}

type roleResult struct{ Role roleXML }

// https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html
var roleDescription = constraint.Text{Max: maxDescription, Pattern: descriptionPattern}

var descriptionPattern = constraint.Shown(`[\u0009\u000A\u000D\u0020-\u007E\u00A1-\u00FF]*`, `[\x09\x0A\x0D\x20-\x7E\x{A1}-\x{FF}]*`)

func createRole(c *call) (any, error) {
	r := Identity{
		Kind: Role, Name: c.named("RoleName", 64), Path: c.optional("Path", constraint.Text{Min: 1, Max: 512}),
		Trust:       Document{Text: c.document("AssumeRolePolicyDocument")},
		Description: c.optional("Description", roleDescription),
		MaxSession:  c.int("MaxSessionDuration", defaultSessionSeconds, MinSession, MaxSession),
		Boundary:    c.optional("PermissionsBoundary", constraint.ARN),
		Tags:        c.tags(),
	}
	if err := c.allowCreate("Role", r); err != nil {
		return nil, err
	}
	made, err := c.state.CreateRole(r)
	if err != nil {
		return nil, err
	}
	return roleResult{c.state.fullRole(made)}, nil
}

// allowCreate asks for iam:CreateX, and for iam:TagX if tags are set.
func (c *call) allowCreate(what string, i Identity) error {
	path := i.Path
	if path == "" {
		path = "/"
	}
	arn := c.state.arn(string(i.Kind), path, i.Name)
	keys := addRequestTags(policy.Keys{}, i.Tags)
	if i.Boundary != "" {
		keys["iam:PermissionsBoundary"] = []string{i.Boundary}
	}
	if err := c.allow("Create"+what, arn, keys); err != nil || len(i.Tags) == 0 {
		return err
	}
	return c.allow("Tag"+what, arn, keys)
}

func getRole(c *call) (any, error) {
	name := c.identityName(Role)
	if err := c.allow("GetRole", c.arn(Role, name), c.identityKeys(Role, name)); err != nil {
		return nil, err
	}
	r, err := c.state.Identity(Role, name)
	if err != nil {
		return nil, err
	}
	return roleResult{c.state.fullRole(r)}, nil
}

func listRoles(c *call) (any, error) {
	prefix, page := c.pathPrefix(), c.page()
	if err := c.allow("ListRoles", c.state.arn("role", prefix, ""), nil); err != nil {
		return nil, err
	}
	var result struct {
		Roles members[roleXML]
		Page
	}
	var roles []*Identity
	roles, result.Page = cut(page, c.state.Identities(Role, prefix), foldedName)
	for _, r := range roles {
		result.Roles.Member = append(result.Roles.Member, briefRole(r))
	}
	return result, nil
}

func foldedName(i *Identity) string { return fold(i.Name) }

func updateRole(c *call) (any, error) {
	name := c.identityName(Role)
	var description *string
	if c.Has("Description") {
		description = new(c.optional("Description", roleDescription))
	}
	var maxSession *int
	if c.Has("MaxSessionDuration") {
		maxSession = new(c.int("MaxSessionDuration", 0, MinSession, MaxSession))
	}
	if err := c.allow("UpdateRole", c.arn(Role, name), c.identityKeys(Role, name)); err != nil {
		return nil, err
	}
	_, err := c.state.UpdateRole(name, description, maxSession)
	return struct{}{}, err
}

func updateRoleDescription(c *call) (any, error) {
	name, description := c.identityName(Role), c.optional("Description", roleDescription)
	if !c.Has("Description") {
		_, err := c.Required("Description")
		c.fail(err)
	}
	if err := c.allow("UpdateRoleDescription", c.arn(Role, name), c.identityKeys(Role, name)); err != nil {
		return nil, err
	}
	r, err := c.state.UpdateRole(name, &description, nil)
	if err != nil {
		return nil, err
	}
	return roleResult{c.state.fullRole(r)}, nil
}

func updateTrust(c *call) (any, error) {
	name, document := c.identityName(Role), c.document("PolicyDocument")
	if err := c.allow("UpdateAssumeRolePolicy", c.arn(Role, name), c.identityKeys(Role, name)); err != nil {
		return nil, err
	}
	return nil, c.state.UpdateTrust(name, document)
}

// listInstanceProfiles: a role here is in no instance profile, since there are none.
func listInstanceProfiles(c *call) (any, error) {
	name := c.identityName(Role)
	c.page()
	if err := c.allow("ListInstanceProfilesForRole", c.arn(Role, name), c.identityKeys(Role, name)); err != nil {
		return nil, err
	}
	if _, err := c.state.Identity(Role, name); err != nil {
		return nil, err
	}
	return struct {
		InstanceProfiles string
		Page
	}{}, nil
}
