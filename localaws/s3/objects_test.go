package s3_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func inRegion(region string) *types.CreateBucketConfiguration {
	return &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(region)}
}

func TestAnObjectComesBackAsItWasPut(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.mustBucket(t, "bucket")
		for _, size := range []int{0, 1, 300_000, 3 << 20} {
			content := noise(size)
			put, err := w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("dir/ä b+c%?.bin"), Body: bytes.NewReader(content),
				ContentType: aws.String("text/x-test"), ContentEncoding: aws.String("identity"), ContentDisposition: aws.String("attachment"),
				ContentLanguage: aws.String("de"), CacheControl: aws.String("no-store"), Expires: aws.Time(time.Unix(1e9, 0)),
				Metadata: map[string]string{"colour": "blue", "shape": "round"}})
			if err != nil {
				t.Fatal(err)
			}
			etag := fmt.Sprintf(`"%x"`, md5.Sum(content))
			if *put.ETag != etag {
				t.Errorf("ETag of the put is %s, want %s", *put.ETag, etag)
			}
			got, err := w.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("dir/ä b+c%?.bin"), ChecksumMode: "ENABLED"})
			if err != nil {
				t.Fatal(err)
			}
			back, err := io.ReadAll(got.Body)
			if err != nil || !bytes.Equal(back, content) {
				t.Fatalf("%d bytes came back as %d, %v", size, len(back), err)
			}
			if *got.ETag != etag || *got.ContentType != "text/x-test" || *got.ContentEncoding != "identity" || *got.ContentDisposition != "attachment" ||
				*got.ContentLanguage != "de" || *got.CacheControl != "no-store" || *got.ExpiresString != "Sun, 09 Sep 2001 01:46:40 GMT" ||
				*got.ContentLength != int64(size) || time.Since(*got.LastModified) > time.Hour {
				t.Errorf("the headers came back as %+v", got)
			}
			if want := map[string]string{"colour": "blue", "shape": "round"}; !maps.Equal(got.Metadata, want) {
				t.Errorf("metadata came back as %v", got.Metadata)
			}
			head, err := w.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: aws.String("dir/ä b+c%?.bin"), ChecksumMode: "ENABLED"})
			if err != nil {
				t.Fatal(err)
			}
			if *head.ContentLength != int64(size) || *head.ETag != etag || aws.ToString(head.ChecksumCRC32) == "" || aws.ToString(head.ChecksumCRC32) != aws.ToString(put.ChecksumCRC32) {
				t.Errorf("HEAD says %+v", head)
			}
		}
	})
}

func TestEveryChecksumIsVerifiedStoredAndReturned(t *testing.T) {
	w := newWorld(t, nil)
	w.mustBucket(t, "bucket")
	content := noise(100_000)
	for _, a := range []types.ChecksumAlgorithm{"CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"} {
		// By trailer, as the SDK sends a stream it can rewind.
		put, err := w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String(string(a)), Body: bytes.NewReader(content), ChecksumAlgorithm: a})
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String(string(a)), ChecksumMode: "ENABLED"})
		if err != nil {
			t.Fatal(err)
		}
		// The SDK compares the content with the checksum while it is read.
		if _, err := io.Copy(io.Discard, got.Body); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		for name, pair := range map[types.ChecksumAlgorithm][2]*string{
			"CRC32": {put.ChecksumCRC32, got.ChecksumCRC32}, "CRC32C": {put.ChecksumCRC32C, got.ChecksumCRC32C},
			"CRC64NVME": {put.ChecksumCRC64NVME, got.ChecksumCRC64NVME}, "SHA1": {put.ChecksumSHA1, got.ChecksumSHA1}, "SHA256": {put.ChecksumSHA256, got.ChecksumSHA256},
		} {
			if (pair[0] != nil) != (name == a) || aws.ToString(pair[0]) != aws.ToString(pair[1]) {
				t.Errorf("put with %s: %s is %v in the put and %v in the get", a, name, aws.ToString(pair[0]), aws.ToString(pair[1]))
			}
		}
		if got.ChecksumType != types.ChecksumTypeFullObject {
			t.Errorf("%s: type %s", a, got.ChecksumType)
		}
	}
}

func TestAFalseDigestStoresNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.mustBucket(t, "bucket")
		sum := base64.StdEncoding.EncodeToString(make([]byte, 16))
		_, err := w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a"), Body: strings.NewReader("x"), ContentMD5: &sum})
		wantError(t, err, 400, "BadDigest")
		_, err = w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a"), Body: strings.NewReader("x"), ChecksumCRC32: aws.String("AAAAAA==")})
		wantError(t, err, 400, "BadDigest")
		_, err = w.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a")})
		wantError(t, err, 404, "NotFound")
	})
}

