package localaws_test

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/localaws"
)

func tags(pairs ...string) []ststypes.Tag {
	var list []ststypes.Tag
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, ststypes.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return list
}

// The size is the token's, and the share of the 16,384 characters that are taken.
func TestAssumeRoleTellsTheSizeOfTheToken(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	role := w.role("role", trust(userPrincipal("admin"), assumeAndTag), "")
	var sizes []int32
	for _, pairs := range [][]string{nil, {"team", strings.Repeat("x", 200)}} {
		out, err := w.stsAs(w.aws.Admin()).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session"), Tags: tags(pairs...)})
		if err != nil {
			t.Fatal(err)
		}
		size := int32(len(*out.Credentials.SessionToken)) //nolint:gosec // a few hundred
		if out.SessionTokenSize == nil || *out.SessionTokenSize != size {
			t.Fatalf("size of %d is told as %v", size, out.SessionTokenSize)
		}
		if want := (100*size + 16383) / 16384; out.SessionTokenUtilization == nil || *out.SessionTokenUtilization != want {
			t.Errorf("utilization is %v, want %d", out.SessionTokenUtilization, want)
		}
		sizes = append(sizes, size)
	}
	if sizes[1] < sizes[0]+200 {
		t.Errorf("sizes are %v", sizes)
	}
}

func TestServicePrincipalAssumesARole(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	cluster := "arn:aws:eks:us-east-1:111122223333:cluster/local"
	role := w.role("pod", trust(podsPrincipal, assumeAndTag,
		`{"StringEquals":{"aws:SourceAccount":"111122223333","aws:RequestTag/kubernetes-namespace":"shop","aws:PrincipalServiceName":"pods.eks.amazonaws.com"},
		  "ArnEquals":{"aws:SourceArn":"`+cluster+`"},"Bool":{"aws:PrincipalIsAWSService":"true"}}`), "")
	in := sts.AssumeRoleInput{
		RoleArn: &role, RoleSessionName: aws.String("eks-local-web"), DurationSeconds: aws.Int32(6 * 3600),
		Tags: tags("kubernetes-namespace", "shop"), TransitiveTagKeys: []string{"kubernetes-namespace"},
	}
	out, err := w.stsAsService(cluster, account).AssumeRole(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	if got := *out.AssumedRoleUser.Arn; got != "arn:aws:sts::111122223333:assumed-role/pod/eks-local-web" {
		t.Errorf("assumed role is %s", got)
	}
	if !strings.HasPrefix(*out.AssumedRoleUser.AssumedRoleId, "AROA") || !strings.HasSuffix(*out.AssumedRoleUser.AssumedRoleId, ":eks-local-web") {
		t.Errorf("assumed role ID is %s", *out.AssumedRoleUser.AssumedRoleId)
	}
	if lasts := time.Until(*out.Credentials.Expiration); lasts < 5*time.Hour+59*time.Minute || lasts > 6*time.Hour+time.Minute {
		t.Errorf("the session lasts %s, want six hours", lasts)
	}
	if packed := *out.PackedPolicySize; packed < 1 { //nolint:staticcheck // deprecated, and still what is read
		t.Errorf("packed size is %d", packed)
	}
	who, err := w.stsAs(sessionOf(out.Credentials)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *who.Arn != *out.AssumedRoleUser.Arn || *who.UserId != *out.AssumedRoleUser.AssumedRoleId || *who.Account != account {
		t.Errorf("the session is %+v, %v", who, err)
	}

	_, err = w.stsAsService("arn:aws:eks:us-east-1:111122223333:cluster/other", account).AssumeRole(t.Context(), &in)
	wantError(t, err, "AccessDenied",
		"User: pods.eks.amazonaws.com is not authorized to perform: sts:AssumeRole on resource: "+role,
		`the condition on aws:SourceArn in statement 1 (Sid "Trust") of the trust policy of role pod.`)
	_, err = w.stsAsService("", "").AssumeRole(t.Context(), &in)
	wantError(t, err, "AccessDenied")
}

func TestNobodyElseSpeaksForAService(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	role := w.role("pod", trust(podsPrincipal, assumeAndTag), "")
	in := sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session")}
	_, err := sts.NewFromConfig(w.config(w.aws.Admin()), withSource("arn:aws:eks:us-east-1:111122223333:cluster/local", account)).AssumeRole(t.Context(), &in)
	wantError(t, err, "AccessDenied", "is not an AWS service")
	_, err = w.stsAs(w.aws.Admin()).AssumeRole(t.Context(), &in)
	wantError(t, err, "AccessDenied", "because no role trust policy allows the sts:AssumeRole action",
		`Fix: add {"AWS":"arn:aws:iam::111122223333:user/admin"} to the Principal of statement 1 (Sid "Trust") of the trust policy of role pod.`)
}

func TestServiceCredentialMayDoNothingElse(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	if _, err := w.stsAs(w.aws.Service()).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
		t.Errorf("GetCallerIdentity: %v", err)
	}
	_, err := w.stsAs(w.aws.Service()).GetSessionToken(t.Context(), &sts.GetSessionTokenInput{})
	wantError(t, err, "AccessDenied")
	_, err = w.iamAs(w.aws.Service()).ListRoles(t.Context(), &iam.ListRolesInput{})
	wantError(t, err, "AccessDenied", "User: pods.eks.amazonaws.com is not authorized to perform: iam:ListRoles")
	_, err = w.s3As(w.aws.Service()).ListBuckets(t.Context(), &s3.ListBucketsInput{})
	wantError(t, err, "AccessDenied")
}

func TestRoleOfThatNameDoesNotExist(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	for _, role := range []string{"arn:aws:iam::111122223333:role/none", "arn:aws:iam::999999999999:role/other"} {
		_, err := w.stsAs(w.aws.Admin()).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session")})
		wantError(t, err, "AccessDenied", "User: arn:aws:iam::111122223333:user/admin is not authorized to perform: sts:AssumeRole on resource: "+role)
	}
	w.role("pathless", trust(userPrincipal("admin"), assumeAndTag), "")
	wrong := "arn:aws:iam::111122223333:role/a/path/pathless"
	_, err := w.stsAs(w.aws.Admin()).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &wrong, RoleSessionName: aws.String("session")})
	wantError(t, err, "AccessDenied")
}

