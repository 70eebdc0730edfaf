package sts

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/localaws/iam"
	"github.com/openpodidentity/podid/localaws/internal/constraint"
	"github.com/openpodidentity/podid/policy"
)

// Namespace is that of STS's XML documents.
const Namespace = "https://sts.amazonaws.com/doc/2011-06-15/"

// version is the one there is of the API.
const version = "2011-06-15"

// API is STS's query protocol. It gets requests whose signature is verified and
// whose context carries an [iam.Request].
//
// Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_Operations.html
type API struct {
	State *State
	Log   *slog.Logger
}

type operation func(*State, *iam.Request, awswire.Query) (any, error)

var operations = map[string]operation{
	"AssumeRole":        assumeRole,
	"GetCallerIdentity": getCallerIdentity,
	"GetSessionToken":   getSessionToken,
	"GetAccessKeyInfo":  getAccessKeyInfo,
}

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	awswire.ServeQuery(w, r, Namespace, a.Log, func(q awswire.Query) (any, error) {
		return a.do(iam.FromContext(r.Context()), q)
	})
}

func (a *API) do(r *iam.Request, q awswire.Query) (any, error) {
	switch {
	case q.Version != "" && q.Version != version:
		return nil, awswire.Errorf(http.StatusBadRequest, "NoSuchVersion", "The requested version (%.20s) of service STS does not exist; this is %s.", q.Version, version)
	case r == nil || r.Caller == nil:
		return nil, awswire.Errorf(http.StatusForbidden, "MissingAuthenticationToken", "Missing Authentication Token")
	}
	run, ok := operations[q.Action]
	if !ok {
		return nil, awswire.NotImplemented("STS", q.Action)
	}
	if c := r.Caller; !everyones[q.Action] && (c.Kind == policy.Service || c.Kind == policy.User && c.Session != nil) {
		return nil, awswire.Errorf(http.StatusForbidden, "AccessDenied", "Cannot call %s with %s", q.Action, limited(c))
	}
	return run(a.State, r, q)
}

// everyones are the operations that the service principal and the sessions of
// GetSessionToken are limited to.
var everyones = map[string]bool{"AssumeRole": true, "GetCallerIdentity": true}

func limited(c *iam.Caller) string {
	if c.Kind == policy.Service {
		return "the credential of " + c.ARN
	}
	return "session credentials"
}

// Constraints of AssumeRole's parameters, in the words of the service's model.
var (
	sessionName   = constraint.Text{Min: 2, Max: 64, Pattern: constraint.Shown(`[\w+=,.@-]*`, `[\w+=,.@-]*`)}
	externalID    = constraint.Text{Min: 2, Max: 1224, Pattern: constraint.Shown(`[\w+=,.@:\/-]*`, `[\w+=,.@:/-]*`)}
	sessionPolicy = constraint.Text{Min: 1, Max: 2048, Pattern: constraint.Shown(`[\u0009\u000A\u000D\u0020-\u00FF]+`, `[\x09\x0A\x0D\x20-\x{FF}]+`)}
	accessKeyID   = constraint.Text{Min: 16, Max: 128, Pattern: constraint.Shown(`[\w]*`, `\w*`)}
)

const (
	maxPolicyARNs  = 10
	maxSessionText = 2048 // characters of session policy and policy ARNs together
)

type credentialsXML struct {
	AccessKeyId     string
	SecretAccessKey string
	SessionToken    string
	Expiration      string
}

func credentials(c podid.Credentials) credentialsXML {
	return credentialsXML{c.AccessKeyID, c.SecretAccessKey, c.SessionToken, awswire.ISO(c.Expires)}
}

func assumeRole(s *State, r *iam.Request, q awswire.Query) (any, error) {
	a, err := readAssumeRole(q)
	if err != nil {
		return nil, err
	}
	made, err := s.AssumeRole(r, a)
	if err != nil {
		return nil, err
	}
	type assumedRoleUser struct{ AssumedRoleId, Arn string }
	return struct {
		Credentials      credentialsXML
		AssumedRoleUser  assumedRoleUser
		PackedPolicySize int    `xml:",omitempty"`
		SourceIdentity   string `xml:",omitempty"`
		// These two are in place of PackedPolicySize for SDKs since 2026.
		SessionTokenSize        int
		SessionTokenUtilization int
	}{
		credentials(made.Credentials), assumedRoleUser{made.AssumedRole.ID, made.AssumedRole.ARN},
		made.PackedSize, made.SourceIdentity,
		len(made.Credentials.SessionToken), percent(len(made.Credentials.SessionToken), maxToken),
	}, nil
}

