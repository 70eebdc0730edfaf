package sts

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/localaws/iam"
	"github.com/openpodidentity/podid/localaws/internal/constraint"
	"github.com/openpodidentity/podid/policy"
)

// Session durations in seconds.
//
// Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
const (
	minDuration     = 900
	maxDuration     = 43200
	defaultDuration = 3600
	maxChained      = 3600
	// maxService is how long the service principal's sessions may last, whatever
	// the role's MaxSessionDuration: EKS Pod Identity hands out six hours.
	maxService = 6 * 3600
)

// AssumeRole is what a caller asks for; its fields are within the API's limits.
type AssumeRole struct {
	Role           string // ARN
	SessionName    string
	Duration       int // seconds; 0 if not given
	Policy         string
	PolicyARNs     []string
	Tags           []podid.Tag
	Transitive     []string // keys
	ExternalID     string
	SourceIdentity string
}

// RoleSession is the answer to it.
type RoleSession struct {
	Credentials    podid.Credentials
	AssumedRole    podid.AssumedRole
	PackedSize     int // percent
	SourceIdentity string
}

// AssumeRole decides and makes the session. Errors are *awswire.Error.
func (s *State) AssumeRole(r *iam.Request, a AssumeRole) (RoleSession, error) {
	caller := r.Caller
	role := s.role(a.Role)
	tags, err := sessionTags(caller.Session, a.Tags, a.Transitive)
	if err != nil {
		return RoleSession{}, err
	}
	if err := s.checkPolicies(a); err != nil {
		return RoleSession{}, err
	}
	if err := checkChain(caller, a.Duration); err != nil {
		return RoleSession{}, err
	}
	if err := checkSourceIdentity(caller, &a); err != nil {
		return RoleSession{}, err
	}
	if role == nil {
		return RoleSession{}, noSuchRole(caller, a.Role)
	}
	if err := s.authorize(r, role, a, tags); err != nil {
		return RoleSession{}, err
	}
	if longest := s.longest(caller, role); a.Duration > longest {
		return RoleSession{}, awswire.Errorf(http.StatusBadRequest, "ValidationError",
			"The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	packed, err := packedSize(tags.all, a.Policy, a.PolicyARNs)
	if err != nil {
		return RoleSession{}, err
	}
	made := session{
		Kind: iam.Role, Identity: role.ID, Name: role.Name, SessionName: a.SessionName,
		Tags: tags.all, Transitive: tags.transitive, SourceIdentity: a.SourceIdentity,
		Policy: a.Policy, PolicyARNs: a.PolicyARNs,
	}
	lasts := time.Duration(cmp.Or(a.Duration, defaultDuration)) * time.Second
	return RoleSession{
		Credentials:    s.issue(made, lasts),
		AssumedRole:    podid.AssumedRole{ARN: s.sessionARN(role.Name, a.SessionName), ID: role.ID + ":" + a.SessionName},
		PackedSize:     packed,
		SourceIdentity: a.SourceIdentity,
	}, nil
}

// role finds a role of this account by its ARN; nil if there is none.
func (s *State) role(arn string) *iam.Identity {
	role, err := s.iam.Identity(iam.Role, podid.RoleARN(arn).Name())
	if err != nil || role.ARN != arn {
		return nil
	}
	return role
}

// noSuchRole is the same sentence as a refusal, as at AWS; the one after it is
// ours (see iam.State.Authorize).
func noSuchRole(c *iam.Caller, arn string) error {
	return awswire.Errorf(http.StatusForbidden, "AccessDenied",
		"User: %s is not authorized to perform: sts:AssumeRole on resource: %s. Fix: create the role; the local AWS has none of this ARN.", c.ARN, arn)
}

// tagSet is what the new session carries.
type tagSet struct {
	all        []podid.Tag
	transitive []string
}

// sessionTags adds to the tags passed those that the caller's session hands down.
//
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_role-chaining
func sessionTags(from *iam.Session, passed []podid.Tag, transitive []string) (tagSet, error) {
	set := tagSet{all: slices.Clone(passed)}
	for _, key := range transitive {
		if !hasKey(passed, key) {
			return tagSet{}, invalid("The specified transitive tag key must be included in the requested tags.")
		}
		if !hasTagKey(set.transitive, key) {
			set.transitive = append(set.transitive, key)
		}
	}
	if from == nil {
		return set, nil
	}
	for _, tag := range from.Tags {
		if !hasTagKey(from.Transitive, tag.Key) {
			continue
		}
		if hasKey(passed, tag.Key) {
			return tagSet{}, invalid("One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
		}
		set.all = append(set.all, tag)
		set.transitive = append(set.transitive, tag.Key)
	}
	if len(set.all) > constraint.MaxTags {
		return tagSet{}, invalid("The session has more than 50 tags, those inherited from the calling session included.")
	}
	return set, nil
}

func hasKey(tags []podid.Tag, key string) bool {
	return slices.ContainsFunc(tags, func(t podid.Tag) bool { return constraint.SameKey(t.Key, key) })
}

func hasTagKey(keys []string, key string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { return constraint.SameKey(k, key) })
}

func invalid(message string) error {
	return awswire.Errorf(http.StatusBadRequest, "InvalidParameterValue", "%s", message)
}

// checkPolicies parses the session policy and finds the managed ones.
func (s *State) checkPolicies(a AssumeRole) error {
	if a.Policy != "" {
		if _, err := iam.Parse(policy.Session, sessionPolicyName(a.SessionName), a.Policy); err != nil {
			return err
		}
	}
	for _, arn := range a.PolicyARNs {
		if _, err := s.iam.ManagedPolicy(arn); err != nil {
			return awswire.Errorf(http.StatusBadRequest, "ValidationError", "The policy %s of policyArns does not exist in this account.%s", arn, s.iam.NotCarried(arn))
		}
	}
	return nil
}

// chained says that the caller is itself a role session.
func chained(c *iam.Caller) bool { return c.Kind == policy.AssumedRole }

func checkChain(c *iam.Caller, duration int) error {
	if chained(c) && duration > maxChained {
		return awswire.Errorf(http.StatusBadRequest, "ValidationError",
			"The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	return nil
}

func (s *State) longest(c *iam.Caller, role *iam.Identity) int {
	if c.Kind == policy.Service {
		return max(maxService, role.MaxSession)
	}
	return role.MaxSession
}

// checkSourceIdentity hands a source identity down a chain, in which it cannot
// be changed.
//
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html
func checkSourceIdentity(c *iam.Caller, a *AssumeRole) error {
	if c.Session == nil || c.Session.SourceIdentity == "" {
		return nil
	}
	inherited := c.Session.SourceIdentity
	if a.SourceIdentity != "" && a.SourceIdentity != inherited {
		return awswire.Errorf(http.StatusForbidden, "AccessDenied",
			"The source identity %s of the calling session cannot be changed to %s.", inherited, a.SourceIdentity)
	}
	a.SourceIdentity = inherited
	return nil
}

// authorize asks for every action that the call needs.
func (s *State) authorize(r *iam.Request, role *iam.Identity, a AssumeRole, tags tagSet) error {
	keys := policy.Keys{"sts:RoleSessionName": {a.SessionName}}
	if a.ExternalID != "" {
		keys["sts:ExternalId"] = []string{a.ExternalID}
	}
	if a.SourceIdentity != "" {
		keys["sts:SourceIdentity"] = []string{a.SourceIdentity}
	}
	role.AddTagKeys(keys)
	// Tags handed down are request tags too, and need sts:TagSession: AWS's trust
	// policy of a chained role conditions both on aws:RequestTag/kubernetes-…
	// (https://docs.aws.amazon.com/eks/latest/userguide/pod-id-assign-target-role.html).
	for _, t := range tags.all {
		keys["aws:RequestTag/"+t.Key] = []string{t.Value}
		keys["aws:TagKeys"] = append(keys["aws:TagKeys"], t.Key)
	}
	if len(tags.transitive) > 0 {
		keys["sts:TransitiveTagKeys"] = tags.transitive
	}
	var also []string
	if len(tags.all) > 0 {
		also = append(also, "sts:TagSession")
	}
	if a.SourceIdentity != "" {
		also = append(also, "sts:SetSourceIdentity")
	}
	return s.iam.Authorize(r, iam.Question{Action: "sts:AssumeRole", Resource: role.ARN, Keys: keys, Trust: role}, also...)
}
