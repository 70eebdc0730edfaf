package s3_test

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	arnBucket = "arn:aws:s3:::bucket"
	arnKey    = "arn:aws:s3:::bucket/key"
)

// operationsAndActions are all operations with the actions that AWS documents
// for them (https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html).
var operationsAndActions = map[string]struct {
	call func(t *testing.T, w *world) error
	want []string // ACTION RESOURCE
}{
	"ListBuckets": {func(t *testing.T, w *world) error {
		_, err := w.ListBuckets(t.Context(), &s3.ListBucketsInput{})
		return err
	}, []string{"s3:ListAllMyBuckets *"}},
	"CreateBucket": {func(t *testing.T, w *world) error {
		_, err := w.CreateBucket(t.Context(), createInput("bucket"))
		return err
	}, []string{"s3:CreateBucket " + arnBucket}},
	"DeleteBucket": {func(t *testing.T, w *world) error {
		_, err := w.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: aws.String("bucket")})
		return err
	}, []string{"s3:DeleteBucket " + arnBucket}},
	"HeadBucket": {func(t *testing.T, w *world) error {
		_, err := w.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String("bucket")})
		return err
	}, []string{"s3:ListBucket " + arnBucket}},
	"GetBucketLocation": {func(t *testing.T, w *world) error {
		_, err := w.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: aws.String("bucket")})
		return err
	}, []string{"s3:GetBucketLocation " + arnBucket}},
	"ListObjects": {func(t *testing.T, w *world) error {
		_, err := w.ListObjects(t.Context(), &s3.ListObjectsInput{Bucket: aws.String("bucket")})
		return err
	}, []string{"s3:ListBucket " + arnBucket}},
	"ListObjectsV2": {func(t *testing.T, w *world) error {
		_, err := w.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("bucket")})
		return err
	}, []string{"s3:ListBucket " + arnBucket}},
	"PutObject": {func(t *testing.T, w *world) error {
		_, err := w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key"), Body: strings.NewReader("x"), Tagging: aws.String("a=b")})
		return err
	}, []string{"s3:PutObject " + arnKey, "s3:PutObjectTagging " + arnKey}},
	"GetObject": {func(t *testing.T, w *world) error {
		_, err := w.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key")})
		return err
	}, []string{"s3:GetObject " + arnKey}},
	"HeadObject": {func(t *testing.T, w *world) error {
		_, err := w.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key")})
		return err
	}, []string{"s3:GetObject " + arnKey}},
	"GetObjectAttributes": {func(t *testing.T, w *world) error {
		_, err := w.GetObjectAttributes(t.Context(), &s3.GetObjectAttributesInput{Bucket: aws.String("bucket"), Key: aws.String("key"), ObjectAttributes: []types.ObjectAttributes{"ETag"}})
		return err
	}, []string{"s3:GetObject " + arnKey, "s3:GetObjectAttributes " + arnKey}},
	"DeleteObject": {func(t *testing.T, w *world) error {
		_, err := w.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key")})
		return err
	}, []string{"s3:DeleteObject " + arnKey}},
	"CopyObject": {func(t *testing.T, w *world) error {
		_, err := w.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String("bucket"), Key: aws.String("copy"), CopySource: aws.String("bucket/key")})
		return err
	}, []string{"s3:GetObject " + arnKey, "s3:GetObjectTagging " + arnKey, "s3:PutObject " + arnBucket + "/copy", "s3:PutObjectTagging " + arnBucket + "/copy"}},
	"GetObjectTagging": {func(t *testing.T, w *world) error {
		_, err := w.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: aws.String("bucket"), Key: aws.String("key")})
		return err
	}, []string{"s3:GetObjectTagging " + arnKey}},
	"PutObjectTagging": {func(t *testing.T, w *world) error {
		_, err := w.PutObjectTagging(t.Context(), &s3.PutObjectTaggingInput{Bucket: aws.String("bucket"), Key: aws.String("key"), Tagging: &types.Tagging{TagSet: []types.Tag{}}})
		return err
	}, []string{"s3:PutObjectTagging " + arnKey}},
	"DeleteObjectTagging": {func(t *testing.T, w *world) error {
		_, err := w.DeleteObjectTagging(t.Context(), &s3.DeleteObjectTaggingInput{Bucket: aws.String("bucket"), Key: aws.String("key")})
		return err
	}, []string{"s3:DeleteObjectTagging " + arnKey}},
	"CreateMultipartUpload": {func(t *testing.T, w *world) error {
		_, err := w.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String("bucket"), Key: aws.String("key")})
		return err
	}, []string{"s3:PutObject " + arnKey}},
	"UploadPart": {func(t *testing.T, w *world) error {
		_, err := w.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: aws.String("bucket"), Key: aws.String("key"), UploadId: aws.String("1"), PartNumber: aws.Int32(1), Body: strings.NewReader("x")})
		return err
	}, []string{"s3:PutObject " + arnKey}},
	"UploadPartCopy": {func(t *testing.T, w *world) error {
		_, err := w.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{Bucket: aws.String("bucket"), Key: aws.String("copy"), UploadId: aws.String("1"), PartNumber: aws.Int32(1), CopySource: aws.String("bucket/key")})
		return err
	}, []string{"s3:GetObject " + arnKey, "s3:PutObject " + arnBucket + "/copy"}},
	"CompleteMultipartUpload": {func(t *testing.T, w *world) error {
		_, err := w.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{Bucket: aws.String("bucket"), Key: aws.String("key"), UploadId: aws.String("1"),
			MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: aws.String("a")}}}})
		return err
	}, []string{"s3:PutObject " + arnKey}},
	"AbortMultipartUpload": {func(t *testing.T, w *world) error {
		_, err := w.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: aws.String("bucket"), Key: aws.String("key"), UploadId: aws.String("1")})
		return err
	}, []string{"s3:AbortMultipartUpload " + arnKey}},
	"ListParts": {func(t *testing.T, w *world) error {
		_, err := w.ListParts(t.Context(), &s3.ListPartsInput{Bucket: aws.String("bucket"), Key: aws.String("key"), UploadId: aws.String("1")})
		return err
	}, []string{"s3:ListMultipartUploadParts " + arnKey}},
	"ListMultipartUploads": {func(t *testing.T, w *world) error {
		_, err := w.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String("bucket")})
		return err
	}, []string{"s3:ListBucketMultipartUploads " + arnBucket}},
}

