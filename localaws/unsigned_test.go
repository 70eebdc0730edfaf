package localaws_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/openpodidentity/podid/localaws"
)

const form = "multipart/form-data; boundary=x"

// What S3 is asked without Signature Version 4 is refused with what is missing.
func TestS3WithoutAValidSignatureIsToldWhatIsMissing(t *testing.T) {
	w := newWorld(t, localaws.Config{})
	v2 := []string{"<Code>InvalidRequest</Code>",
		"The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256. Fix: aws configure set default.s3.signature_version s3v4, or Config(signature_version=&#39;s3v4&#39;) in boto3."}
	const presigned = "?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=vjbyPxybdZaNmGa%2ByT272YEAiv4%3D&Expires=1141889120"
	for _, test := range []struct {
		name, method, host, target, contentType, authorization string
		status                                                 int
		want                                                   []string
	}{
		{"a presigned URL of version 2", "GET", "", "/bucket/key" + presigned, "", "", 400, v2},
		{"one of a virtual host", "PUT", "bucket.s3.amazonaws.com", "/key" + presigned, "", "", 400, v2},
		{"one that lists the buckets", "GET", "", "/" + presigned, "", "", 400, v2},
		{"one with a session token", "GET", "", "/bucket/key" + presigned + "&x-amz-security-token=t", "", "", 400, v2},
		{"a header of version 2", "GET", "", "/bucket/key", "", "AWS AKIAIOSFODNN7EXAMPLE:vjbyPxybdZaNmGa+yT272YEAiv4=", 400, v2},
		{"a form", "POST", "", "/bucket", form, "", 501, []string{"<Code>NotImplemented</Code>", "PostObject of S3 is not implemented"}},
		{"a form of a virtual host", "POST", "bucket.s3.localhost", "/", form, "", 501, []string{"PostObject of S3 is not implemented"}},
		{"no signature", "GET", "", "/bucket/key", "", "", 403, []string{"<Code>AccessDenied</Code>", "Access Denied. The request is not signed"}},
		{"a credential that cannot be read", "GET", "", "/bucket/key", "", "AWS4-HMAC-SHA256 Credential=AKIA/s3/aws4_request, SignedHeaders=host, Signature=0", 400,
			[]string{"<Code>AuthorizationHeaderMalformed</Code>", "5 slash-delimited elements"}},
		{"a presigned URL that cannot be read", "GET", "", "/bucket/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA/s3/aws4_request", "", "", 400,
			[]string{"<Code>AuthorizationQueryParametersError</Code>"}},
	} {
		r := httptest.NewRequest(test.method, w.url+test.target, strings.NewReader(""))
		r.RequestURI = ""
		if test.host != "" {
			r.Host = test.host
		}
		if test.contentType != "" {
			r.Header.Set("Content-Type", test.contentType)
		}
		if test.authorization != "" {
			r.Header.Set("Authorization", test.authorization)
		}
		status, body := w.send(r)
		if status != test.status {
			t.Errorf("%s: %d %s", test.name, status, body)
		}
		for _, want := range test.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: %d %s\nwant %s", test.name, status, body, want)
			}
		}
	}
}

// The keys of a world that was in memory are nobody's after its end.
func TestKeysOfAnotherWorldAreRefusedWithAHint(t *testing.T) {
	old, w := newWorld(t, localaws.Config{}), newWorld(t, localaws.Config{})
	role := old.role("role", trust(userPrincipal("admin"), assumeAndTag), "")
	session := old.assume(old.stsAs(old.aws.Admin()), sts.AssumeRoleInput{RoleArn: &role})
	const hint = `a world in memory has new ones after each start. Fix: eval "$(podid local env)".`
	_, err := w.stsAs(old.aws.Admin()).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	wantError(t, err, "InvalidClientTokenId", "The security token included in the request is invalid.", hint)
	_, err = w.iamAs(old.aws.Admin()).ListRoles(t.Context(), &iam.ListRolesInput{})
	wantError(t, err, "InvalidClientTokenId", hint)
	_, err = w.s3As(old.aws.Admin()).ListBuckets(t.Context(), &s3.ListBucketsInput{})
	wantError(t, err, "InvalidAccessKeyId", "does not exist in our records.", hint)
	_, err = w.s3As(session).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("bucket")})
	wantError(t, err, "InvalidToken", hint)
	r := httptest.NewRequest(http.MethodGet, "http://eks.us-east-1.amazonaws.com/clusters/local", nil)
	sign(t, old.aws.Admin(), r, "", "eks")
	_, err = w.aws.Authorize(r, "*", "eks:DescribeCluster")
	if err == nil || !strings.Contains(err.Error(), hint) {
		t.Errorf("EKS says %v", err)
	}
	// Who has the key and a wrong secret is not told so.
	wrong := w.aws.Admin()
	wrong.SecretAccessKey = old.aws.Admin().SecretAccessKey
	_, err = w.stsAs(wrong).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if wantError(t, err, "SignatureDoesNotMatch"); strings.Contains(err.Error(), hint) {
		t.Error(err)
	}
}