// A role that trusts the account asks for the caller's identity policy as well;
// one that names the user does not.
func TestTrustInTheAccountNeedsTheIdentityPolicyToo(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	root := w.role("root", trust(`{"AWS":"111122223333"}`, assumeAndTag), "")
	bob := w.user("bob", "")
	named := w.role("named", trust(userPrincipal("bob"), assumeAndTag), "")
	w.assume(w.stsAs(bob), sts.AssumeRoleInput{RoleArn: &named})
	_, err := w.stsAs(bob).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &root, RoleSessionName: aws.String("session")})
	wantError(t, err, "AccessDenied", "because no identity-based policy allows the sts:AssumeRole action",
		`Fix: add a statement such as {"Effect":"Allow","Action":"sts:AssumeRole","Resource":"`+root+`"} to a policy of arn:aws:iam::111122223333:user/bob.`)
	eve := w.user("eve", allow("sts:AssumeRole", root))
	w.assume(w.stsAs(eve), sts.AssumeRoleInput{RoleArn: &root})
}

func TestTagsNeedTagSession(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	role := w.role("untagged", trust(userPrincipal("admin"), `"sts:AssumeRole"`), "")
	c := w.stsAs(w.aws.Admin())
	w.assume(c, sts.AssumeRoleInput{RoleArn: &role})
	_, err := c.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session"), Tags: tags("team", "red")})
	wantError(t, err, "AccessDenied", "is not authorized to perform: sts:TagSession on resource: "+role)
}

func TestChainInheritsTransitiveTags(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	first := w.role("first", trust(userPrincipal("admin"), assumeAndTag), "")
	second := w.role("second", trust(rolePrincipal("first"), assumeAndTag, `{"StringEquals":{"aws:PrincipalTag/team":"red","aws:RequestTag/team":"red"}}`), "")
	third := w.role("third", trust(rolePrincipal("second"), assumeAndTag, `{"StringEquals":{"aws:PrincipalTag/team":"red"},"Null":{"aws:PrincipalTag/loose":"true"}}`), "")
	untagging := w.role("untagging", trust(rolePrincipal("first"), `"sts:AssumeRole"`), "")

	one := w.assume(w.stsAs(w.aws.Admin()), sts.AssumeRoleInput{RoleArn: &first, Tags: tags("team", "red", "loose", "1"), TransitiveTagKeys: []string{"TEAM"}})
	two := w.assume(w.stsAs(one), sts.AssumeRoleInput{RoleArn: &second, Tags: tags("step", "2")})
	w.assume(w.stsAs(two), sts.AssumeRoleInput{RoleArn: &third})

	_, err := w.stsAs(one).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &second, RoleSessionName: aws.String("session"), Tags: tags("Team", "blue")})
	wantError(t, err, "InvalidParameterValue", "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
	_, err = w.stsAs(one).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &untagging, RoleSessionName: aws.String("session")})
	wantError(t, err, "AccessDenied", "sts:TagSession")
	_, err = w.stsAs(one).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &second, RoleSessionName: aws.String("session"), DurationSeconds: aws.Int32(3601)})
	wantError(t, err, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
}