func readAssumeRole(q awswire.Query) (a AssumeRole, err error) {
	if a.Role, err = required(q, "RoleArn", constraint.ARN); err != nil {
		return a, err
	}
	if a.SessionName, err = required(q, "RoleSessionName", sessionName); err != nil {
		return a, err
	}
	if a.Duration, err = q.Int("DurationSeconds", 0, minDuration, maxDuration); err != nil {
		return a, err
	}
	for _, optional := range []struct {
		name  string
		value *string
		rule  constraint.Text
	}{
		{"ExternalId", &a.ExternalID, externalID},
		{"SourceIdentity", &a.SourceIdentity, sessionName},
		{"Policy", &a.Policy, sessionPolicy},
	} {
		if !q.Has(optional.name) {
			continue
		}
		if *optional.value, err = required(q, optional.name, optional.rule); err != nil {
			return a, err
		}
	}
	if a.PolicyARNs, err = readPolicyARNs(q); err != nil {
		return a, err
	}
	if n := utf8.RuneCountInString(a.Policy) + len(strings.Join(a.PolicyARNs, "")); n > maxSessionText {
		return a, awswire.Errorf(http.StatusBadRequest, "ValidationError",
			"The session policy and the ARNs of managed session policies have %d characters together, more than %d.", n, maxSessionText)
	}
	if a.Tags, err = constraint.Tags(q, "Tags", "InvalidParameterValue"); err != nil {
		return a, err
	}
	if a.Transitive, err = constraint.TagKeys(q, "TransitiveTagKeys"); err != nil {
		return a, err
	}
	if _, err := podid.ParseRoleARN(a.Role); err != nil {
		return a, awswire.Errorf(http.StatusBadRequest, "ValidationError", "%s is invalid", a.Role)
	}
	// SerialNumber, TokenCode and ProvidedContexts are refused here, by name.
	return a, q.Unimplemented("STS")
}

func readPolicyARNs(q awswire.Query) ([]string, error) {
	members, err := q.List("PolicyArns", maxPolicyARNs)
	if err != nil {
		return nil, err
	}
	var arns []string
	for i, m := range members {
		arn := m.String("arn")
		if err := constraint.ARN.Check(fmt.Sprintf("policyArns.%d.member.arn", i+1), arn); err != nil {
			return nil, err
		}
		if !slices.Contains(arns, arn) {
			arns = append(arns, arn)
		}
	}
	return arns, nil
}

func required(q awswire.Query, name string, rule constraint.Text) (string, error) {
	v, err := q.Required(name)
	if err != nil {
		return "", err
	}
	return v, rule.Check(strings.ToLower(name[:1])+name[1:], v)
}

// getCallerIdentity needs no permission, as at AWS.
func getCallerIdentity(s *State, r *iam.Request, q awswire.Query) (any, error) {
	if err := q.Unimplemented("STS"); err != nil {
		return nil, err
	}
	c := r.Caller
	return struct{ Arn, UserId, Account string }{c.ARN, cmp.Or(c.UserID, c.ARN), s.iam.Account}, nil
}

// getSessionToken gives a user temporary credentials, without any permission.
//
// Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html
func getSessionToken(s *State, r *iam.Request, q awswire.Query) (any, error) {
	duration, err := q.Int("DurationSeconds", 12*3600, minDuration, 129600)
	if err != nil {
		return nil, err
	}
	if err := q.Unimplemented("STS"); err != nil {
		return nil, err
	}
	c := r.Caller
	if c.Session != nil {
		return nil, awswire.Errorf(http.StatusForbidden, "AccessDenied", "Cannot call GetSessionToken with session credentials")
	}
	made := session{Kind: iam.User, Identity: c.Identity.ID, Name: c.Identity.Name}
	return struct{ Credentials credentialsXML }{credentials(s.issue(made, time.Duration(duration)*time.Second))}, nil
}

// getAccessKeyInfo knows the keys of this account alone.
func getAccessKeyInfo(s *State, r *iam.Request, q awswire.Query) (any, error) {
	id, err := required(q, "AccessKeyId", accessKeyID)
	if err != nil {
		return nil, err
	}
	if err := q.Unimplemented("STS"); err != nil {
		return nil, err
	}
	if err := s.iam.Authorize(r, iam.Question{Action: "sts:GetAccessKeyInfo", Resource: "*"}); err != nil {
		return nil, err
	}
	if strings.HasPrefix(id, "ASIA") {
		// Nothing is kept of sessions: whether there is one would be a guess.
		return nil, awswire.NotImplemented("STS", "GetAccessKeyInfo of a session's access key")
	}
	if s.iam.AccessKey(id) == nil {
		return nil, awswire.Errorf(http.StatusBadRequest, "ValidationError", "The access key %s is not of this account, the only one that the local AWS knows.", id)
	}
	return struct{ Account string }{s.iam.Account}, nil
}
