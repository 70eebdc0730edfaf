package roles

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// IAM reads trust policies with iam:GetRole.
type IAM struct{ AWS aws.Config }

// TrustPolicy implements TrustPolicies: role-missing when IAM has no such role;
// any other error (permission, network, a role of another account) means that
// it could not tell.
func (i IAM) TrustPolicy(ctx context.Context, role podid.RoleARN) (string, error) {
	name := role.Name()
	if name == "" {
		return "", fmt.Errorf("read trust policy: %q is not the ARN of a role", role)
	}
	client := iam.NewFromConfig(i.AWS, func(o *iam.Options) {
		o.RetryMaxAttempts = 2
		o.Retryer = newRetryer()
	})
	output, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	if err != nil {
		if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "NoSuchEntity" {
			return "", i.missing(ctx, role, err)
		}
		return "", fmt.Errorf("read trust policy of %s: %w", role, err)
	}
	if output.Role == nil {
		return "", fmt.Errorf("read trust policy of %s: IAM answered without a role", role)
	}
	// GetRole asks by name: what it found may have another path or account.
	if found := podid.RoleARN(aws.ToString(output.Role.Arn)); found != role {
		if found.Account() == role.Account() {
			return "", roleMissing(role).From(fmt.Errorf("IAM has %s", found))
		}
		return "", fmt.Errorf("read trust policy of %s: IAM answered with %s", role, found)
	}
	document, err := url.QueryUnescape(aws.ToString(output.Role.AssumeRolePolicyDocument))
	if err != nil {
		return "", fmt.Errorf("read trust policy of %s: %w", role, err)
	}
	return document, nil
}

// missing is role-missing if the account that has no such role is the role's.
func (i IAM) missing(ctx context.Context, role podid.RoleARN, cause error) error {
	identity, err := sts.NewFromConfig(i.AWS, func(o *sts.Options) {
		o.RetryMaxAttempts = 2
		o.Retryer = newRetryer()
	}).GetCallerIdentity(ctx, nil)
	if err == nil && aws.ToString(identity.Account) == role.Account() {
		return roleMissing(role).From(cause)
	}
	return fmt.Errorf("read trust policy of %s: %w", role, cause)
}

func roleMissing(role podid.RoleARN) *problem.Problem {
	return problem.New(problem.RoleMissing, "role %s does not exist", role)
}
