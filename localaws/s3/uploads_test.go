package s3_test

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const mib = 1 << 20

// begin creates an upload of bucket/key.
func (w *world) begin(t testing.TB, in s3.CreateMultipartUploadInput) *string {
	t.Helper()
	in.Bucket, in.Key = aws.String("bucket"), aws.String("key")
	out, err := w.CreateMultipartUpload(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	return out.UploadId
}

// part uploads a part and returns it as completing needs it.
func (w *world) part(t testing.TB, id *string, number int32, content []byte, a types.ChecksumAlgorithm) types.CompletedPart {
	t.Helper()
	out, err := w.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: aws.String("bucket"), Key: aws.String("key"), UploadId: id, PartNumber: &number, Body: bytes.NewReader(content), ChecksumAlgorithm: a})
	if err != nil {
		t.Fatal(err)
	}
	return types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC32C: out.ChecksumCRC32C,
		ChecksumCRC64NVME: out.ChecksumCRC64NVME, ChecksumSHA1: out.ChecksumSHA1, ChecksumSHA256: out.ChecksumSHA256}
}

func (w *world) complete(t testing.TB, id *string, parts ...types.CompletedPart) (*s3.CompleteMultipartUploadOutput, error) {
	return w.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{Bucket: aws.String("bucket"), Key: aws.String("key"), UploadId: id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
}

func TestAMultipartUploadComesBackByteForByte(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.mustBucket(t, "bucket")
		for _, test := range []struct {
			algorithm types.ChecksumAlgorithm
			kind      types.ChecksumType
			size      int
		}{
			{"CRC32", "", 20*mib + 12345},
			{"", "", 6*mib + 1}, {"CRC32", "FULL_OBJECT", 6*mib + 1}, {"CRC32C", "FULL_OBJECT", 6*mib + 1},
			{"CRC64NVME", "", 6*mib + 1}, {"SHA256", "", 6*mib + 1}, {"SHA1", "COMPOSITE", 6*mib + 1},
		} {
			content := noise(test.size)
			in := s3.CreateMultipartUploadInput{ChecksumAlgorithm: test.algorithm, ChecksumType: test.kind, ContentType: aws.String("text/x-test"), Metadata: map[string]string{"colour": "blue"}, Tagging: aws.String("a=b")}
			id := w.begin(t, in)
			var parts []types.CompletedPart
			var etags []byte
			for i, piece := range slices.Collect(slices.Chunk(content, 6*mib)) {
				parts = append(parts, w.part(t, id, int32(2*i+1), piece, test.algorithm))
				sum := md5.Sum(piece)
				etags = append(etags, sum[:]...)
			}
			done, err := w.complete(t, id, parts...)
			if err != nil {
				t.Fatalf("%v: %v", test, err)
			}
			if want := fmt.Sprintf(`"%x-%d"`, md5.Sum(etags), len(parts)); *done.ETag != want {
				t.Errorf("%v: ETag %s, want %s", test, *done.ETag, want)
			}
			if composite := strings.HasSuffix(aws.ToString(done.ChecksumCRC32)+aws.ToString(done.ChecksumSHA256)+aws.ToString(done.ChecksumSHA1), fmt.Sprintf("-%d", len(parts))); composite != (done.ChecksumType == "COMPOSITE") {
				t.Errorf("%v: %+v", test, done)
			}
			// For a full-object checksum the SDK compares it with the content.
			got, err := w.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key"), ChecksumMode: "ENABLED"})
			if err != nil {
				t.Fatal(err)
			}
			back, err := io.ReadAll(got.Body)
			if err != nil || !bytes.Equal(back, content) {
				t.Fatalf("%v: %d bytes came back, %v", test, len(back), err)
			}
			if *got.ContentType != "text/x-test" || got.Metadata["colour"] != "blue" || aws.ToInt32(got.TagCount) != 1 || *got.ETag != *done.ETag || got.ChecksumType != done.ChecksumType {
				t.Errorf("%v: %+v", test, got)
			}
			from, to := 6*mib-3, min(12*mib+3, len(content)-1) // over up to three parts
			ranged, err := w.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key"), Range: aws.String(fmt.Sprintf("bytes=%d-%d", from, to))})
			if err != nil {
				t.Fatal(err)
			}
			if back, err = io.ReadAll(ranged.Body); err != nil || !bytes.Equal(back, content[from:to+1]) {
				t.Errorf("%v: a range over parts gave %d bytes, %v", test, len(back), err)
			}
			second, err := w.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key"), PartNumber: aws.Int32(3)})
			if err != nil {
				t.Fatal(err)
			}
			if back, err = io.ReadAll(second.Body); err != nil || !bytes.Equal(back, content[6*mib:min(12*mib, len(content))]) || int(*second.PartsCount) != len(parts) {
				t.Errorf("%v: the second part gave %d bytes, %v, of %d parts", test, len(back), err, *second.PartsCount)
			}
		}
		list, err := w.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String("bucket")})
		if err != nil || len(list.Uploads) != 0 {
			t.Errorf("uploads left: %+v, %v", list, err)
		}
	})
}

