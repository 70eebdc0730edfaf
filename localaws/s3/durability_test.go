package s3_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/openpodidentity/podid/internal/journal"
	locals3 "github.com/openpodidentity/podid/localaws/s3"
	"github.com/openpodidentity/podid/problem"
)

func bodyFiles(t testing.TB, j *journal.Journal) []string {
	t.Helper()
	entries, err := os.ReadDir(j.Blobs())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "s3-") {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestEverythingIsThereAfterARestart(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	w := newWorld(t, j)
	w.mustBucket(t, "bucket")
	w.mustBucket(t, "gone")
	content := noise(200_000)
	if _, err := w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("dir/ä"), Body: bytes.NewReader(content), ContentType: aws.String("text/x-test"), Metadata: map[string]string{"colour": "blüe"}, Tagging: aws.String("a=b")}); err != nil {
		t.Fatal(err)
	}
	w.mustPut(t, "bucket", "empty", nil)
	w.mustPut(t, "bucket", "deleted", []byte("x"))
	if _, err := w.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String("bucket"), Key: aws.String("copy"), CopySource: aws.String("bucket/dir/%C3%A4")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("bucket"), Key: aws.String("deleted")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: aws.String("gone")}); err != nil {
		t.Fatal(err)
	}
	id := w.begin(t, s3.CreateMultipartUploadInput{ChecksumAlgorithm: "CRC32", Metadata: map[string]string{"k": "v"}})
	one := w.part(t, id, 1, noise(5*mib), "CRC32")
	w.server.Close()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	j = openJournal(t, dir)
	w = newWorld(t, j)
	for _, key := range []string{"dir/ä", "copy"} {
		out, err := w.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: &key, ChecksumMode: "ENABLED"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(out.Body); err != nil || !bytes.Equal(got, content) || *out.ContentType != "text/x-test" || out.Metadata["colour"] != "blüe" || *out.TagCount != 1 {
			t.Errorf("%s: %d bytes, %+v, %v", key, len(got), out, err)
		}
	}
	list, err := w.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("bucket")})
	if err != nil || len(list.Contents) != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	buckets, err := w.ListBuckets(t.Context(), &s3.ListBucketsInput{})
	if err != nil || len(buckets.Buckets) != 1 {
		t.Errorf("%+v, %v", buckets, err)
	}
	// An upload goes on where it was.
	if _, err := w.complete(t, id, one, w.part(t, id, 2, []byte("end"), "CRC32")); err != nil {
		t.Fatal(err)
	}
	if got := w.mustGet(t, "bucket", "key"); !bytes.Equal(got, append(noise(5*mib), "end"...)) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestNoBodyIsLeftBehind(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	w := newWorld(t, j)
	w.mustBucket(t, "bucket")
	for range 3 {
		w.mustPut(t, "bucket", "key", noise(1000)) // overwritten
	}
	if _, err := w.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: aws.String("bucket"), Key: aws.String("copy"), CopySource: aws.String("bucket/key")}); err != nil {
		t.Fatal(err)
	}
	if n := len(bodyFiles(t, j)); n != 1 {
		t.Errorf("an object and its copy have %d bodies", n)
	}
	_, err := w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("bad"), Body: strings.NewReader("x"), ContentMD5: aws.String("AAAAAAAAAAAAAAAAAAAAAA==")})
	wantError(t, err, 400, "BadDigest")
	id := w.begin(t, s3.CreateMultipartUploadInput{})
	for range 2 {
		w.part(t, id, 1, noise(10), "")
	}
	w.part(t, id, 2, noise(10), "")
	if n := len(bodyFiles(t, j)); n != 3 {
		t.Errorf("with two parts there are %d bodies", n)
	}
	if _, err := w.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: aws.String("bucket"), Key: aws.String("key"), UploadId: id}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"key", "copy"} {
		if got := w.mustGet(t, "bucket", key); !bytes.Equal(got, noise(1000)) {
			t.Errorf("%s: %d bytes", key, len(got))
		}
		if _, err := w.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("bucket"), Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
	if left := bodyFiles(t, j); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestOrphansAreSweptAndLossesNamed(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	w := newWorld(t, j)
	w.mustBucket(t, "bucket")
	w.mustPut(t, "bucket", "key", noise(1000))
	body := bodyFiles(t, j)[0]
	foreign := filepath.Join(j.Blobs(), "not-of-s3")
	for _, path := range []string{filepath.Join(j.Blobs(), "s3-ORPHAN"), filepath.Join(j.Blobs(), "s3-unfinished-123"), foreign} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reopen := func() error {
		_, err := locals3.New(account, region, j, allowAll)
		return err
	}
	if err := reopen(); err != nil {
		t.Fatal(err)
	}
	if left := bodyFiles(t, j); len(left) != 1 || left[0] != body {
		t.Errorf("after the sweep: %v", left)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("what is not S3's was swept: %v", err)
	}
	path := filepath.Join(j.Blobs(), body)
	if err := os.Truncate(path, 999); err != nil {
		t.Fatal(err)
	}
	if err := reopen(); !problem.Is(err, problem.DataDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("a body that was cut: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := reopen(); !problem.Is(err, problem.DataDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("a body that is missing: %v", err)
	}
}

func TestAGetIsNotDisturbedByADelete(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.mustBucket(t, "bucket")
		id := w.begin(t, s3.CreateMultipartUploadInput{})
		content := noise(11 * mib)
		one, two, three := w.part(t, id, 1, content[:5*mib], ""), w.part(t, id, 2, content[5*mib:10*mib], ""), w.part(t, id, 3, content[10*mib:], "")
		if _, err := w.complete(t, id, one, two, three); err != nil {
			t.Fatal(err)
		}
		out, err := w.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key")})
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 1000)
		if _, err := io.ReadFull(out.Body, head); err != nil {
			t.Fatal(err)
		}
		if _, err := w.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key")}); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(out.Body)
		if err != nil || !bytes.Equal(append(head, rest...), content) {
			t.Errorf("%d bytes, %v", len(head)+len(rest), err)
		}
	})
}

func TestConcurrentWritersEachSucceedOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		w.mustBucket(t, "bucket")
		var wg sync.WaitGroup
		var mu sync.Mutex
		first := 0
		for n := range 8 {
			wg.Go(func() {
				// One of the eight creates the key.
				_, err := w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("once"), Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")})
				if err == nil {
					mu.Lock()
					first++
					mu.Unlock()
				} else {
					wantError(t, err, 412, "PreconditionFailed")
				}
				for i := range 5 {
					key := fmt.Sprintf("key-%d", (n+i)%4)
					content := bytes.Repeat([]byte{byte(n)}, 10_000+n)
					if _, err := w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: &key, Body: bytes.NewReader(content)}); err != nil {
						t.Error(err)
					}
					out, err := w.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: &key, ChecksumMode: "ENABLED"})
					if err != nil {
						t.Error(err)
						continue
					}
					// Whole and of one writer: the SDK compares the checksum.
					if got, err := io.ReadAll(out.Body); err != nil || len(got) != 10_000+int(got[0]) {
						t.Errorf("%s: %d bytes, %v", key, len(got), err)
					}
					if _, err := w.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("bucket")}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if first != 1 {
			t.Errorf("%d writers created the key", first)
		}
		var ids []types.ObjectIdentifier
		for _, key := range []string{"once", "key-0", "key-1", "key-2", "key-3"} {
			ids = append(ids, types.ObjectIdentifier{Key: &key})
		}
		if _, err := w.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: aws.String("bucket"), Delete: &types.Delete{Objects: ids}}); err != nil {
			t.Error(err)
		}
		if _, err := w.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: aws.String("bucket")}); err != nil {
			t.Error(err)
		}
	})
}

func TestADiskThatFailsIsSaidAndStoresNothing(t *testing.T) {
	j := openJournal(t, t.TempDir())
	w := newWorld(t, j)
	w.mustBucket(t, "bucket")
	w.mustPut(t, "bucket", "before", []byte("x"))
	put := func() error {
		_, err := w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key"), Body: strings.NewReader("x")})
		return err
	}
	// The metadata cannot be written.
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, put(), 500, "InternalError")
	if n := len(bodyFiles(t, j)); n != 1 {
		t.Errorf("%d bodies", n)
	}
	// Nor can the content.
	if err := os.RemoveAll(j.Blobs()); err != nil {
		t.Fatal(err)
	}
	err := put()
	wantError(t, err, 500, "InternalError")
	if err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("%v does not say that the disk fails", err)
	}
	_, err = w.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: aws.String("key")})
	wantError(t, err, 404, "NotFound")
	// What cannot be read breaks off: it is never cut short in silence.
	out, err := w.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("before")})
	if err == nil {
		_, err = io.ReadAll(out.Body)
	}
	if err == nil {
		t.Error("an object without its body was read")
	}
}
