package iam

import (
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/localaws/internal/constraint"
	"github.com/openpodidentity/podid/policy"
)

// Namespace is that of IAM's XML documents.
const Namespace = "https://iam.amazonaws.com/doc/2010-05-08/"

// version is the one there is of the API.
const version = "2010-05-08"

// API is IAM's query protocol. It gets requests whose signature is verified and
// whose context carries a [Request].
//
// Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_Operations.html
type API struct {
	State *State
	Log   *slog.Logger
}

// operation reads its parameters, asks whether the caller may, and answers. A
// nil answer has no result element.
type operation func(*call) (any, error)

var operations = map[string]operation{
	"CreateRole":                    createRole,
	"GetRole":                       getRole,
	"ListRoles":                     listRoles,
	"UpdateRole":                    updateRole,
	"UpdateRoleDescription":         updateRoleDescription,
	"UpdateAssumeRolePolicy":        updateTrust,
	"DeleteRole":                    deleteIdentity(Role),
	"PutRolePolicy":                 putInline(Role),
	"GetRolePolicy":                 getInline(Role),
	"DeleteRolePolicy":              deleteInline(Role),
	"ListRolePolicies":              listInline(Role),
	"AttachRolePolicy":              attach(Role),
	"DetachRolePolicy":              detach(Role),
	"ListAttachedRolePolicies":      listAttached(Role),
	"TagRole":                       tagIdentity(Role),
	"UntagRole":                     untagIdentity(Role),
	"ListRoleTags":                  listTags(Role),
	"PutRolePermissionsBoundary":    putBoundary(Role),
	"DeleteRolePermissionsBoundary": deleteBoundary(Role),
	"ListInstanceProfilesForRole":   listInstanceProfiles,

	"CreateUser":                    createUser,
	"GetUser":                       getUser,
	"ListUsers":                     listUsers,
	"UpdateUser":                    updateUser,
	"DeleteUser":                    deleteIdentity(User),
	"PutUserPolicy":                 putInline(User),
	"GetUserPolicy":                 getInline(User),
	"DeleteUserPolicy":              deleteInline(User),
	"ListUserPolicies":              listInline(User),
	"AttachUserPolicy":              attach(User),
	"DetachUserPolicy":              detach(User),
	"ListAttachedUserPolicies":      listAttached(User),
	"TagUser":                       tagIdentity(User),
	"UntagUser":                     untagIdentity(User),
	"ListUserTags":                  listTags(User),
	"PutUserPermissionsBoundary":    putBoundary(User),
	"DeleteUserPermissionsBoundary": deleteBoundary(User),

	"CreateAccessKey":      createAccessKey,
	"ListAccessKeys":       listAccessKeys,
	"UpdateAccessKey":      updateAccessKey,
	"DeleteAccessKey":      deleteAccessKey,
	"GetAccessKeyLastUsed": getAccessKeyLastUsed,

	"CreatePolicy":          createPolicy,
	"GetPolicy":             getPolicy,
	"GetPolicyVersion":      getPolicyVersion,
	"ListPolicies":          listPolicies,
	"ListPolicyVersions":    listPolicyVersions,
	"DeletePolicy":          deletePolicy,
	"TagPolicy":             tagPolicy,
	"UntagPolicy":           untagPolicy,
	"ListPolicyTags":        listPolicyTags,
	"ListEntitiesForPolicy": listEntitiesForPolicy,
}

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	awswire.ServeQuery(w, r, Namespace, a.Log, func(q awswire.Query) (any, error) {
		return a.do(FromContext(r.Context()), q)
	})
}

