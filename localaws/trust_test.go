package localaws_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/openpodidentity/podid/localaws"
)

// As at AWS: https://github.com/hashicorp/terraform-provider-aws/issues/32872
func TestTrustPoliciesSpeakOfAssumingRolesOnly(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	w.role("role", trust(podsPrincipal, assumeAndTag), "")
	put := func(actions string) error {
		_, err := w.iam().UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{
			RoleName: aws.String("role"), PolicyDocument: aws.String(trust(podsPrincipal, actions))})
		return err
	}
	for _, actions := range []string{
		`["sts:AssumeRole","sts:AssumeRoleWithSAML","sts:AssumeRoleWithWebIdentity","sts:TagSession","sts:SetSourceIdentity","sts:SetContext"]`,
		`"STS:assumerole"`, `"sts:*"`, `"sts:AssumeRole*"`, `"*"`,
	} {
		if err := put(actions); err != nil {
			t.Errorf("%s: %v", actions, err)
		}
	}
	const text = "AssumeRole policy may only specify STS AssumeRole actions."
	for actions, culprit := range map[string]string{
		`["sts:AssumeRole","s3:GetObject"]`: `"s3:GetObject"`,
		`"sts:TagSessions"`:                 `"sts:TagSessions"`,
		`"sts:GetCallerIdentity"`:           `"sts:GetCallerIdentity"`,
		`"sts:Get*"`:                        `"sts:Get*"`,
		`"eks-auth:*"`:                      `"eks-auth:*"`,
	} {
		wantError(t, put(actions), "MalformedPolicyDocument", text, culprit+" is no action of a role trust policy; expected sts:AssumeRole,")
	}
	_, err := w.iam().CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("other"), AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"s3:*"}}`)})
	wantError(t, err, "MalformedPolicyDocument", text)
}

// As at AWS: https://github.com/hashicorp/terraform-provider-aws/issues/4248, and
// for Deny https://github.com/aws/aws-cdk/issues/10994
func TestATrustPolicyNamesEveryoneByKind(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	for name, effect := range map[string]string{"allowed": "Allow", "denied": "Deny"} {
		create := func(principal string) error {
			_, err := w.iam().CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String(name), AssumeRolePolicyDocument: aws.String(
				`{"Version":"2012-10-17","Statement":{"Effect":"` + effect + `","Principal":` + principal + `,"Action":"sts:AssumeRole"}}`)})
			return err
		}
		wantError(t, create(`"*"`), "MalformedPolicyDocument", `AssumeRolepolicy contained an invalid principal: "STAR":"*".`, `expected {"AWS": "*"}`)
		if err := create(`{"AWS":"*"}`); err != nil {
			t.Errorf("%s: %v", effect, err)
		}
	}
}