func TestSessionTagsOverrideTheRolesTags(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	role := w.role("tagged", trust(userPrincipal("admin"), assumeAndTag),
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:CreateBucket","Resource":"arn:aws:s3:::${aws:PrincipalTag/team}-${aws:PrincipalTag/stage}"}]}`)
	if _, err := w.iam().TagRole(t.Context(), &iam.TagRoleInput{RoleName: aws.String("tagged"), Tags: iamTags("Team", "blue", "stage", "test")}); err != nil {
		t.Fatal(err)
	}
	session := w.assume(w.stsAs(w.aws.Admin()), sts.AssumeRoleInput{RoleArn: &role, Tags: tags("team", "red")})
	if _, err := w.s3As(session).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("red-test")}); err != nil {
		t.Error(err)
	}
	_, err := w.s3As(session).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("blue-test")})
	wantError(t, err, "AccessDenied")
}

// Keys are alike by ASCII case alone, as condition keys are: ſ is not s, so a tag
// cannot take the place of one that policies know under another key.
func TestATagReplacesItsOwnKeyAlone(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	role := w.role("tagged", trust(userPrincipal("admin"), assumeAndTag),
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListAllMyBuckets","Resource":"*","Condition":{"Null":{"aws:PrincipalTag/class":"true"}}}]}`)
	if _, err := w.iam().TagRole(t.Context(), &iam.TagRoleInput{RoleName: aws.String("tagged"), Tags: iamTags("class", "low")}); err != nil {
		t.Fatal(err)
	}
	session := w.assume(w.stsAs(w.aws.Admin()), sts.AssumeRoleInput{RoleArn: &role, Tags: tags("claſs", "high")})
	_, err := w.s3As(session).ListBuckets(t.Context(), &s3.ListBucketsInput{})
	wantError(t, err, "AccessDenied")
}

func TestExternalIDIsACondition(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	role := w.role("outside", trust(userPrincipal("admin"), assumeAndTag, `{"StringEquals":{"sts:ExternalId":"us-east-1/111122223333/local/ns/sa"}}`), "")
	c := w.stsAs(w.aws.Admin())
	w.assume(c, sts.AssumeRoleInput{RoleArn: &role, ExternalId: aws.String("us-east-1/111122223333/local/ns/sa")})
	_, err := c.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session"), ExternalId: aws.String("wrong")})
	wantError(t, err, "AccessDenied", `Fix: pass the external ID "us-east-1/111122223333/local/ns/sa".`)
	_, err = c.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session")})
	wantError(t, err, "AccessDenied", `Fix: pass the external ID "us-east-1/111122223333/local/ns/sa".`)
}

func TestSourceIdentityStaysInAChain(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	actions := `["sts:AssumeRole","sts:SetSourceIdentity"]`
	first := w.role("first", trust(userPrincipal("admin"), actions, `{"StringLike":{"sts:SourceIdentity":"al*"}}`), "")
	second := w.role("second", trust(rolePrincipal("first"), actions, `{"StringEquals":{"aws:SourceIdentity":"alice"}}`), "")
	without := w.role("without", trust(rolePrincipal("first"), `"sts:AssumeRole"`), "")
	out, err := w.stsAs(w.aws.Admin()).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &first, RoleSessionName: aws.String("session"), SourceIdentity: aws.String("alice")})
	if err != nil || *out.SourceIdentity != "alice" {
		t.Fatalf("%+v, %v", out, err)
	}
	one := w.stsAs(sessionOf(out.Credentials))
	w.assume(one, sts.AssumeRoleInput{RoleArn: &second})
	_, err = one.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &second, RoleSessionName: aws.String("session"), SourceIdentity: aws.String("bob")})
	wantError(t, err, "AccessDenied", "cannot be changed")
	_, err = one.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &without, RoleSessionName: aws.String("session")})
	wantError(t, err, "AccessDenied", "sts:SetSourceIdentity")
}

