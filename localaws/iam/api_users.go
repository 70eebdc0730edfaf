package iam

import (
	"cmp"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/localaws/internal/constraint"
)

type userXML struct {
	Path                string
	UserName            string
	UserId              string
	Arn                 string
	CreateDate          string
	PermissionsBoundary *boundaryXML        `xml:",omitempty"`
	Tags                *members[podid.Tag] `xml:",omitempty"`
}

type userResult struct{ User userXML }

func briefUser(u *Identity) userXML {
	return userXML{Path: u.Path, UserName: u.Name, UserId: u.ID, Arn: u.ARN, CreateDate: awswire.ISO(u.Created)}
}

func fullUser(u *Identity) userResult {
	x := briefUser(u)
	x.PermissionsBoundary, x.Tags = boundaryOf(u), tagsOf(u.Tags)
	return userResult{x}
}

func createUser(c *call) (any, error) {
	u := Identity{
		Kind: User, Name: c.named("UserName", 64), Path: c.optional("Path", constraint.Text{Min: 1, Max: 512}),
		Boundary: c.optional("PermissionsBoundary", constraint.ARN), Tags: c.tags(),
	}
	if err := c.allowCreate("User", u); err != nil {
		return nil, err
	}
	made, err := c.state.CreateUser(u)
	if err != nil {
		return nil, err
	}
	return fullUser(made), nil
}

func getUser(c *call) (any, error) {
	name := c.own()
	if err := c.allow("GetUser", c.arn(User, name), c.identityKeys(User, name)); err != nil {
		return nil, err
	}
	u, err := c.state.Identity(User, name)
	if err != nil {
		return nil, err
	}
	return fullUser(u), nil
}

func listUsers(c *call) (any, error) {
	prefix, page := c.pathPrefix(), c.page()
	if err := c.allow("ListUsers", c.state.arn("user", prefix, ""), nil); err != nil {
		return nil, err
	}
	var result struct {
		Users members[userXML]
		Page
	}
	var users []*Identity
	users, result.Page = cut(page, c.state.Identities(User, prefix), foldedName)
	for _, u := range users {
		result.Users.Member = append(result.Users.Member, briefUser(u))
	}
	return result, nil
}

func updateUser(c *call) (any, error) {
	name := c.identityName(User)
	newPath := c.optional("NewPath", constraint.Text{Min: 1, Max: 512})
	var newName string
	if c.Has("NewUserName") {
		newName = c.named("NewUserName", 64)
	}
	if err := c.allow("UpdateUser", c.arn(User, name), c.identityKeys(User, name)); err != nil {
		return nil, err
	}
	// Both the source and the target
	// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateUser.html).
	if u, err := c.state.Identity(User, name); err == nil {
		target := c.state.arn(string(User), cmp.Or(newPath, u.Path), cmp.Or(newName, u.Name))
		if err := c.allow("UpdateUser", target, c.identityKeys(User, name)); err != nil {
			return nil, err
		}
	}
	return nil, c.state.RenameUser(name, newName, newPath)
}

type accessKeyXML struct {
	UserName        string
	AccessKeyId     string
	Status          string
	SecretAccessKey string `xml:",omitempty"`
	CreateDate      string
}

func accessKey(k *AccessKey) accessKeyXML {
	return accessKeyXML{UserName: k.User, AccessKeyId: k.ID, Status: k.Status(), CreateDate: awswire.ISO(k.Created)}
}

// keyID is an access key ID.
var keyID = constraint.Text{Min: 16, Max: 128, Pattern: constraint.Whole(`[\w]+`)}

func createAccessKey(c *call) (any, error) {
	user := c.own()
	if err := c.allow("CreateAccessKey", c.arn(User, user), c.identityKeys(User, user)); err != nil {
		return nil, err
	}
	k, err := c.state.CreateAccessKey(user)
	if err != nil {
		return nil, err
	}
	x := accessKey(k)
	x.SecretAccessKey = k.Secret
	return struct{ AccessKey accessKeyXML }{x}, nil
}

func listAccessKeys(c *call) (any, error) {
	user, page := c.own(), c.page()
	if err := c.allow("ListAccessKeys", c.arn(User, user), c.identityKeys(User, user)); err != nil {
		return nil, err
	}
	if _, err := c.state.Identity(User, user); err != nil {
		return nil, err
	}
	var result struct {
		UserName          string
		AccessKeyMetadata members[accessKeyXML]
		Page
	}
	result.UserName = user
	var keys []*AccessKey
	keys, result.Page = cut(page, c.state.AccessKeys(user), func(k *AccessKey) string { return awswire.ISO(k.Created) + k.ID })
	for _, k := range keys {
		result.AccessKeyMetadata.Member = append(result.AccessKeyMetadata.Member, accessKey(k))
	}
	return result, nil
}

func updateAccessKey(c *call) (any, error) {
	user, id, status := c.own(), c.text("AccessKeyId", keyID), c.text("Status", constraint.Text{})
	c.fail(constraint.OneOf("status", status, "Active", "Inactive"))
	if err := c.allow("UpdateAccessKey", c.arn(User, user), c.identityKeys(User, user)); err != nil {
		return nil, err
	}
	return nil, c.state.SetKeyActive(user, id, status == "Active")
}

func deleteAccessKey(c *call) (any, error) {
	user, id := c.own(), c.text("AccessKeyId", keyID)
	if err := c.allow("DeleteAccessKey", c.arn(User, user), c.identityKeys(User, user)); err != nil {
		return nil, err
	}
	return nil, c.state.DeleteAccessKey(user, id)
}

func getAccessKeyLastUsed(c *call) (any, error) {
	id := c.text("AccessKeyId", keyID)
	resource := "*"
	k := c.state.AccessKey(id)
	if k != nil {
		resource = c.arn(User, k.User)
	}
	if err := c.allow("GetAccessKeyLastUsed", resource, nil); err != nil {
		return nil, err
	}
	if k == nil {
		return nil, noSuchEntity("The Access Key with id %s cannot be found.", id)
	}
	type lastUsed struct {
		LastUsedDate string `xml:",omitempty"`
		ServiceName  string
		Region       string
	}
	result := struct {
		UserName          string
		AccessKeyLastUsed lastUsed
	}{k.User, lastUsed{"", "N/A", "N/A"}}
	if u, ok := c.state.LastUse(id); ok {
		result.AccessKeyLastUsed = lastUsed{awswire.ISO(u.At), u.Service, u.Region}
	}
	return result, nil
}
