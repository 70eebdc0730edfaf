package localaws_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/openpodidentity/podid/localaws"
)

func iamTags(pairs ...string) []iamtypes.Tag {
	var list []iamtypes.Tag
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, iamtypes.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return list
}

func decoded(t testing.TB, document *string) string {
	t.Helper()
	text, err := url.PathUnescape(*document)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRolesComeBackAsTheyWereMade(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	document := "{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [{\"Effect\": \"Allow\", \"Principal\": {\"Service\": \"pods.eks.amazonaws.com\"}, \"Action\": \"sts:AssumeRole\",\n \"Condition\": {\"StringEquals\": {\"sts:ExternalId\": \"a+b c/é\"}}}]}"
	boundary, err := w.iam().CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: aws.String("edge"), PolicyDocument: aws.String(allow("s3:*", "*"))})
	if err != nil {
		t.Fatal(err)
	}
	made, err := w.iam().CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: aws.String("EKS-Pod_Identity+Role"), Path: aws.String("/team/red/"), AssumeRolePolicyDocument: &document,
		Description: aws.String("for <pods> & people"), MaxSessionDuration: aws.Int32(7200),
		PermissionsBoundary: boundary.Policy.Arn, Tags: iamTags("team", "red", "Cost Center", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.iam().GetRole(t.Context(), &iam.GetRoleInput{RoleName: made.Role.RoleName})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*iamtypes.Role{made.Role, got.Role} {
		if *r.Arn != "arn:aws:iam::111122223333:role/team/red/EKS-Pod_Identity+Role" || *r.Path != "/team/red/" ||
			!strings.HasPrefix(*r.RoleId, "AROA") || len(*r.RoleId) != 21 || *r.Description != "for <pods> & people" ||
			*r.MaxSessionDuration != 7200 || *r.PermissionsBoundary.PermissionsBoundaryArn != *boundary.Policy.Arn ||
			len(r.Tags) != 2 || *r.Tags[0].Key != "Cost Center" || *r.Tags[1].Value != "red" || time.Since(*r.CreateDate) > time.Minute {
			t.Errorf("the role is %+v", r)
		}
		if decoded(t, r.AssumeRolePolicyDocument) != document {
			t.Errorf("the document is %s", *r.AssumeRolePolicyDocument)
		}
		if strings.ContainsAny(*r.AssumeRolePolicyDocument, "+ \"{") {
			t.Errorf("the document is not percent-encoded: %s", *r.AssumeRolePolicyDocument)
		}
	}
}