func TestSessionPoliciesNarrow(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	role := w.role("wide", trust(userPrincipal("admin"), assumeAndTag), allow("s3:*", "*"))
	c := w.stsAs(w.aws.Admin())
	for _, bucket := range []string{"one", "two"} {
		if _, err := w.s3As(w.aws.Admin()).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bucket-" + bucket)}); err != nil {
			t.Fatal(err)
		}
	}
	inline := w.assume(c, sts.AssumeRoleInput{RoleArn: &role, Policy: aws.String(allow("s3:ListBucket", "arn:aws:s3:::bucket-one"))})
	managed := w.assume(c, sts.AssumeRoleInput{RoleArn: &role, PolicyArns: []ststypes.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")}}})

	list := func(session podid.Credentials, bucket string) error {
		_, err := w.s3As(session).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
		return err
	}
	if err := list(inline, "bucket-one"); err != nil {
		t.Error(err)
	}
	wantError(t, list(inline, "bucket-two"), "AccessDenied",
		`on resource: "arn:aws:s3:::bucket-two" because no session policy allows the s3:ListBucket action`, `Fix: add "arn:aws:s3:::bucket-two" to the Resource of statement 1 of the session policy of session session.`)
	if err := cmp.Or(list(managed, "bucket-one"), list(managed, "bucket-two")); err != nil {
		t.Error(err)
	}
	_, err := w.s3As(managed).DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: aws.String("bucket-one")})
	wantError(t, err, "AccessDenied", "because no session policy allows the s3:DeleteBucket action")
}

func TestDurationRules(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	role := w.role("hour", trust(userPrincipal("admin"), assumeAndTag), "")
	c := w.stsAs(w.aws.Admin())
	for _, test := range []struct {
		seconds int32
		text    string
	}{
		{900, ""}, {3600, ""},
		{899, "Value '899' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900"},
		{43201, "Member must have value less than or equal to 43200"},
		{3601, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},
	} {
		out, err := c.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session"), DurationSeconds: &test.seconds})
		if test.text != "" {
			wantError(t, err, "ValidationError", test.text)
			continue
		}
		if err != nil {
			t.Errorf("%d s: %v", test.seconds, err)
		} else if got := time.Until(*out.Credentials.Expiration).Round(time.Minute); got != time.Duration(test.seconds)*time.Second {
			t.Errorf("%d s: the session lasts %s", test.seconds, got)
		}
	}
	if _, err := w.iam().UpdateRole(t.Context(), &iam.UpdateRoleInput{RoleName: aws.String("hour"), MaxSessionDuration: aws.Int32(7200)}); err != nil {
		t.Fatal(err)
	}
	w.assume(c, sts.AssumeRoleInput{RoleArn: &role, DurationSeconds: aws.Int32(7200)})
}

func TestAssumeRoleParameters(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	role := w.role("role", trust(userPrincipal("admin"), assumeAndTag), "")
	many := func(n int) []ststypes.Tag {
		var pairs []string
		for i := range n {
			pairs = append(pairs, fmt.Sprintf("k%d", i), "v")
		}
		return tags(pairs...)
	}
	for name, test := range map[string]struct {
		change     func(*sts.AssumeRoleInput)
		code, text string
	}{
		"name too short":    {func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("x") }, "ValidationError", "Value 'x' at 'roleSessionName' failed to satisfy constraint: Member must have length greater than or equal to 2"},
		"name too long":     {func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String(strings.Repeat("x", 65)) }, "ValidationError", "Member must have length less than or equal to 64"},
		"name with a blank": {func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("a b") }, "ValidationError", `Value 'a b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`},
		"ARN of a user":     {func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("arn:aws:iam::111122223333:user/admin") }, "ValidationError", "arn:aws:iam::111122223333:user/admin is invalid"},
		"external ID":       {func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("a b") }, "ValidationError", "externalId"},
		"MFA":               {func(in *sts.AssumeRoleInput) { in.SerialNumber = aws.String("arn:aws:iam::1:mfa/x") }, "NotImplemented", "SerialNumber"},
		"MFA code":          {func(in *sts.AssumeRoleInput) { in.TokenCode = aws.String("123456") }, "NotImplemented", "TokenCode"},
		"contexts": {func(in *sts.AssumeRoleInput) {
			in.ProvidedContexts = []ststypes.ProvidedContext{{ProviderArn: aws.String("arn:aws:iam::aws:contextProvider/x"), ContextAssertion: aws.String("assertion")}}
		}, "NotImplemented", "ProvidedContexts"},
		"policy too long":  {func(in *sts.AssumeRoleInput) { in.Policy = aws.String(strings.Repeat(" ", 2049)) }, "ValidationError", "at 'policy' failed"},
		"policy malformed": {func(in *sts.AssumeRoleInput) { in.Policy = aws.String(`{"Version":`) }, "MalformedPolicyDocument", "This policy contains invalid Json"},
		"policy unknown": {func(in *sts.AssumeRoleInput) {
			in.PolicyArns = []ststypes.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::111122223333:policy/none")}}
		}, "ValidationError", "policy/none"},
		"duplicate tags":      {func(in *sts.AssumeRoleInput) { in.Tags = tags("Team", "a", "team", "b") }, "InvalidParameterValue", "Duplicate tag keys found"},
		"51 tags":             {func(in *sts.AssumeRoleInput) { in.Tags = many(51) }, "ValidationError", "tags"},
		"key with a star":     {func(in *sts.AssumeRoleInput) { in.Tags = tags("te*m", "a") }, "ValidationError", "at 'tags.1.member.key'"},
		"value too long":      {func(in *sts.AssumeRoleInput) { in.Tags = tags("team", strings.Repeat("a", 257)) }, "ValidationError", "at 'tags.1.member.value'"},
		"key of AWS":          {func(in *sts.AssumeRoleInput) { in.Tags = tags("aws:team", "a") }, "InvalidParameterValue", "reserved"},
		"transitive, not set": {func(in *sts.AssumeRoleInput) { in.TransitiveTagKeys = []string{"team"} }, "InvalidParameterValue", "The specified transitive tag key must be included in the requested tags."},
		"too large": {func(in *sts.AssumeRoleInput) {
			in.Tags = tags("a", strings.Repeat("x", 256), "b", strings.Repeat("x", 256))
		},
			"PackedPolicyTooLarge", "Packed size of session tags consumes"},
	} {
		t.Run(name, func(t *testing.T) {
			in := sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session")}
			test.change(&in)
			_, err := w.stsAs(w.aws.Admin()).AssumeRole(t.Context(), &in)
			wantError(t, err, test.code, test.text)
		})
	}
	in := sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session"), Policy: aws.String("{")}
	_, err := w.stsAs(w.aws.Admin()).AssumeRole(t.Context(), &in)
	if _, ok := errors.AsType[*ststypes.MalformedPolicyDocumentException](err); !ok {
		t.Errorf("error is %v, not typed", err)
	}
}

