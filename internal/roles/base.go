package roles

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// Base says where podid's own credentials come from, and which STS and IAM it asks.
type Base struct {
	Cluster podid.Cluster
	// STSEndpoint and IAMEndpoint are base URLs of another STS and IAM than AWS's; IAM
	// is where STS is unless it is set.
	STSEndpoint, IAMEndpoint string
	// Service says that the credentials are those of pods.eks.amazonaws.com, as a local
	// AWS mints them; otherwise they are a broker's.
	Service bool
	// IMDSBlocked admits the node's instance role. It is refused otherwise: every pod
	// that reaches the instance metadata service would be the broker.
	IMDSBlocked bool
	// Duration of sessions. The credentials of a role session give an hour at most.
	Duration time.Duration
}

// maxOfSession is what STS gives whoever asks as a role session
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
const maxOfSession = time.Hour

// Open finds base credentials in the places where AWS's SDK looks for them, asks STS whose
// they are, and returns what assumes roles with them. Errors are base-credentials, and
// sts-unavailable.
func (b Base) Open(ctx context.Context) (*Assumer, error) {
	found, err := b.load(ctx)
	if err != nil {
		return nil, b.none(err)
	}
	if _, err := found.Credentials.Retrieve(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, noBaseCredentials(ctx, err)
		}
		return nil, b.none(err)
	}
	a := &Assumer{Cluster: b.Cluster, AWS: found, Duration: b.Duration}
	toIAM := found
	if endpoint := cmp.Or(b.IAMEndpoint, b.STSEndpoint); endpoint != "" {
		toIAM.BaseEndpoint = &endpoint
	}
	a.Trust = IAM{AWS: toIAM}
	if b.Service {
		a.Principal.Service = true
		return a, nil
	}
	arn, err := whose(ctx, found)
	if err != nil {
		return nil, err
	}
	if arn == "" {
		a.Trust = nil // whom a trust policy would have to name is not known
		return a, nil
	}
	var session bool
	if a.Principal.ARN, session = principal(ctx, toIAM, arn); session {
		a.Duration = min(cmp.Or(b.Duration, maxOfSession), maxOfSession)
	}
	return a, nil
}

func (b Base) load(ctx context.Context) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{config.WithRegion(b.Cluster.Region)}
	if b.STSEndpoint != "" {
		// For the chain too: it may assume a role of its own there.
		options = append(options, config.WithBaseEndpoint(b.STSEndpoint))
	}
	if !b.IMDSBlocked {
		options = append(options, config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	}
	return config.LoadDefaultConfig(ctx, options...)
}

func (b Base) none(err error) error {
	p := problem.New(problem.BaseCredentials, "podid has no credentials of its own").From(err)
	if !b.IMDSBlocked {
		p.Because("podid signs AssumeRole with base credentials, and none of the places it looks in has any that work; the node's instance role does not count unless iHaveBlockedIMDS is set")
	}
	return p.Fixed("put them into the Secret podid-base-credentials of podid's namespace, as docs/install.md shows")
}

// whose is the ARN of who has the credentials; empty if that STS does not say, as those of
// S3-compatible storage do not.
func whose(ctx context.Context, found aws.Config) (string, error) {
	identity, err := sts.NewFromConfig(found, func(o *sts.Options) {
		o.RetryMaxAttempts = 2
		o.Retryer = newRetryer()
	}).GetCallerIdentity(ctx, nil)
	if err == nil {
		return aws.ToString(identity.Arn), nil
	}
	api, ok := errors.AsType[smithy.APIError](err)
	switch {
	case !ok, throttled(err), serverError(err):
		return "", unavailable(err)
	case badCredentials[api.ErrorCode()]:
		return "", badBase(api).From(err)
	}
	return "", nil
}

// principal is how trust policies name the caller of this ARN, and whether it is a role
// session. The session's ARN leaves out the role's path, which IAM knows.
func principal(ctx context.Context, toIAM aws.Config, arn string) (name string, session bool) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[2] != "sts" || !strings.HasPrefix(parts[5], "assumed-role/") {
		return arn, false
	}
	role := strings.Split(parts[5], "/")[1]
	found, err := iam.NewFromConfig(toIAM, func(o *iam.Options) {
		o.RetryMaxAttempts = 1
	}).GetRole(ctx, &iam.GetRoleInput{RoleName: &role})
	if err == nil && found.Role != nil && aws.ToString(found.Role.Arn) != "" {
		return *found.Role.Arn, true
	}
	return fmt.Sprintf("arn:%s:iam::%s:role/%s", parts[1], parts[4], role), true
}
