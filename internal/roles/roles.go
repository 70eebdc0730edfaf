// Package roles trades an association for credentials at an STS, AWS's or the
// local one, and says which clause of a trust policy refused.
package roles

import (
	"context"
	"time"

	"github.com/openpodidentity/podid"

	"github.com/aws/aws-sdk-go-v2/aws"
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
	// PackedSize is STS's PackedPolicySize of the last call, percent of the limit.
	PackedSize int
}

// TrustPolicies reads a role's trust policy, to explain a refusal and to check
// associations. An error means "could not tell", except problem role-missing.
type TrustPolicies interface {
	TrustPolicy(ctx context.Context, role podid.RoleARN) (document string, err error)
}

// Assumer assumes roles. Fields are its dependencies.
type Assumer struct {
	Cluster   podid.Cluster
	Principal Principal
	// AWS holds base credentials, region, endpoint, HTTP client.
	AWS aws.Config
	// Duration of sessions: 900 s to 12 h; an hour if zero.
	Duration time.Duration
	// Trust explains refusals; nil leaves them unexplained (trust-denied).
	Trust TrustPolicies
}

// Assume returns credentials for workload w under association a. Errors are
// problems; a refusal names what refused: trust-principal, trust-tag-session,
// trust-condition, trust-denied, role-missing, target-role-denied, …
func (s *Assumer) Assume(ctx context.Context, w podid.Workload, a podid.Association) (Session, error) {
	panic("skeleton")
}

// Check says whether role's trust policy admits the principal at all (conditions
// on the workload's tags aside): nil, role-missing, trust-invalid, or nil when
// it could not tell. It guards CreatePodIdentityAssociation.
func (s *Assumer) Check(ctx context.Context, role podid.RoleARN) error { panic("skeleton") }

// IAM reads trust policies with iam:GetRole.
type IAM struct{ AWS aws.Config }

// TrustPolicy implements TrustPolicies.
func (i IAM) TrustPolicy(ctx context.Context, role podid.RoleARN) (string, error) {
	panic("skeleton")
}