func TestCompletingIsRefusedForWhatIsNotThere(t *testing.T) {
	w := newWorld(t, nil)
	w.mustBucket(t, "bucket")
	id := w.begin(t, s3.CreateMultipartUploadInput{ChecksumAlgorithm: "CRC32"})
	big, small := noise(5*mib), noise(10)
	one, two, three := w.part(t, id, 1, big, "CRC32"), w.part(t, id, 2, small, "CRC32"), w.part(t, id, 3, small, "CRC32")
	_, err := w.complete(t, id, two, one)
	wantError(t, err, 400, "InvalidPartOrder")
	_, err = w.complete(t, id, one, one)
	wantError(t, err, 400, "InvalidPartOrder")
	_, err = w.complete(t, id, one, two, three)
	wantError(t, err, 400, "EntityTooSmall")
	wrong := two
	wrong.ETag = one.ETag
	_, err = w.complete(t, id, one, wrong)
	wantError(t, err, 400, "InvalidPart")
	wrong = two
	wrong.ChecksumCRC32 = one.ChecksumCRC32
	_, err = w.complete(t, id, one, wrong)
	wantError(t, err, 400, "InvalidPart")
	wrong = two
	wrong.PartNumber = aws.Int32(7)
	_, err = w.complete(t, id, one, wrong)
	wantError(t, err, 400, "InvalidPart")
	wrong = two
	wrong.ChecksumCRC32 = nil
	_, err = w.complete(t, id, one, wrong)
	wantError(t, err, 400, "InvalidRequest")
	_, err = w.complete(t, aws.String("unknown"), one)
	wantError(t, err, 404, "NoSuchUpload")
	complete := &s3.CompleteMultipartUploadInput{Bucket: aws.String("bucket"), Key: aws.String("key"), UploadId: id, MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{one, two}}, MpuObjectSize: aws.Int64(1)}
	_, err = w.CompleteMultipartUpload(t.Context(), complete)
	wantError(t, err, 400, "InvalidRequest")
	complete.MpuObjectSize, complete.ChecksumCRC32 = aws.Int64(5*mib+10), aws.String("AAAAAA==")
	_, err = w.CompleteMultipartUpload(t.Context(), complete)
	wantError(t, err, 400, "BadDigest")
	_, err = w.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: aws.String("bucket"), Key: aws.String("key"), UploadId: id, PartNumber: aws.Int32(1), Body: bytes.NewReader(small), ChecksumAlgorithm: "SHA1"})
	wantError(t, err, 400, "InvalidRequest")
	// None of that has spoiled the upload.
	if _, err := w.complete(t, id, one, two); err != nil {
		t.Error(err)
	}
	_, err = w.complete(t, id, one, two)
	wantError(t, err, 404, "NoSuchUpload")
}

func TestChecksumTypesThatDoNotGoTogetherAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	w.mustBucket(t, "bucket")
	for a, kind := range map[types.ChecksumAlgorithm]types.ChecksumType{"SHA256": "FULL_OBJECT", "SHA1": "FULL_OBJECT", "CRC64NVME": "COMPOSITE"} {
		_, err := w.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String("bucket"), Key: aws.String("key"), ChecksumAlgorithm: a, ChecksumType: kind})
		wantError(t, err, 400, "InvalidRequest")
	}
}

