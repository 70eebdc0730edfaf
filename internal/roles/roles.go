// Package roles trades an association for credentials at an STS, AWS's or the
// local one, and says which clause of a trust policy refused.
//
// It is the last step of the exchange: the token is proved, the association
// found; here the role is assumed with the session tags that say which pod it
// is, and with a target role a second time in its turn.
package roles

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
)

// Principal is who podid assumes roles as.
type Principal struct {
	// Service is set inside AWS and in the local world: the principal is
	// pods.eks.amazonaws.com, and requests carry the cluster as source ARN and account.
	Service bool
	// ARN is the broker's own ARN otherwise (user or role; for a role session
	// the role's), as trust policies name it.
	ARN string
}

// Session is the answer of the STS.
type Session struct {
	Credentials podid.Credentials
	AssumedRole podid.AssumedRole
	// PackedSize is STS's PackedPolicySize, percent of the limit: of a session
	// with a target role the larger of its two.
	PackedSize int
}

// NearLimit says whether the packed session tags and policy fill more than 80 %
// of what STS allows: a longer pod or service-account name may not fit. A hint
// for the log.
func (s Session) NearLimit() bool { return s.PackedSize > 80 }

// TrustPolicies reads a role's trust policy, to explain a refusal and to check
// associations. An error means "could not tell", except problem role-missing.
type TrustPolicies interface {
	TrustPolicy(ctx context.Context, role podid.RoleARN) (document string, err error)
}

// Assumer assumes roles. Fields are its dependencies; they are read at the first
// use and must not change after it. An Assumer must not be copied.
type Assumer struct {
	Cluster   podid.Cluster
	Principal Principal
	// AWS holds base credentials, region, endpoint, HTTP client.
	AWS aws.Config
	// Duration of sessions: 900 s to 12 h; an hour if zero. With a target role
	// it is 59 minutes at most, since STS limits chained sessions to an hour.
	Duration time.Duration
	// Timeout of an Assume with all its calls; a second if zero, so that callers
	// who wait no longer themselves still get the reason. An earlier deadline of
	// the context wins.
	Timeout time.Duration
	// Trust explains refusals; nil leaves them unexplained (trust-denied).
	Trust TrustPolicies

	once sync.Once
	base aws.CredentialsProvider
	sts  *sts.Client
}

const (
	defaultDuration = time.Hour
	// minDuration is STS's minimum, and how long the role's own session lives
	// when it is only there to assume the target role.
	minDuration = 15 * time.Minute
	// maxChained is what AWS gives sessions with a target role.
	maxChained = 59 * time.Minute
)

