package podid

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// RoleARN is the ARN of an IAM role: arn:PARTITION:iam::ACCOUNT:role/PATH/NAME.
type RoleARN string

// https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html: the path is
// up to 512 of U+0021–U+007F, the name up to 64 of [\w+=,.@-].
var roleARN = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^arn:(aws[a-z-]*):iam::([0-9]{12}):role/((?:[!-.0-~]+/)*)([\w+=,.@-]{1,64})$`)
})

// ParseRoleARN checks s and returns it as a RoleARN. The error says what is
// wrong in one sentence.
func ParseRoleARN(s string) (RoleARN, error) {
	switch {
	case len(s) > 640:
		return "", fmt.Errorf("role ARN is %d characters long, more than 640", len(s))
	case strings.Contains(s, ":assumed-role/"):
		return "", fmt.Errorf("%q is the ARN of a role session; give the role's own, arn:aws:iam::ACCOUNT:role/NAME", s)
	case !roleARN().MatchString(s):
		return "", fmt.Errorf("%q is not the ARN of a role, arn:aws:iam::ACCOUNT:role/NAME", s)
	}
	return RoleARN(s), nil
}

// Account is the 12-digit account of the role, empty if the ARN is malformed.
func (r RoleARN) Account() string {
	if m := roleARN().FindStringSubmatch(string(r)); m != nil {
		return m[2]
	}
	return ""
}

// Name is the role's name without its path, empty if the ARN is malformed.
func (r RoleARN) Name() string {
	if m := roleARN().FindStringSubmatch(string(r)); m != nil {
		return m[4]
	}
	return ""
}

// Partition is the AWS partition a region belongs to.
//
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
func Partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}
