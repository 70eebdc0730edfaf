package localaws_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/openpodidentity/podid/localaws"
)

func TestExpiredSessionIsRefused(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	w.off.Store(int64(-10 * time.Minute))
	role := w.role("role", trust(userPrincipal("admin"), assumeAndTag), "")
	session := w.assume(w.stsAs(w.aws.Admin()), sts.AssumeRoleInput{RoleArn: &role, DurationSeconds: aws.Int32(900)})
	if _, err := w.stsAs(session).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
		t.Fatal(err)
	}
	w.off.Store(int64(6 * time.Minute))
	_, err := w.stsAs(session).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	wantError(t, err, "ExpiredToken", "The security token included in the request is expired")
	_, err = w.s3As(session).ListBuckets(t.Context(), &s3.ListBucketsInput{})
	wantError(t, err, "ExpiredToken")
}

func TestTamperedTokensAreRefused(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	role := w.role("role", trust(userPrincipal("admin"), assumeAndTag), "")
	session := w.assume(w.stsAs(w.aws.Admin()), sts.AssumeRoleInput{RoleArn: &role})
	other := w.assume(w.stsAs(w.aws.Admin()), sts.AssumeRoleInput{RoleArn: &role})
	sealed, err := base64.StdEncoding.DecodeString(session.SessionToken)
	if err != nil {
		t.Fatal(err)
	}
	flipped := func(i int) string {
		b := append([]byte(nil), sealed...)
		b[i] ^= 1
		return base64.StdEncoding.EncodeToString(b)
	}
	tokens := map[string]string{
		"another session's": other.SessionToken, "cut": session.SessionToken[:40], "none": "", "no base64": "%%%",
		"version": flipped(0), "nonce": flipped(1), "text": flipped(20), "tag": flipped(len(sealed) - 1),
	}
	for name, token := range tokens {
		forged := session
		forged.SessionToken = token
		_, err := w.stsAs(forged).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		wantError(t, err, "InvalidClientTokenId")
		if t.Failed() {
			t.Fatalf("token %q", name)
		}
	}
	forged := session
	forged.SecretAccessKey = other.SecretAccessKey
	_, err = w.stsAs(forged).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	wantError(t, err, "SignatureDoesNotMatch")
	longTerm := w.aws.Admin()
	longTerm.SessionToken = session.SessionToken
	_, err = w.stsAs(longTerm).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	wantError(t, err, "InvalidClientTokenId")
}

func TestSessionEndsWithItsRole(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	for range 2 { // made again under the same name: the first session stays dead
		role := w.role("role", trust(userPrincipal("admin"), assumeAndTag), "")
		session := w.assume(w.stsAs(w.aws.Admin()), sts.AssumeRoleInput{RoleArn: &role})
		if _, err := w.iam().DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("role")}); err != nil {
			t.Fatal(err)
		}
		_, err := w.stsAs(session).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		wantError(t, err, "InvalidClientTokenId")
		w.role("role", trust(userPrincipal("admin"), assumeAndTag), "")
		_, err = w.stsAs(session).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		wantError(t, err, "InvalidClientTokenId")
		if _, err := w.iam().DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("role")}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSessionsAndKeysOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	w := newWorld(t, localaws.Config{Journal: j})
	admin, service := w.aws.Admin(), w.aws.Service()
	role := w.role("role", trust(userPrincipal("admin"), assumeAndTag), allow("s3:ListAllMyBuckets", "*"))
	bob := w.user("bob", allow("iam:GetUser", "*"))
	session := w.assume(w.stsAs(admin), sts.AssumeRoleInput{RoleArn: &role, Tags: tags("team", "red"),
		Policy: aws.String(allow("s3:ListAllMyBuckets", "*"))})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	j = openJournal(t, dir)
	defer j.Close()
	again := newWorld(t, localaws.Config{Journal: j})
	if again.aws.Admin() != admin || again.aws.Service() != service {
		t.Error("the first credentials changed")
	}
	if _, err := again.s3As(session).ListBuckets(t.Context(), &s3.ListBucketsInput{}); err != nil {
		t.Error(err)
	}
	if _, err := again.iamAs(bob).GetUser(t.Context(), &iam.GetUserInput{}); err != nil {
		t.Error(err)
	}
	before, err := w.iam().GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("role")})
	if err != nil {
		t.Fatal(err)
	}
	after, err := again.iam().GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("role")})
	if err != nil {
		t.Fatal(err)
	}
	if *before.Role.RoleId != *after.Role.RoleId || *before.Role.AssumeRolePolicyDocument != *after.Role.AssumeRolePolicyDocument {
		t.Error("the role changed")
	}
	_, err = newWorld(t, localaws.Config{}).stsAs(session).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	wantError(t, err, "InvalidClientTokenId") // another AWS has another key
}

func TestGetSessionTokenIsTheUserWithoutIAM(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	bob := w.user("bob", allow("*", "*"))
	out, err := w.stsAs(bob).GetSessionToken(t.Context(), &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(129600)})
	if err != nil {
		t.Fatal(err)
	}
	session := sessionOf(out.Credentials)
	who, err := w.stsAs(session).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *who.Arn != "arn:aws:iam::111122223333:user/bob" {
		t.Errorf("%+v, %v", who, err)
	}
	if _, err := w.s3As(session).ListBuckets(t.Context(), &s3.ListBucketsInput{}); err != nil {
		t.Error(err)
	}
	_, err = w.iamAs(session).ListUsers(t.Context(), &iam.ListUsersInput{})
	wantError(t, err, "InvalidClientTokenId")
	_, err = w.stsAs(session).GetSessionToken(t.Context(), &sts.GetSessionTokenInput{})
	wantError(t, err, "AccessDenied", "Cannot call GetSessionToken with session credentials")
	_, err = w.stsAs(session).GetAccessKeyInfo(t.Context(), &sts.GetAccessKeyInfoInput{AccessKeyId: &bob.AccessKeyID})
	wantError(t, err, "AccessDenied")
	role := w.role("role", trust(userPrincipal("bob"), assumeAndTag), "")
	w.assume(w.stsAs(session), sts.AssumeRoleInput{RoleArn: &role, DurationSeconds: aws.Int32(3600)})
	_, err = w.stsAs(bob).GetSessionToken(t.Context(), &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(129601)})
	wantError(t, err, "ValidationError")

	roleSession := w.assume(w.stsAs(session), sts.AssumeRoleInput{RoleArn: &role})
	_, err = w.stsAs(roleSession).GetSessionToken(t.Context(), &sts.GetSessionTokenInput{})
	wantError(t, err, "AccessDenied", "Cannot call GetSessionToken with session credentials")
}

// Whatever a session may carry, its token is one that the front takes.
func TestTheLongestTokenIsAccepted(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	role := w.role("role", trust(userPrincipal("admin"), `["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]`), "")
	// Characters that JSON can write as six.
	document := allow("s3:*", "arn:aws:s3:::")
	document = strings.Replace(document, ":::", ":::"+strings.Repeat("<", 2048-len(document)), 1)
	session := w.assume(w.stsAs(w.aws.Admin()), sts.AssumeRoleInput{
		RoleArn: &role, RoleSessionName: aws.String(strings.Repeat("s", 64)), SourceIdentity: aws.String(strings.Repeat("i", 64)),
		Policy: &document, Tags: tags(strings.Repeat("k", 128), strings.Repeat("v", 256)), TransitiveTagKeys: []string{strings.Repeat("k", 128)},
	})
	if _, err := w.stsAs(session).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
		t.Errorf("token of %d characters: %v", len(session.SessionToken), err)
	}
}