func TestPartsAndUploadsAreListedInPages(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.mustBucket(t, "bucket")
		id := w.begin(t, s3.CreateMultipartUploadInput{})
		for _, n := range []int32{10, 2, 7, 1, 7} {
			w.part(t, id, n, noise(int(n)), "")
		}
		var numbers []int32
		pages := s3.NewListPartsPaginator(w.Client, &s3.ListPartsInput{Bucket: aws.String("bucket"), Key: aws.String("key"), UploadId: id, MaxParts: aws.Int32(3)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range page.Parts {
				numbers = append(numbers, *p.PartNumber)
				if *p.Size != int64(*p.PartNumber) {
					t.Errorf("part %d has %d bytes", *p.PartNumber, *p.Size)
				}
			}
		}
		if !slices.Equal(numbers, []int32{1, 2, 7, 10}) {
			t.Errorf("parts %v", numbers)
		}

		for _, key := range []string{"a", "a", "b/1", "b/2", "c"} {
			if _, err := w.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String("bucket"), Key: &key}); err != nil {
				t.Fatal(err)
			}
		}
		for delimiter, want := range map[string]string{"": "a a b/1 b/2 c key", "/": "a a b/ c key"} {
			var got []string
			ids := make(map[string]bool)
			in := &s3.ListMultipartUploadsInput{Bucket: aws.String("bucket"), MaxUploads: aws.Int32(1), Delimiter: &delimiter}
			for range 10 {
				page, err := w.ListMultipartUploads(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				for _, u := range page.Uploads {
					got = append(got, *u.Key)
					if ids[*u.UploadId] {
						t.Errorf("upload of %s is listed twice", *u.Key)
					}
					ids[*u.UploadId] = true
				}
				for _, p := range page.CommonPrefixes {
					got = append(got, *p.Prefix)
				}
				if !*page.IsTruncated {
					break
				}
				in.KeyMarker, in.UploadIdMarker = page.NextKeyMarker, page.NextUploadIdMarker
			}
			if strings.Join(got, " ") != want {
				t.Errorf("delimiter %q: %q, want %q", delimiter, got, want)
			}
		}
		if _, err := w.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: aws.String("bucket"), Key: aws.String("key"), UploadId: id}); err != nil {
			t.Fatal(err)
		}
		_, err := w.ListParts(t.Context(), &s3.ListPartsInput{Bucket: aws.String("bucket"), Key: aws.String("key"), UploadId: id})
		wantError(t, err, 404, "NoSuchUpload")
		_, err = w.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: aws.String("bucket"), Key: aws.String("key"), UploadId: id})
		wantError(t, err, 404, "NoSuchUpload")
	})
}

func TestAttributesDescribeObjectAndParts(t *testing.T) {
	w := newWorld(t, nil)
	w.mustBucket(t, "bucket")
	id := w.begin(t, s3.CreateMultipartUploadInput{ChecksumAlgorithm: "SHA256"})
	done, err := w.complete(t, id, w.part(t, id, 1, noise(5*mib), "SHA256"), w.part(t, id, 2, noise(10), "SHA256"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := w.GetObjectAttributes(t.Context(), &s3.GetObjectAttributesInput{Bucket: aws.String("bucket"), Key: aws.String("key"), MaxParts: aws.Int32(1),
		ObjectAttributes: []types.ObjectAttributes{"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}})
	if err != nil {
		t.Fatal(err)
	}
	if `"`+*out.ETag+`"` != *done.ETag || *out.Checksum.ChecksumSHA256 != *done.ChecksumSHA256 || out.Checksum.ChecksumType != "COMPOSITE" || *out.ObjectSize != 5*mib+10 ||
		*out.ObjectParts.TotalPartsCount != 2 || !*out.ObjectParts.IsTruncated || len(out.ObjectParts.Parts) != 1 || *out.ObjectParts.Parts[0].Size != 5*mib {
		t.Errorf("%+v %+v", out, out.ObjectParts)
	}
}