// The measured sizes of https://github.com/aws-actions/configure-aws-credentials/issues/1898
// and https://github.com/aws/containers-roadmap/issues/2413.
func TestPackedSizeIsLikeAWSs(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	role := w.role("role", trust(userPrincipal("admin"), assumeAndTag), "")
	var pairs []string
	for i := range 9 {
		pairs = append(pairs, fmt.Sprintf("T%d", i+1), strings.Repeat("a", 250))
	}
	_, err := w.stsAs(w.aws.Admin()).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session"), Tags: tags(pairs...)})
	if _, ok := errors.AsType[*ststypes.PackedPolicyTooLargeException](err); !ok {
		t.Errorf("error is %v, not typed", err)
	}
	wantError(t, err, "PackedPolicyTooLarge", "Packed size of session tags consumes 499% of allotted space.")

	cluster := podid.Cluster{Name: "production-eu", Region: "eu-central-1", Account: account}
	pairs = nil
	var keys []string
	for _, tag := range podid.SessionTags(cluster, podid.Workload{
		Namespace: "observability", ServiceAccount: "metrics-collector", Pod: "metrics-collector-6d5f7c9b8-x2x7k", PodUID: "5d1c1a1e-3a1f-4f53-9f5e-0a0a0a0a0a0a",
	}) {
		pairs, keys = append(pairs, tag.Key, tag.Value), append(keys, tag.Key)
	}
	out, err := w.stsAs(w.aws.Admin()).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session"), Tags: tags(pairs...), TransitiveTagKeys: keys})
	if err != nil {
		t.Fatal(err)
	}
	if packed := *out.PackedPolicySize; packed < 60 || packed > 80 { //nolint:staticcheck // deprecated, and still what is read
		t.Errorf("pod identity's six tags are %d %%; AWS says 74", packed)
	}
}

func TestGetAccessKeyInfoKnowsTheAccountsKeys(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	admin := w.aws.Admin()
	out, err := w.stsAs(admin).GetAccessKeyInfo(t.Context(), &sts.GetAccessKeyInfoInput{AccessKeyId: &admin.AccessKeyID})
	if err != nil || *out.Account != account {
		t.Errorf("%+v, %v", out, err)
	}
	_, err = w.stsAs(admin).GetAccessKeyInfo(t.Context(), &sts.GetAccessKeyInfoInput{AccessKeyId: aws.String("AKIAIOSFODNN7EXAMPLE")})
	wantError(t, err, "ValidationError")
	_, err = w.stsAs(admin).GetAccessKeyInfo(t.Context(), &sts.GetAccessKeyInfoInput{AccessKeyId: aws.String("ASIAIOSFODNN7EXAMPLE")})
	wantError(t, err, "NotImplemented", "GetAccessKeyInfo")
}