func (a *API) do(r *Request, q awswire.Query) (any, error) {
	switch {
	case q.Version != "" && q.Version != version:
		return nil, awswire.Errorf(http.StatusBadRequest, "NoSuchVersion", "The requested version (%.20s) of service IAM does not exist; this is %s.", q.Version, version)
	case r == nil || r.Caller == nil:
		return nil, awswire.Errorf(http.StatusForbidden, "MissingAuthenticationToken", "Missing Authentication Token")
	case r.Caller.Kind == policy.User && r.Caller.Session != nil:
		// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html:
		// no IAM operation without MFA, which does not exist here.
		return nil, awswire.Errorf(http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid")
	}
	run, ok := operations[q.Action]
	if !ok {
		return nil, awswire.NotImplemented("IAM", q.Action)
	}
	return run(&call{Query: q, state: a.State, request: r})
}

// call is one call being answered. The readers of parameters remember the first
// mistake, which allow returns: an operation reads everything, then asks allow,
// then acts.
type call struct {
	awswire.Query
	state   *State
	request *Request
	err     error
}

// allow must be asked before anything is looked up or changed: it refuses bad
// and unknown parameters, and callers without the permission.
func (c *call) allow(action, resource string, keys policy.Keys) error {
	if c.err != nil {
		return c.err
	}
	if err := c.Unimplemented("IAM"); err != nil {
		return err
	}
	return c.state.Authorize(c.request, Question{Action: "iam:" + action, Resource: resource, Keys: keys})
}

func (c *call) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// text is a required parameter.
func (c *call) text(name string, rule constraint.Text) string {
	v, err := c.Required(name)
	if err == nil {
		err = rule.Check(lowerFirst(name), v)
	}
	c.fail(err)
	return v
}

// optional is "" if the parameter is absent.
func (c *call) optional(name string, rule constraint.Text) string {
	if !c.Has(name) {
		return ""
	}
	v := c.String(name)
	c.fail(rule.Check(lowerFirst(name), v))
	return v
}

// named is a required name: of a role, user or policy.
func (c *call) named(param string, most int) string {
	v := c.text(param, constraint.Text{Min: 1, Max: most})
	c.checkName(param, v)
	return v
}

func (c *call) checkName(param, v string) {
	if c.err == nil && (constraint.Text{Pattern: constraint.NamePattern}).Check(param, v) != nil {
		c.fail(awswire.Errorf(http.StatusBadRequest, "ValidationError",
			"The specified value for %s is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-", lowerFirst(param)))
	}
}

func (c *call) identityName(kind Kind) string {
	if kind == Role {
		return c.named("RoleName", 64)
	}
	return c.named("UserName", 128)
}

func (c *call) policyARN() string { return c.text("PolicyArn", constraint.ARN) }

func (c *call) document(name string) string {
	return c.text(name, constraint.Text{Min: 1, Max: maxPolicyDocument})
}

func (c *call) int(name string, missing, min, max int) int {
	n, err := c.Int(name, missing, min, max)
	c.fail(err)
	return n
}

func (c *call) tags() []podid.Tag {
	tags, err := constraint.Tags(c.Query, "Tags", "InvalidInput")
	c.fail(err)
	return tags
}

func (c *call) tagKeys() []string {
	keys, err := constraint.TagKeys(c.Query, "TagKeys")
	c.fail(err)
	return keys
}

// arn is the identity's ARN; that of one which does not exist has no path.
func (c *call) arn(kind Kind, name string) string {
	if i, err := c.state.Identity(kind, name); err == nil {
		return i.ARN
	}
	return c.state.arn(string(kind), "/", name)
}

// identityKeys are the keys of an operation on a role or user.
func (c *call) identityKeys(kind Kind, name string) policy.Keys {
	i, err := c.state.Identity(kind, name)
	if err != nil {
		return policy.Keys{}
	}
	keys := policy.Keys{}
	i.AddTagKeys(keys)
	if i.Boundary != "" {
		keys["iam:PermissionsBoundary"] = []string{i.Boundary}
	}
	return keys
}

// addRequestTags adds the keys that tell what tags the request sets.
func addRequestTags(keys policy.Keys, tags []podid.Tag) policy.Keys {
	for _, t := range tags {
		keys["aws:RequestTag/"+t.Key] = []string{t.Value}
		keys["aws:TagKeys"] = append(keys["aws:TagKeys"], t.Key)
	}
	return keys
}

// paging is a list call's position and size.
type paging struct {
	after string
	most  int
}

// page reads Marker and MaxItems (1 to 1,000; 100 if absent).
func (c *call) page() paging {
	p := paging{most: c.int("MaxItems", 100, 1, 1000)}
	if marker := c.optional("Marker", constraint.Text{Min: 1, Max: 1600}); marker != "" {
		after, err := base64.RawURLEncoding.DecodeString(marker)
		if err != nil {
			c.fail(awswire.Errorf(http.StatusBadRequest, "ValidationError", "The specified value for marker is invalid."))
		}
		p.after = string(after)
	}
	return p
}

// members is a list, which is there even when it is empty.
type members[T any] struct {
	Member []T `xml:"member"`
}

// Page is the part of a list answer that says whether there is more.
type Page struct {
	IsTruncated bool
	Marker      string `xml:",omitempty"`
}

// cut takes one page of items, which are sorted by key. The marker is the last
// key given, so that what is made or deleted in between loses nothing else.
func cut[T any](p paging, items []T, key func(T) string) ([]T, Page) {
	start := slices.IndexFunc(items, func(i T) bool { return key(i) > p.after })
	if start < 0 {
		return nil, Page{}
	}
	items = items[start:]
	if len(items) <= p.most {
		return items, Page{}
	}
	items = items[:p.most]
	return items, Page{true, base64.RawURLEncoding.EncodeToString([]byte(key(items[len(items)-1])))}
}

// encoded is a document as IAM returns it: percent-encoded as RFC 3986 has it.
func encoded(document string) string {
	return strings.ReplaceAll(url.QueryEscape(document), "+", "%20")
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// own is the user that a call without UserName means: the caller.
func (c *call) own() string {
	if c.Has("UserName") {
		return c.identityName(User)
	}
	if caller := c.request.Caller; caller.Kind == policy.User && caller.Identity != nil {
		return caller.Identity.Name
	}
	c.fail(awswire.Errorf(http.StatusBadRequest, "ValidationError", "Must specify userName when calling with non-User credentials"))
	return ""
}

// pathPrefix is a filter of list calls; "/" if absent.
func (c *call) pathPrefix() string {
	p := c.optional("PathPrefix", constraint.Text{Min: 1, Max: 512})
	switch {
	case p == "":
		return "/"
	case p[0] != '/':
		c.fail(awswire.Errorf(http.StatusBadRequest, "ValidationError",
			"The specified value for pathPrefix is invalid. It must begin with / and contain only alphanumeric characters and/or / characters."))
	}
	return p
}
