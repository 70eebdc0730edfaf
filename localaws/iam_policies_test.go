package localaws_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/openpodidentity/podid/localaws"
)

// White space does not count, so each document is padded with it.
func TestPolicySizesAreLimited(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	w.role("role", trust(podsPrincipal, assumeAndTag), "")
	w.user("user", "")
	sized := func(n int) *string {
		head, tail, _ := strings.Cut(allow("s3:GetObject", "arn:aws:s3:::X"), `"arn:aws:s3:::X"`)
		return aws.String(head + strings.Repeat(" \n", 20_000) + `"arn:aws:s3:::` + strings.Repeat("a", n-len(head)-len(tail)-15) + `"` + tail)
	}
	sizedTrust := func(n int) *string {
		d := trust(podsPrincipal, assumeAndTag, `{"StringEquals":{"sts:ExternalId":"X"}}`)
		return aws.String(strings.Replace(d, `"X"`, strings.Repeat(" ", 50)+`"`+strings.Repeat("x", n-len(d)+1)+`"`, 1))
	}
	for _, test := range []struct {
		name string
		put  func(document *string) error
		size func(int) *string
		most int
		text string
	}{
		{"trust", func(d *string) error {
			_, err := w.iam().UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("role"), PolicyDocument: d})
			return err
		}, sizedTrust, 2048, "Cannot exceed quota for ACLSizePerRole: 2048"},
		{"inline of a role", func(d *string) error {
			_, err := w.iam().PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("role"), PolicyName: aws.String("p"), PolicyDocument: d})
			return err
		}, sized, 10240, "Maximum policy size of 10240 bytes exceeded for role role"},
		{"inline of a user", func(d *string) error {
			_, err := w.iam().PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: aws.String("user"), PolicyName: aws.String("p"), PolicyDocument: d})
			return err
		}, sized, 2048, "Maximum policy size of 2048 bytes exceeded for user user"},
		{"managed", func(d *string) error {
			_, err := w.iam().CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: aws.String(fmt.Sprintf("p%d", len(*d))), PolicyDocument: d})
			return err
		}, sized, 6144, "Cannot exceed quota for PolicySize: 6144"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.put(test.size(test.most)); err != nil {
				t.Errorf("%d characters: %v", test.most, err)
			}
			wantError(t, test.put(test.size(test.most+1)), "LimitExceeded", test.text)
			wantError(t, test.put(test.size(90_000)), "LimitExceeded", test.text)
		})
	}
	// All inline policies of a role together.
	_, err := w.iam().PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("role"), PolicyName: aws.String("second"), PolicyDocument: sized(200)})
	wantError(t, err, "LimitExceeded")
}

func TestAttachmentsAndTagsAreLimited(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	w.role("role", trust(podsPrincipal, assumeAndTag), "")
	for i := range 11 {
		p, err := w.iam().CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: aws.String(fmt.Sprintf("p%02d", i)), PolicyDocument: aws.String(allow("s3:*", "*"))})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // again is no error
			_, err = w.iam().AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: aws.String("role"), PolicyArn: p.Policy.Arn})
			if i < 10 && err != nil {
				t.Fatal(err)
			}
		}
		if i == 10 {
			wantError(t, err, "LimitExceeded", "Cannot exceed quota for PoliciesPerRole: 10")
		}
	}
	for batch := range 2 {
		var pairs []string
		for i := range 30 {
			pairs = append(pairs, fmt.Sprintf("k%d-%d", batch, i), "v")
		}
		_, err := w.iam().TagRole(t.Context(), &iam.TagRoleInput{RoleName: aws.String("role"), Tags: iamTags(pairs...)})
		if batch == 0 && err != nil {
			t.Error(err)
		}
		if batch == 1 {
			wantError(t, err, "LimitExceeded")
		}
	}
	if _, err := w.iam().UntagRole(t.Context(), &iam.UntagRoleInput{RoleName: aws.String("role"), TagKeys: []string{"K0-0", "absent"}}); err != nil {
		t.Error(err)
	}
	left, err := w.iam().ListRoleTags(t.Context(), &iam.ListRoleTagsInput{RoleName: aws.String("role")})
	if err != nil || len(left.Tags) != 29 {
		t.Errorf("%d tags, %v", len(left.Tags), err)
	}
}