func TestRangesGiveWhatTheyAskFor(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.mustBucket(t, "bucket")
		content := noise(3_000_000)
		w.mustPut(t, "bucket", "a", content)
		w.mustPut(t, "bucket", "empty", nil)
		get := func(key, asked string) (string, []byte, error) {
			out, err := w.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: &key, Range: &asked})
			if err != nil {
				return "", nil, err
			}
			defer out.Body.Close()
			body, err := io.ReadAll(out.Body)
			return aws.ToString(out.ContentRange), body, err
		}
		for asked, want := range map[string]struct{ from, to int }{
			"bytes=0-0": {0, 1}, "bytes=0-": {0, 3_000_000}, "bytes=1048570-1048580": {1048570, 1048581}, "bytes=2999999-": {2_999_999, 3_000_000},
			"bytes=-5": {2_999_995, 3_000_000}, "bytes=-9999999": {0, 3_000_000}, "bytes=5-99999999": {5, 3_000_000},
		} {
			header, body, err := get("a", asked)
			if err != nil || !bytes.Equal(body, content[want.from:want.to]) || header != fmt.Sprintf("bytes %d-%d/3000000", want.from, want.to-1) {
				t.Errorf("%s: %d bytes, %s, %v", asked, len(body), header, err)
			}
		}
		for _, asked := range []string{"bytes=9-5", "bytes=a-b", "lines=1-2", "bytes=1-2,4-5", "bytes=--1"} {
			if header, body, err := get("a", asked); err != nil || header != "" || len(body) != len(content) {
				t.Errorf("%s: %d bytes, %s, %v; it should be ignored", asked, len(body), header, err)
			}
		}
		for _, asked := range []string{"bytes=3000000-", "bytes=-0"} {
			_, _, err := get("a", asked)
			wantError(t, err, 416, "InvalidRange")
		}
		_, _, err := get("empty", "bytes=0-")
		wantError(t, err, 416, "InvalidRange")
	})
}

func TestConditionsOfReadsHold(t *testing.T) {
	w := newWorld(t, nil)
	w.mustBucket(t, "bucket")
	put := w.mustPut(t, "bucket", "a", []byte("content"))
	other, past, future := aws.String(`"other"`), aws.Time(time.Now().Add(-time.Hour)), aws.Time(time.Now().Add(time.Hour))
	for name, test := range map[string]struct {
		in     s3.GetObjectInput
		status int
		code   string
	}{
		"match":                          {s3.GetObjectInput{IfMatch: put.ETag}, 200, ""},
		"match *":                        {s3.GetObjectInput{IfMatch: aws.String("*")}, 200, ""},
		"match another":                  {s3.GetObjectInput{IfMatch: other}, 412, "PreconditionFailed"},
		"none match":                     {s3.GetObjectInput{IfNoneMatch: put.ETag}, 304, "NotModified"},
		"none match another":             {s3.GetObjectInput{IfNoneMatch: other}, 200, ""},
		"modified":                       {s3.GetObjectInput{IfModifiedSince: past}, 200, ""},
		"not modified":                   {s3.GetObjectInput{IfModifiedSince: future}, 304, "NotModified"},
		"unmodified":                     {s3.GetObjectInput{IfUnmodifiedSince: future}, 200, ""},
		"not unmodified":                 {s3.GetObjectInput{IfUnmodifiedSince: past}, 412, "PreconditionFailed"},
		"match beats unmodified":         {s3.GetObjectInput{IfMatch: put.ETag, IfUnmodifiedSince: past}, 200, ""},
		"none match beats modified":      {s3.GetObjectInput{IfNoneMatch: other, IfModifiedSince: future}, 200, ""},
		"a match does not excuse a none": {s3.GetObjectInput{IfMatch: put.ETag, IfNoneMatch: put.ETag}, 304, "NotModified"},
	} {
		test.in.Bucket, test.in.Key = aws.String("bucket"), aws.String("a")
		_, err := w.GetObject(t.Context(), &test.in)
		if test.status == 200 {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("StatusCode: %d", test.status)) {
			t.Errorf("%s: %v, want %d", name, err, test.status)
		}
	}
}

func TestConditionsOfWritesHold(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.mustBucket(t, "bucket")
		put := func(in s3.PutObjectInput) (*s3.PutObjectOutput, error) {
			in.Bucket, in.Key, in.Body = aws.String("bucket"), aws.String("a"), strings.NewReader("x")
			return w.PutObject(t.Context(), &in)
		}
		_, err := put(s3.PutObjectInput{IfMatch: aws.String(`"x"`)})
		wantError(t, err, 404, "NoSuchKey")
		first, err := put(s3.PutObjectInput{IfNoneMatch: aws.String("*")})
		if err != nil {
			t.Fatal(err)
		}
		_, err = put(s3.PutObjectInput{IfNoneMatch: aws.String("*")})
		wantError(t, err, 412, "PreconditionFailed")
		_, err = put(s3.PutObjectInput{IfMatch: aws.String(`"x"`)})
		wantError(t, err, 412, "PreconditionFailed")
		if _, err = put(s3.PutObjectInput{IfMatch: first.ETag}); err != nil {
			t.Error(err)
		}
		_, err = put(s3.PutObjectInput{IfNoneMatch: aws.String(`"x"`)})
		wantError(t, err, 501, "NotImplemented")
		_, err = w.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a"), IfMatch: aws.String(`"x"`)})
		wantError(t, err, 412, "PreconditionFailed")
	})
}