func TestEveryOperationAsksForItsActions(t *testing.T) {
	for name, test := range operationsAndActions {
		w := newWorld(t, nil)
		if name != "CreateBucket" && name != "DeleteBucket" {
			w.mustBucket(t, "bucket")
			if _, err := w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key"), Body: strings.NewReader("x"), Tagging: aws.String("a=b")}); err != nil {
				t.Fatal(err)
			}
		}
		w.asked = nil
		_ = test.call(t, w) // a missing upload may be an error: the question comes first
		var asked []string
		for _, q := range w.asked {
			asked = append(asked, q.action+" "+q.resource)
		}
		if !slices.Equal(asked, test.want) {
			t.Errorf("%s asks for %q, want %q", name, asked, test.want)
		}
	}
}

func TestADeniedCallerLearnsNothing(t *testing.T) {
	// Once with everything there, once with nothing: the answers are the same.
	there, nowhere := newWorld(t, nil), newWorld(t, nil)
	there.mustBucket(t, "bucket")
	there.mustPut(t, "bucket", "key", []byte("x"))
	for name, test := range operationsAndActions {
		for _, denied := range test.want[:1] {
			for _, w := range []*world{there, nowhere} {
				w.deny = func(action, resource string) bool { return action+" "+resource == denied }
				err := test.call(t, w)
				code := "AccessDenied"
				if strings.HasPrefix(name, "Head") {
					code = "Forbidden"
				}
				if err == nil || !strings.Contains(err.Error(), code) || !strings.Contains(err.Error(), "StatusCode: 403") {
					t.Errorf("%s without %s: %v", name, denied, err)
				}
			}
		}
	}
}

func TestAMissingKeyIsToldOnlyToThoseWhoMayList(t *testing.T) {
	w := newWorld(t, nil)
	w.mustBucket(t, "bucket")
	get := func() error {
		_, err := w.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key")})
		return err
	}
	wantError(t, get(), 404, "NoSuchKey")
	w.deny = func(action, _ string) bool { return action == "s3:ListBucket" }
	wantError(t, get(), 403, "AccessDenied")
	_, err := w.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String("bucket"), Key: aws.String("copy"), CopySource: aws.String("bucket/key")})
	wantError(t, err, 403, "AccessDenied")
	w.mustPut(t, "bucket", "key", []byte("x"))
	if err := get(); err != nil {
		t.Errorf("a key that is there: %v", err)
	}
}

func TestConditionKeysComeFromTheRequest(t *testing.T) {
	w := newWorld(t, nil)
	w.mustBucket(t, "bucket")
	if _, err := w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key"), Body: bytes.NewReader(nil), Tagging: aws.String("team=blue"), ACL: "private", IfNoneMatch: aws.String("*")}); err != nil {
		t.Fatal(err)
	}
	_, err := w.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("bucket"), Prefix: aws.String("home/"), Delimiter: aws.String("/"), MaxKeys: aws.Int32(7)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("bucket")}); err != nil {
		t.Fatal(err)
	}
	w.mustGet(t, "bucket", "key")
	for i, want := range []map[string]string{
		{"s3:locationconstraint": region},
		{"s3:RequestObjectTag/team": "blue", "s3:RequestObjectTagKeys": "team", "s3:x-amz-acl": "private", "s3:if-none-match": "*"},
		{"s3:RequestObjectTag/team": "blue", "s3:RequestObjectTagKeys": "team", "s3:x-amz-acl": "private", "s3:if-none-match": "*"},
		{"s3:prefix": "home/", "s3:delimiter": "/", "s3:max-keys": "7"},
		{},
		{"s3:ExistingObjectTag/team": "blue"},
	} {
		got := make(map[string]string)
		for name, values := range w.asked[i].keys {
			if name != "s3:x-amz-content-sha256" {
				got[name] = strings.Join(values, ",")
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s got %v, want %v", w.asked[i].action, got, want)
		}
	}
}