func TestErrorsAreTyped(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	c, ctx := w.iam(), t.Context()
	w.role("taken", trust(podsPrincipal, assumeAndTag), allow("s3:*", "*"))
	missing := aws.String("missing")
	calls := map[string]struct {
		call func() error
		is   func(error) bool
		text string
	}{
		"no such role": {func() error { _, err := c.GetRole(ctx, &iam.GetRoleInput{RoleName: missing}); return err },
			is[*iamtypes.NoSuchEntityException], "The role with name missing cannot be found."},
		"another case is another name": {func() error { _, err := c.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("Taken")}); return err },
			is[*iamtypes.NoSuchEntityException], "The role with name Taken cannot be found."},
		"no such user": {func() error { _, err := c.GetUser(ctx, &iam.GetUserInput{UserName: missing}); return err },
			is[*iamtypes.NoSuchEntityException], "The user with name missing cannot be found."},
		"no such inline policy": {func() error {
			_, err := c.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: aws.String("taken"), PolicyName: missing})
			return err
		}, is[*iamtypes.NoSuchEntityException], "The role policy with name missing cannot be found."},
		"attach what is not there": {func() error {
			_, err := c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("taken"), PolicyArn: aws.String("arn:aws:iam::111122223333:policy/missing")})
			return err
		}, is[*iamtypes.NoSuchEntityException], "Policy arn:aws:iam::111122223333:policy/missing does not exist or is not attachable."},
		"name taken in another case": {func() error {
			_, err := c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("TAKEN"), AssumeRolePolicyDocument: aws.String(trust(podsPrincipal, assumeAndTag))})
			return err
		}, is[*iamtypes.EntityAlreadyExistsException], "Role with name TAKEN already exists."},
		"not JSON": {func() error {
			_, err := c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: missing, AssumeRolePolicyDocument: aws.String("{")})
			return err
		}, is[*iamtypes.MalformedPolicyDocumentException], "This policy contains invalid Json"},
		"trust policy with a resource": {func() error {
			_, err := c.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("taken"),
				PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Resource":"*"}]}`)})
			return err
		}, is[*iamtypes.MalformedPolicyDocumentException], "Has prohibited field Resource"},
		"inline policy without statements": {func() error {
			_, err := c.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("taken"), PolicyName: missing, PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[]}`)})
			return err
		}, is[*iamtypes.MalformedPolicyDocumentException], "Syntax errors in policy."},
		"managed policy without statements": {func() error {
			_, err := c.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: missing, PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[]}`)})
			return err
		}, is[*iamtypes.MalformedPolicyDocumentException], "Syntax errors in policy."},
		"trust policy without statements": {func() error {
			_, err := c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: missing, AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[]}`)})
			return err
		}, is[*iamtypes.MalformedPolicyDocumentException], "Syntax errors in policy."},
		"inline policy with a principal": {func() error {
			_, err := c.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("taken"), PolicyName: missing, PolicyDocument: aws.String(trust(podsPrincipal, assumeAndTag))})
			return err
		}, is[*iamtypes.MalformedPolicyDocumentException], ""},
		"managed policy in the old language": {func() error {
			_, err := c.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: missing, PolicyDocument: aws.String(`{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)})
			return err
		}, is[*iamtypes.MalformedPolicyDocumentException], "Policy document must be version 2012-10-17 or greater."},
		"trusting nobody": {func() error {
			_, err := c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: missing, AssumeRolePolicyDocument: aws.String(trust(userPrincipal("nobody"), assumeAndTag))})
			return err
		}, is[*iamtypes.MalformedPolicyDocumentException], `Invalid principal in policy: "AWS":"arn:aws:iam::111122223333:user/nobody"`},
		"trusting a unique ID": {func() error {
			_, err := c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: missing, AssumeRolePolicyDocument: aws.String(trust(`{"AWS":"AIDAHLIIIP54YZ5Z6Z46P"}`, assumeAndTag))})
			return err
		}, is[*iamtypes.MalformedPolicyDocumentException], "Invalid principal in policy"},
		"role with a policy": {func() error {
			w.role("inline", trust(podsPrincipal, assumeAndTag), allow("s3:*", "*"))
			_, err := c.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("inline")})
			return err
		},
			is[*iamtypes.DeleteConflictException], "must delete policies first"},
		"user with a key": {func() error {
			w.user("keyed", "")
			_, err := c.DeleteUser(ctx, &iam.DeleteUserInput{UserName: aws.String("keyed")})
			return err
		}, is[*iamtypes.DeleteConflictException], "must delete access keys first"},
		"third key": {func() error {
			w.user("two", "")
			for range 2 {
				if _, err := c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("two")}); err != nil {
					return err
				}
			}
			return nil
		}, is[*iamtypes.LimitExceededException], "Cannot exceed quota for AccessKeysPerUser: 2"},
		"duplicate tags": {func() error {
			_, err := c.TagRole(ctx, &iam.TagRoleInput{RoleName: aws.String("taken"), Tags: iamTags("a", "1", "A", "2")})
			return err
		}, is[*iamtypes.InvalidInputException], "Duplicate tag keys found"},
		"no boundary to delete": {func() error {
			_, err := c.DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: aws.String("taken")})
			return err
		}, is[*iamtypes.NoSuchEntityException], ""},
		"attached policy": {func() error {
			p, err := c.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("used"), PolicyDocument: aws.String(allow("s3:*", "*"))})
			if err != nil {
				return err
			}
			if _, err := c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("taken"), PolicyArn: p.Policy.Arn}); err != nil {
				return err
			}
			_, err = c.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: p.Policy.Arn})
			return err
		}, is[*iamtypes.DeleteConflictException], "Cannot delete a policy attached to entities."},
	}
	for name, test := range calls {
		t.Run(name, func(t *testing.T) {
			err := test.call()
			if !test.is(err) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func TestNamesAndPathsAreChecked(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	for _, test := range []struct{ name, path, text string }{
		{"a b", "/", "The specified value for roleName is invalid."},
		{strings.Repeat("x", 65), "/", "at 'roleName' failed to satisfy constraint: Member must have length less than or equal to 64"},
		{"fine", "red/", "The specified value for path is invalid."},
		{"fine", "/red", "The specified value for path is invalid."},
		{"fine", "/r d/", "The specified value for path is invalid."},
	} {
		_, err := w.iam().CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &test.name, Path: &test.path, AssumeRolePolicyDocument: aws.String(trust(podsPrincipal, assumeAndTag))})
		wantError(t, err, "ValidationError", test.text)
	}
	_, err := w.iam().CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("fine"), MaxSessionDuration: aws.Int32(3599), AssumeRolePolicyDocument: aws.String(trust(podsPrincipal, assumeAndTag))})
	wantError(t, err, "ValidationError", "Value '3599' at 'maxSessionDuration'")
}

