package s3_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	locals3 "github.com/openpodidentity/podid/localaws/s3"
)

func TestABucketIsCreatedFoundAndDeleted(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		_, err := w.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String("bucket")})
		wantError(t, err, 404, "NotFound")
		w.mustBucket(t, "bucket")
		head, err := w.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String("bucket")})
		if err != nil || *head.BucketRegion != region {
			t.Errorf("head: %+v, %v", head, err)
		}
		location, err := w.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: aws.String("bucket")})
		if err != nil || location.LocationConstraint != region {
			t.Errorf("location: %+v, %v", location, err)
		}
		_, err = w.CreateBucket(t.Context(), createInput("bucket"))
		wantError(t, err, 409, "BucketAlreadyOwnedByYou")
		w.mustPut(t, "bucket", "a", []byte("x"))
		_, err = w.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: aws.String("bucket")})
		wantError(t, err, 409, "BucketNotEmpty")
		if _, err := w.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a")}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: aws.String("bucket")}); err != nil {
			t.Fatal(err)
		}
		_, err = w.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: aws.String("bucket")})
		wantError(t, err, 404, "NoSuchBucket")
		_, err = w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a"), Body: strings.NewReader("x")})
		wantError(t, err, 404, "NoSuchBucket")
	})
}

func TestTheLocationConstraintIsTheRegion(t *testing.T) {
	w := newWorld(t, nil)
	_, err := w.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bucket"), CreateBucketConfiguration: inRegion("us-west-2")})
	wantError(t, err, 400, "IllegalLocationConstraintException")
	r, _ := http.NewRequest("PUT", "/bucket", nil)
	if status, code, _ := do(t, newHandler(t), r); status != 400 || code != "IllegalLocationConstraintException" {
		t.Errorf("no constraint outside us-east-1: %d %s", status, code)
	}
	first, err := locals3.New(account, "us-east-1", nil, allowAll)
	if err != nil {
		t.Fatal(err)
	}
	r, _ = http.NewRequest("PUT", "/bucket", nil)
	if status, code, _ := do(t, first, r); status != 200 {
		t.Errorf("no constraint in us-east-1: %d %s", status, code)
	}
	r, _ = http.NewRequest("GET", "/bucket?location", nil)
	if _, _, body := do(t, first, r); !strings.Contains(body, `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>`) {
		t.Errorf("location in us-east-1: %s", body)
	}
}

func TestBucketNamesFollowTheRules(t *testing.T) {
	h := newHandler(t)
	for _, name := range []string{"ab", "Abc", "a_b", "-abc", "abc-", "a..b", "10.0.0.1", "xn--abc", "abc-s3alias", "sthree-abc", "amzn-s3-demo-x", "a.mrap", strings.Repeat("a", 64)} {
		r, _ := http.NewRequest("PUT", "/"+name, nil)
		if status, code, _ := do(t, h, r); status != 400 || code != "InvalidBucketName" {
			t.Errorf("%s: %d %s", name, status, code)
		}
	}
	w := newWorld(t, nil)
	for _, name := range []string{"abc", "a-b.c", "1bucket", "10.0.0.1a", strings.Repeat("a", 63)} {
		w.mustBucket(t, name)
	}
}

func TestBucketsAreListedInPages(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 7 {
		w.mustBucket(t, fmt.Sprintf("bucket-%d", i))
	}
	w.mustBucket(t, "another")
	var names []string
	pages := s3.NewListBucketsPaginator(w.Client, &s3.ListBucketsInput{MaxBuckets: aws.Int32(3), Prefix: aws.String("bucket-")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Buckets) > 3 {
			t.Errorf("a page of %d", len(page.Buckets))
		}
		for _, b := range page.Buckets {
			names = append(names, *b.Name)
		}
	}
	if got := strings.Join(names, " "); got != "bucket-0 bucket-1 bucket-2 bucket-3 bucket-4 bucket-5 bucket-6" {
		t.Error(got)
	}
	all, err := w.ListBuckets(t.Context(), &s3.ListBucketsInput{})
	if err != nil || len(all.Buckets) != 8 || *all.Buckets[0].Name != "another" || *all.Buckets[0].BucketRegion != region || all.ContinuationToken != nil {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestABucketMayBeTheHostsName(t *testing.T) {
	w := newWorld(t, nil, func(o *s3.Options) { o.UsePathStyle = false })
	w.mustBucket(t, "my-bucket")
	w.mustPut(t, "my-bucket", "dir/a", []byte("content"))
	if got := w.mustGet(t, "my-bucket", "dir/a"); string(got) != "content" {
		t.Errorf("%q", got)
	}
	list, err := w.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("my-bucket"), Delimiter: aws.String("/")})
	if err != nil || len(list.CommonPrefixes) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	// The path-style client sees the same.
	path := w.client()
	if _, err := path.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("my-bucket"), Key: aws.String("dir/a")}); err != nil {
		t.Error(err)
	}
}