// Assume returns credentials for workload w under association a. Errors are
// problems; a refusal names what refused: trust-principal, trust-tag-session,
// trust-condition, trust-denied, role-missing, target-role-denied, …
//
// The session has the name podid.SessionName and, unless the association
// disables them, the tags podid.SessionTags, all transitive. With a target role
// the role's session assumes it, presenting the association's external ID; the
// tags are inherited there. The session policy narrows the target role if there
// is one, else the role.
func (s *Assumer) Assume(ctx context.Context, w podid.Workload, a podid.Association) (Session, error) {
	s.once.Do(s.open)
	timeout := s.Timeout
	if timeout == 0 {
		timeout = time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	if _, err := s.base.Retrieve(ctx); err != nil {
		return Session{}, noBaseCredentials(ctx, err)
	}
	session, err := s.assumeRole(ctx, w, a)
	if err != nil {
		return Session{}, s.refused(ctx, w, a, err)
	}
	if a.Target == "" {
		return session, nil
	}
	chained, err := s.assumeTarget(ctx, w, a, session.Credentials)
	if err != nil {
		return Session{}, s.targetRefused(ctx, w, a, session, err)
	}
	chained.PackedSize = max(chained.PackedSize, session.PackedSize)
	return chained, nil
}

func (s *Assumer) assumeRole(ctx context.Context, w podid.Workload, a podid.Association) (Session, error) {
	duration := s.Duration
	if duration == 0 {
		duration = defaultDuration
	}
	if a.Target != "" {
		duration = minDuration
	}
	input := &sts.AssumeRoleInput{
		RoleArn:         aws.String(string(a.Role)),
		RoleSessionName: aws.String(podid.SessionName(s.Cluster, w)),
		DurationSeconds: seconds(duration),
	}
	if !a.DisableSessionTags {
		for _, tag := range podid.SessionTags(s.Cluster, w) {
			input.Tags = append(input.Tags, types.Tag{Key: &tag.Key, Value: &tag.Value})
			input.TransitiveTagKeys = append(input.TransitiveTagKeys, tag.Key)
		}
	}
	if a.Policy != "" && a.Target == "" {
		input.Policy = &a.Policy
	}
	var options []func(*sts.Options)
	if s.Principal.Service {
		options = append(options, s.withSource)
	}
	return s.call(ctx, input, options...)
}

// assumeTarget passes no tags: transitive ones are inherited, and STS refuses
// to be given a key that is
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html).
func (s *Assumer) assumeTarget(ctx context.Context, w podid.Workload, a podid.Association, role podid.Credentials) (Session, error) {
	duration := maxChained
	if s.Duration != 0 {
		duration = min(s.Duration, maxChained)
	}
	input := &sts.AssumeRoleInput{
		RoleArn:         aws.String(string(a.Target)),
		RoleSessionName: aws.String(podid.SessionName(s.Cluster, w)),
		DurationSeconds: seconds(duration),
		ExternalId:      aws.String(a.ExternalID(s.Cluster)),
	}
	if a.Policy != "" {
		input.Policy = &a.Policy
	}
	return s.call(ctx, input, func(o *sts.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider(role.AccessKeyID, role.SecretAccessKey, role.SessionToken)
	})
}

func (s *Assumer) call(ctx context.Context, input *sts.AssumeRoleInput, options ...func(*sts.Options)) (Session, error) {
	output, err := s.sts.AssumeRole(ctx, input, options...)
	if err != nil {
		return Session{}, err
	}
	c, u := output.Credentials, output.AssumedRoleUser
	if c == nil || aws.ToString(c.AccessKeyId) == "" || aws.ToString(c.SecretAccessKey) == "" ||
		aws.ToString(c.SessionToken) == "" || c.Expiration == nil || u == nil {
		return Session{}, errIncomplete
	}
	arn := aws.ToString(u.Arn)
	return Session{
		Credentials: podid.Credentials{
			AccessKeyID:     *c.AccessKeyId,
			SecretAccessKey: *c.SecretAccessKey,
			SessionToken:    *c.SessionToken,
			Expires:         c.Expiration.UTC(),
			Account:         account(arn),
		},
		AssumedRole: podid.AssumedRole{ARN: arn, ID: aws.ToString(u.AssumedRoleId)},
		PackedSize:  packedSize(output),
	}, nil
}

// packedSize is how full the session token is, in percent. STS has two names for
// it, the second since 2026.
func packedSize(o *sts.AssumeRoleOutput) int {
	deprecated := o.PackedPolicySize //nolint:staticcheck // what other STS implementations still send
	return int(max(aws.ToInt32(deprecated), aws.ToInt32(o.SessionTokenUtilization)))
}

var errIncomplete = errors.New("STS answered without credentials")

// account is the fifth part of an ARN, empty if that is no account.
func account(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || len(parts[4]) != 12 {
		return ""
	}
	return parts[4]
}

func seconds(d time.Duration) *int32 { return aws.Int32(int32(d / time.Second)) }

func noBaseCredentials(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return problem.New(problem.STSUnavailable, "podid's own credentials could not be had in time").From(err)
	}
	return problem.New(problem.BaseCredentials, "podid has no credentials of its own").
		Because("podid signs AssumeRole with base credentials, and none of the places it looks in has any that work").
		Fixed("configure base credentials for podid").From(err)
}