func TestListsPage(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	var want []string
	for i := range 25 {
		name := fmt.Sprintf("Role-%02d", i)
		w.role(name, trust(podsPrincipal, assumeAndTag), "")
		want = append(want, name)
	}
	var got []string
	pages := iam.NewListRolesPaginator(w.iam(), &iam.ListRolesInput{MaxItems: aws.Int32(10)})
	n := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n++; len(page.Roles) > 10 {
			t.Errorf("page %d has %d roles", n, len(page.Roles))
		}
		for _, r := range page.Roles {
			got = append(got, *r.RoleName)
			if n == 1 && *r.RoleName == "Role-09" { // deleting the marker's role loses nothing
				if _, err := w.iam().DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: r.RoleName}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if !slices.Equal(got, want) || n != 3 {
		t.Errorf("%d pages: %v", n, got)
	}
	_, err := w.iam().ListRoles(t.Context(), &iam.ListRolesInput{MaxItems: aws.Int32(1001)})
	wantError(t, err, "ValidationError", "Member must have value less than or equal to 1000")
	_, err = w.iam().ListRoles(t.Context(), &iam.ListRolesInput{Marker: aws.String("%%%")})
	wantError(t, err, "ValidationError", "marker")
	under, err := w.iam().ListRoles(t.Context(), &iam.ListRolesInput{PathPrefix: aws.String("/team/")})
	if err != nil || len(under.Roles) != 0 || under.IsTruncated {
		t.Errorf("%+v, %v", under, err)
	}
}

// A deleted user who is made again is somebody else.
func TestTrustIsInTheIdentityNotInTheName(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	bob := w.user("bob", allow("sts:AssumeRole", "*"))
	role := w.role("role", trust(`{"AWS":["arn:aws:iam::111122223333:user/bob","arn:aws:iam::111122223333:user/admin"]}`, assumeAndTag,
		`{"StringNotEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:user/mallory"}}`), "")
	w.assume(w.stsAs(bob), sts.AssumeRoleInput{RoleArn: &role})

	user, err := w.iam().GetUser(t.Context(), &iam.GetUserInput{UserName: aws.String("bob")})
	if err != nil {
		t.Fatal(err)
	}
	remove(t, w, "bob", bob.AccessKeyID)
	got, err := w.iam().GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("role")})
	if err != nil {
		t.Fatal(err)
	}
	document := decoded(t, got.Role.AssumeRolePolicyDocument)
	if !strings.Contains(document, *user.User.UserId) || strings.Contains(document, "user/bob") || !strings.Contains(document, "user/mallory") {
		t.Errorf("the trust policy is %s", document)
	}
	again := w.user("bob", allow("sts:AssumeRole", "*"))
	_, err = w.stsAs(again).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session")})
	wantError(t, err, "AccessDenied")
	w.assume(w.stsAs(w.aws.Admin()), sts.AssumeRoleInput{RoleArn: &role})
}

func remove(t testing.TB, w world, name, key string) {
	t.Helper()
	c, ctx := w.iam(), t.Context()
	_, err := c.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: &key})
	if err == nil {
		_, err = c.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: &name, PolicyName: aws.String("permissions")})
	}
	if err == nil {
		_, err = c.DeleteUser(ctx, &iam.DeleteUserInput{UserName: &name})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestRenamedUserKeepsKeysPoliciesAndTrust(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	bob := w.user("bob", allow("iam:GetUser", "*"))
	role := w.role("role", trust(userPrincipal("bob"), assumeAndTag), "")
	token, err := w.stsAs(bob).GetSessionToken(t.Context(), &sts.GetSessionTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.iam().UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String("bob"), NewUserName: aws.String("robert"), NewPath: aws.String("/team/")})
	if err != nil {
		t.Fatal(err)
	}
	me, err := w.iamAs(bob).GetUser(t.Context(), &iam.GetUserInput{})
	if err != nil || *me.User.Arn != "arn:aws:iam::111122223333:user/team/robert" {
		t.Errorf("%+v, %v", me, err)
	}
	w.assume(w.stsAs(bob), sts.AssumeRoleInput{RoleArn: &role})
	who, err := w.stsAs(sessionOf(token.Credentials)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *who.Arn != *me.User.Arn {
		t.Errorf("%+v, %v", who, err)
	}
	_, err = w.iam().UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String("robert"), NewUserName: aws.String("ADMIN")})
	wantError(t, err, "EntityAlreadyExists")
	_, err = w.iam().GetUser(t.Context(), &iam.GetUserInput{UserName: aws.String("bob")})
	wantError(t, err, "NoSuchEntity")
}