func TestResponseParametersOverrideHeaders(t *testing.T) {
	w := newWorld(t, nil)
	w.mustBucket(t, "bucket")
	w.mustPut(t, "bucket", "a", []byte("x"))
	out, err := w.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a"), ResponseContentType: aws.String("text/plain"),
		ResponseCacheControl: aws.String("max-age=1"), ResponseContentDisposition: aws.String("inline"), ResponseContentLanguage: aws.String("en"), ResponseContentEncoding: aws.String("identity")})
	if err != nil {
		t.Fatal(err)
	}
	if *out.ContentType != "text/plain" || *out.CacheControl != "max-age=1" || *out.ContentDisposition != "inline" || *out.ContentLanguage != "en" || *out.ContentEncoding != "identity" {
		t.Errorf("%+v", out)
	}
}

func TestDeletingIsQuietAboutWhatIsNotThere(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.mustBucket(t, "bucket")
		w.mustPut(t, "bucket", "a", []byte("x"))
		for range 2 {
			if _, err := w.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a")}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := w.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a")})
		wantError(t, err, 404, "NoSuchKey")
	})
}

func TestBatchDeleteTellsOfEachKey(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.mustBucket(t, "bucket")
		var ids []types.ObjectIdentifier
		for i := range 20 {
			key := fmt.Sprintf("key <%d> & \"more\"", i)
			w.mustPut(t, "bucket", key, []byte("x"))
			ids = append(ids, types.ObjectIdentifier{Key: &key})
		}
		ids = append(ids, types.ObjectIdentifier{Key: aws.String("secret/a")}, types.ObjectIdentifier{Key: aws.String("absent")}, types.ObjectIdentifier{Key: aws.String("absent")},
			types.ObjectIdentifier{Key: aws.String("versioned"), VersionId: aws.String("1")})
		w.mustPut(t, "bucket", "secret/a", []byte("x"))
		w.deny = func(_, resource string) bool { return strings.HasSuffix(resource, "secret/a") }
		out, err := w.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: aws.String("bucket"), Delete: &types.Delete{Objects: ids}})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Deleted) != 21 || len(out.Errors) != 2 || *out.Errors[0].Key != "secret/a" || *out.Errors[0].Code != "AccessDenied" || *out.Errors[1].Code != "NotImplemented" {
			t.Errorf("deleted %d, errors %+v", len(out.Deleted), out.Errors)
		}
		list, err := w.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("bucket")})
		if err != nil || len(list.Contents) != 1 || *list.Contents[0].Key != "secret/a" {
			t.Errorf("left: %v, %v", list, err)
		}
		quiet, err := w.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: aws.String("bucket"), Delete: &types.Delete{Objects: ids[:3], Quiet: aws.Bool(true)}})
		if err != nil || len(quiet.Deleted) != 0 {
			t.Errorf("quiet: %+v, %v", quiet, err)
		}
	})
}

func TestTagsStayWithTheirObject(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.mustBucket(t, "bucket")
		if _, err := w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a"), Body: strings.NewReader("x"), Tagging: aws.String("team=blue&stage=a%20b")}); err != nil {
			t.Fatal(err)
		}
		wantTags := func(key string, want map[string]string) {
			t.Helper()
			out, err := w.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: aws.String("bucket"), Key: &key})
			if err != nil {
				t.Fatal(err)
			}
			got := make(map[string]string)
			for _, tag := range out.TagSet {
				got[*tag.Key] = *tag.Value
			}
			if !maps.Equal(got, want) {
				t.Errorf("tags of %s are %v, want %v", key, got, want)
			}
		}
		wantTags("a", map[string]string{"team": "blue", "stage": "a b"})
		if _, err := w.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String("bucket"), Key: aws.String("b"), CopySource: aws.String("bucket/a")}); err != nil {
			t.Fatal(err)
		}
		wantTags("b", map[string]string{"team": "blue", "stage": "a b"})
		if _, err := w.PutObjectTagging(t.Context(), &s3.PutObjectTaggingInput{Bucket: aws.String("bucket"), Key: aws.String("a"), Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}}); err != nil {
			t.Fatal(err)
		}
		wantTags("a", map[string]string{"k": "v"})
		head, err := w.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a")})
		if err != nil || aws.ToInt32(head.TagCount) != 1 {
			t.Errorf("TagCount %v, %v", head.TagCount, err)
		}
		if _, err := w.DeleteObjectTagging(t.Context(), &s3.DeleteObjectTaggingInput{Bucket: aws.String("bucket"), Key: aws.String("a")}); err != nil {
			t.Fatal(err)
		}
		wantTags("a", map[string]string{})
		if got := w.mustGet(t, "bucket", "a"); string(got) != "x" {
			t.Errorf("content after retagging: %q", got)
		}
	})
}