func TestBoundaryLimitsAndIsNamed(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	edge, err := w.iam().CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: aws.String("edge"), PolicyDocument: aws.String(allow("iam:GetUser", "*"))})
	if err != nil {
		t.Fatal(err)
	}
	bob := w.user("bob", allow("iam:*", "*"))
	if _, err := w.iam().PutUserPermissionsBoundary(t.Context(), &iam.PutUserPermissionsBoundaryInput{UserName: aws.String("bob"), PermissionsBoundary: edge.Policy.Arn}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.iamAs(bob).GetUser(t.Context(), &iam.GetUserInput{}); err != nil {
		t.Error(err)
	}
	_, err = w.iamAs(bob).ListUsers(t.Context(), &iam.ListUsersInput{})
	wantError(t, err, "AccessDenied", "because no permissions boundary allows the iam:ListUsers action",
		`Fix: add "iam:ListUsers" to the Action of statement 1 of arn:aws:iam::111122223333:policy/edge.`)
	entities, err := w.iam().ListEntitiesForPolicy(t.Context(), &iam.ListEntitiesForPolicyInput{PolicyArn: edge.Policy.Arn})
	if err != nil || len(entities.PolicyUsers) != 1 || *entities.PolicyUsers[0].UserName != "bob" {
		t.Errorf("%+v, %v", entities, err)
	}
	if _, err := w.iam().DeleteUserPermissionsBoundary(t.Context(), &iam.DeleteUserPermissionsBoundaryInput{UserName: aws.String("bob")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.iamAs(bob).ListUsers(t.Context(), &iam.ListUsersInput{}); err != nil {
		t.Error(err)
	}
}

func TestExplicitDenyNamesItsStatement(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	bob := w.user("bob", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"NoUsers","Effect":"Deny","Action":"iam:*User*","Resource":"*"}]}`)
	_, err := w.iamAs(bob).ListUsers(t.Context(), &iam.ListUsersInput{})
	wantError(t, err, "AccessDenied", "User: arn:aws:iam::111122223333:user/bob is not authorized to perform: iam:ListUsers on resource: arn:aws:iam::111122223333:user/ with an explicit deny in an identity-based policy.",
		`Fix: remove statement 2 (Sid "NoUsers") of inline policy permissions of user bob, or narrow it so that it no longer covers this request.`)
}

func TestIAMActionsAreAuthorisedOnTheirResource(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	w.role("mine", trust(podsPrincipal, assumeAndTag), "")
	w.role("theirs", trust(podsPrincipal, assumeAndTag), "")
	if _, err := w.iam().TagRole(t.Context(), &iam.TagRoleInput{RoleName: aws.String("mine"), Tags: iamTags("owner", "bob")}); err != nil {
		t.Fatal(err)
	}
	bob := w.iamAs(w.user("bob", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iam:PutRolePolicy","iam:AttachRolePolicy"],"Resource":"arn:aws:iam::111122223333:role/*",
		 "Condition":{"StringEquals":{"aws:ResourceTag/owner":"${aws:username}"},"ArnEqualsIfExists":{"iam:PolicyARN":"arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"}}},
		{"Effect":"Allow","Action":["iam:CreateRole","iam:TagRole"],"Resource":"arn:aws:iam::111122223333:role/bob/*","Condition":{"StringEquals":{"aws:RequestTag/owner":"bob"}}}]}`))
	put := func(role string) error {
		_, err := bob.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &role, PolicyName: aws.String("p"), PolicyDocument: aws.String(allow("s3:*", "*"))})
		return err
	}
	if err := put("mine"); err != nil {
		t.Error(err)
	}
	wantError(t, put("theirs"), "AccessDenied", "aws:ResourceTag/owner")
	attach := func(policy string) error {
		_, err := bob.AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: aws.String("mine"), PolicyArn: aws.String("arn:aws:iam::aws:policy/" + policy)})
		return err
	}
	if err := attach("AmazonS3ReadOnlyAccess"); err != nil {
		t.Error(err)
	}
	wantError(t, attach("AdministratorAccess"), "AccessDenied")
	create := func(path, owner string) error {
		_, err := bob.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("made" + owner), Path: &path, AssumeRolePolicyDocument: aws.String(trust(podsPrincipal, assumeAndTag)), Tags: iamTags("owner", owner)})
		return err
	}
	if err := create("/bob/", "bob"); err != nil {
		t.Error(err)
	}
	wantError(t, create("/", "bob"), "AccessDenied")
	wantError(t, create("/bob/", "eve"), "AccessDenied")
	// Nothing is told of what the caller may not see.
	wantError(t, put("nonexistent"), "AccessDenied")
}

