package s3_test

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestACopyOutlivesItsSource(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.mustBucket(t, "bucket")
		w.mustBucket(t, "other")
		content := noise(100_000)
		put, err := w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("ä b"), Body: bytes.NewReader(content), ContentType: aws.String("text/x-test"), Metadata: map[string]string{"colour": "blue"}})
		if err != nil {
			t.Fatal(err)
		}
		out, err := w.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String("other"), Key: aws.String("copy"), CopySource: aws.String("/bucket/%C3%A4%20b")})
		if err != nil {
			t.Fatal(err)
		}
		if *out.CopyObjectResult.ETag != *put.ETag || *out.CopyObjectResult.ChecksumCRC32 != *put.ChecksumCRC32 {
			t.Errorf("%+v", out.CopyObjectResult)
		}
		if _, err := w.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("bucket"), Key: aws.String("ä b")}); err != nil {
			t.Fatal(err)
		}
		if got := w.mustGet(t, "other", "copy"); !bytes.Equal(got, content) {
			t.Errorf("the copy has %d bytes", len(got))
		}
		head, err := w.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("other"), Key: aws.String("copy")})
		if err != nil || *head.ContentType != "text/x-test" || head.Metadata["colour"] != "blue" {
			t.Errorf("%+v, %v", head, err)
		}
		// Onto itself, with new metadata and another checksum.
		again, err := w.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String("other"), Key: aws.String("copy"), CopySource: aws.String("other/copy"), MetadataDirective: "REPLACE",
			Metadata: map[string]string{"colour": "red"}, ChecksumAlgorithm: "SHA256"})
		if err != nil || again.CopyObjectResult.ChecksumSHA256 == nil {
			t.Fatalf("%+v, %v", again, err)
		}
		head, err = w.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("other"), Key: aws.String("copy")})
		if err != nil || head.Metadata["colour"] != "red" || *head.ContentType != "binary/octet-stream" {
			t.Errorf("%+v, %v", head, err)
		}
		if got := w.mustGet(t, "other", "copy"); !bytes.Equal(got, content) {
			t.Errorf("the copy of the copy has %d bytes", len(got))
		}
		_, err = w.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String("other"), Key: aws.String("copy"), CopySource: aws.String("other/copy")})
		wantError(t, err, 400, "InvalidRequest")
		_, err = w.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String("other"), Key: aws.String("x"), CopySource: aws.String("other/absent")})
		wantError(t, err, 404, "NoSuchKey")
		_, err = w.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String("other"), Key: aws.String("x"), CopySource: aws.String("other/copy"), CopySourceIfNoneMatch: put.ETag})
		wantError(t, err, 412, "PreconditionFailed")
		_, err = w.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String("other"), Key: aws.String("x"), CopySource: aws.String("other/copy"), CopySourceIfMatch: aws.String("other")})
		wantError(t, err, 412, "PreconditionFailed")
	})
}

func TestPartsMayBeCopied(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.mustBucket(t, "bucket")
		content := noise(10 * mib)
		w.mustPut(t, "bucket", "source", content)
		id := w.begin(t, s3.CreateMultipartUploadInput{ChecksumAlgorithm: "CRC32"})
		var parts []types.CompletedPart
		for i, asked := range []string{fmt.Sprintf("bytes=0-%d", 5*mib-1), fmt.Sprintf("bytes=%d-%d", 5*mib, 10*mib-1), ""} {
			in := &s3.UploadPartCopyInput{Bucket: aws.String("bucket"), Key: aws.String("key"), UploadId: id, PartNumber: aws.Int32(int32(i + 1)), CopySource: aws.String("bucket/source")}
			if asked != "" {
				in.CopySourceRange = &asked
			}
			out, err := w.UploadPartCopy(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, types.CompletedPart{PartNumber: in.PartNumber, ETag: out.CopyPartResult.ETag, ChecksumCRC32: out.CopyPartResult.ChecksumCRC32})
		}
		if _, err := w.complete(t, id, parts...); err != nil {
			t.Fatal(err)
		}
		if _, err := w.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("bucket"), Key: aws.String("source")}); err != nil {
			t.Fatal(err)
		}
		if got := w.mustGet(t, "bucket", "key"); !bytes.Equal(got, append(content[:10*mib:10*mib], content...)) {
			t.Errorf("%d bytes came back", len(got))
		}
		// A copy of what came in parts is of one piece.
		out, err := w.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String("bucket"), Key: aws.String("whole"), CopySource: aws.String("bucket/key")})
		if want := fmt.Sprintf(`"%x"`, md5.Sum(append(content[:10*mib:10*mib], content...))); err != nil || *out.CopyObjectResult.ETag != want || out.CopyObjectResult.ChecksumType != "FULL_OBJECT" {
			t.Errorf("%+v, %v, want %s", out, err, want)
		}
		id = w.begin(t, s3.CreateMultipartUploadInput{})
		for _, asked := range []string{"bytes=0-99999999999", "bytes=5-1", "bytes=-5", "0-5"} {
			_, err := w.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{Bucket: aws.String("bucket"), Key: aws.String("key"), UploadId: id, PartNumber: aws.Int32(1), CopySource: aws.String("bucket/whole"), CopySourceRange: &asked})
			wantError(t, err, 400, "InvalidArgument")
		}
	})
}