// https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateUser.html:
// permission on both the source and the target.
func TestRenamingNeedsPermissionOnBothNames(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	w.user("bob", "")
	eve := w.iamAs(w.user("eve", allow("iam:UpdateUser", "arn:aws:iam::111122223333:user/bob")))
	_, err := eve.UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String("bob"), NewUserName: aws.String("robert")})
	wantError(t, err, "AccessDenied", "iam:UpdateUser on resource: arn:aws:iam::111122223333:user/robert ")
	_, err = eve.UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String("bob"), NewPath: aws.String("/admins/")})
	wantError(t, err, "AccessDenied", "iam:UpdateUser on resource: arn:aws:iam::111122223333:user/admins/bob ")
	if _, err := w.iam().UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String("bob"), NewUserName: aws.String("robert")}); err != nil {
		t.Error(err)
	}
}

func TestKeysEndAtOnce(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	bob := w.user("bob", "")
	call := func() error {
		_, err := w.stsAs(bob).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		return err
	}
	status := func(s iamtypes.StatusType) {
		t.Helper()
		_, err := w.iam().UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{UserName: aws.String("bob"), AccessKeyId: &bob.AccessKeyID, Status: s})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := call(); err != nil {
		t.Fatal(err)
	}
	used, err := w.iam().GetAccessKeyLastUsed(t.Context(), &iam.GetAccessKeyLastUsedInput{AccessKeyId: &bob.AccessKeyID})
	if err != nil || *used.UserName != "bob" || *used.AccessKeyLastUsed.ServiceName != "sts" || *used.AccessKeyLastUsed.Region != "us-east-1" {
		t.Errorf("%+v, %v", used, err)
	}
	status(iamtypes.StatusTypeInactive)
	wantError(t, call(), "InvalidClientTokenId", "The security token included in the request is invalid")
	_, err = w.s3As(bob).ListBuckets(t.Context(), &s3.ListBucketsInput{})
	wantError(t, err, "InvalidAccessKeyId")
	status(iamtypes.StatusTypeActive)
	if err := call(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.iam().DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: aws.String("bob"), AccessKeyId: &bob.AccessKeyID}); err != nil {
		t.Fatal(err)
	}
	wantError(t, call(), "InvalidClientTokenId")
	forged := w.aws.Admin()
	forged.SecretAccessKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	_, err = w.stsAs(forged).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	wantError(t, err, "SignatureDoesNotMatch")
}

// What Terraform's provider asks on the way to a role and back, as far as the
// tests above do not.
func TestRestOfARolesLife(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	c, ctx := w.iam(), t.Context()
	role := aws.String("role")
	w.role("role", trust(podsPrincipal, assumeAndTag), allow("s3:*", "*"))
	profiles, err := c.ListInstanceProfilesForRole(ctx, &iam.ListInstanceProfilesForRoleInput{RoleName: role})
	if err != nil || len(profiles.InstanceProfiles) != 0 {
		t.Errorf("%+v, %v", profiles, err)
	}
	policies, err := c.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: role})
	if err != nil || !slices.Equal(policies.PolicyNames, []string{"permissions"}) {
		t.Errorf("%+v, %v", policies, err)
	}
	described, err := c.UpdateRoleDescription(ctx, &iam.UpdateRoleDescriptionInput{RoleName: role, Description: aws.String("new")})
	if err != nil || *described.Role.Description != "new" {
		t.Errorf("%+v, %v", described, err)
	}
	if _, err := c.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: role, MaxSessionDuration: aws.Int32(43200)}); err != nil {
		t.Error(err)
	}
	edge := aws.String("arn:aws:iam::aws:policy/PowerUserAccess")
	if _, err := c.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: role, PermissionsBoundary: edge}); err != nil {
		t.Error(err)
	}
	got, err := c.GetRole(ctx, &iam.GetRoleInput{RoleName: role})
	if err != nil || *got.Role.Description != "new" || *got.Role.MaxSessionDuration != 43200 || *got.Role.PermissionsBoundary.PermissionsBoundaryArn != *edge {
		t.Errorf("%+v, %v", got.Role, err)
	}
	if _, err := c.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: role, PolicyName: aws.String("permissions")}); err != nil {
		t.Error(err)
	}
	if _, err := c.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: role}); err != nil {
		t.Error(err)
	}
	_, err = c.GetRole(ctx, &iam.GetRoleInput{RoleName: role})
	wantError(t, err, "NoSuchEntity")
}