func TestManagedPoliciesOfAWSAreThere(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	pages := iam.NewListPoliciesPaginator(w.iam(), &iam.ListPoliciesInput{Scope: iamtypes.PolicyScopeTypeAws})
	n := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Policies {
			n++
			v, err := w.iam().GetPolicyVersion(t.Context(), &iam.GetPolicyVersionInput{PolicyArn: p.Arn, VersionId: p.DefaultVersionId})
			if err != nil || !strings.Contains(decoded(t, v.PolicyVersion.Document), "2012-10-17") || !v.PolicyVersion.IsDefaultVersion {
				t.Errorf("%s: %+v, %v", *p.Arn, v, err)
			}
		}
	}
	if n < 10 {
		t.Errorf("%d policies", n)
	}
	_, err := w.iam().GetPolicy(t.Context(), &iam.GetPolicyInput{PolicyArn: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")})
	wantError(t, err, "NoSuchEntity", "docs/components/localaws.md")
	_, err = w.iam().DeletePolicy(t.Context(), &iam.DeletePolicyInput{PolicyArn: aws.String("arn:aws:iam::aws:policy/AdministratorAccess")})
	wantError(t, err, "AccessDenied")
}

func TestManagedPolicyLife(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	c, ctx := w.iam(), t.Context()
	document := allow("s3:ListBucket", "arn:aws:s3:::b")
	p, err := c.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("list"), Path: aws.String("/team/"), Description: aws.String("lists"), PolicyDocument: &document, Tags: iamTags("a", "1")})
	if err != nil {
		t.Fatal(err)
	}
	if *p.Policy.Arn != "arn:aws:iam::111122223333:policy/team/list" || *p.Policy.DefaultVersionId != "v1" || !strings.HasPrefix(*p.Policy.PolicyId, "ANPA") {
		t.Errorf("%+v", p.Policy)
	}
	_, err = c.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("LIST"), PolicyDocument: &document})
	wantError(t, err, "EntityAlreadyExists", "A policy called LIST already exists.")
	w.role("role", trust(podsPrincipal, assumeAndTag), "")
	if _, err := c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("role"), PolicyArn: p.Policy.Arn}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.TagPolicy(ctx, &iam.TagPolicyInput{PolicyArn: p.Policy.Arn, Tags: iamTags("b", "2")}); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: p.Policy.Arn})
	if err != nil || *got.Policy.AttachmentCount != 1 || *got.Policy.Description != "lists" || len(got.Policy.Tags) != 2 {
		t.Errorf("%+v, %v", got.Policy, err)
	}
	attached, err := c.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: aws.String("role"), PathPrefix: aws.String("/team/")})
	if err != nil || len(attached.AttachedPolicies) != 1 || *attached.AttachedPolicies[0].PolicyName != "list" {
		t.Errorf("%+v, %v", attached, err)
	}
	versions, err := c.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: p.Policy.Arn})
	if err != nil || len(versions.Versions) != 1 {
		t.Errorf("%+v, %v", versions, err)
	}
	_, err = c.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: p.Policy.Arn, VersionId: aws.String("v2")})
	wantError(t, err, "NoSuchEntity")
	if _, err := c.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: aws.String("role"), PolicyArn: p.Policy.Arn}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: aws.String("role"), PolicyArn: p.Policy.Arn})
	wantError(t, err, "NoSuchEntity")
	if _, err := c.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: p.Policy.Arn}); err != nil {
		t.Error(err)
	}
	_, err = c.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: p.Policy.Arn})
	wantError(t, err, "NoSuchEntity")
}

// Wherever a policy that AWS has and the local AWS has not can be named, the
// answer says where to see those that it has.
func TestAManagedPolicyThatIsNotCarriedIsToldSoEverywhere(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	ctx, arn := t.Context(), aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")
	role := w.role("role", trust(userPrincipal("admin"), assumeAndTag), "")
	w.user("user", "")
	calls := map[string]func(arn *string) error{
		"GetPolicy": func(arn *string) error {
			_, err := w.iam().GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: arn})
			return err
		},
		"AttachRolePolicy": func(arn *string) error {
			_, err := w.iam().AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("role"), PolicyArn: arn})
			return err
		},
		"AttachUserPolicy": func(arn *string) error {
			_, err := w.iam().AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: aws.String("user"), PolicyArn: arn})
			return err
		},
		"PutRolePermissionsBoundary": func(arn *string) error {
			_, err := w.iam().PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: aws.String("role"), PermissionsBoundary: arn})
			return err
		},
		"CreateUser": func(arn *string) error {
			_, err := w.iam().CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("other"), PermissionsBoundary: arn})
			return err
		},
		"AssumeRole": func(arn *string) error {
			_, err := w.stsAs(w.aws.Admin()).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session"),
				PolicyArns: []ststypes.PolicyDescriptorType{{Arn: arn}}})
			return err
		},
	}
	const hint = "the local AWS does not: aws iam list-policies --scope AWS lists those it has (docs/components/localaws.md)."
	for name, call := range calls {
		if err := call(arn); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%s: %v", name, err)
		}
		if err := call(aws.String("arn:aws:iam::111122223333:policy/none")); err == nil || strings.Contains(err.Error(), hint) {
			t.Errorf("%s of a customer's policy: %v", name, err)
		}
	}
}

// Session policies do not support incomplete ARNs; a managed policy has other uses.
func TestAManagedPolicyWithAnIncompleteARNGivesASessionNothing(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	role := w.role("role", trust(userPrincipal("admin"), assumeAndTag), allow("s3:*", "*"))
	created, err := w.iam().CreatePolicy(t.Context(), &iam.CreatePolicyInput{
		PolicyName: aws.String("incomplete"), PolicyDocument: aws.String(allow("s3:*", "arn:aws:s3"))})
	if err != nil {
		t.Fatal(err)
	}
	session := w.assume(w.stsAs(w.aws.Admin()), sts.AssumeRoleInput{
		RoleArn: &role, PolicyArns: []ststypes.PolicyDescriptorType{{Arn: created.Policy.Arn}}})
	_, err = w.s3As(session).ListBuckets(t.Context(), nil)
	wantError(t, err, "AccessDenied", "no session policy allows")
}
