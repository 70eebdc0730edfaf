package s3_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"pgregory.net/rapid"
)

// model is what a listing is, said as simply as possible: roll up every key,
// forget doubles, keep the order.
func model(keys []string, prefix, delimiter string) (entries []string) {
	for _, key := range slices.Sorted(slices.Values(keys)) {
		rest, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		if i := strings.Index(rest, delimiter); delimiter != "" && i >= 0 {
			key = prefix + rest[:i] + delimiter
		}
		if len(entries) == 0 || entries[len(entries)-1] != key {
			entries = append(entries, key)
		}
	}
	return entries
}

// after are the entries after one.
func after(entries []string, last string) []string {
	i, found := slices.BinarySearch(entries, last)
	if found {
		i++
	}
	return entries[i:]
}

func TestListingsArePagedLikeTheModel(t *testing.T) {
	w := newWorld(t, nil)
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		bucket := fmt.Sprintf("bucket-%d", runs)
		w.mustBucket(t, bucket)
		text := rapid.StringOfN(rapid.SampledFrom([]rune("aab///!ä~")), 0, 4, -1)
		keys := rapid.SliceOfNDistinct(text.Filter(func(s string) bool { return s != "" && s != "." }), 3, 12, rapid.ID).Draw(rt, "keys")
		for _, key := range keys {
			w.mustPut(t, bucket, key, nil)
		}
		prefix, delimiter := rapid.OneOf(rapid.Just(""), text).Draw(rt, "prefix"), rapid.SampledFrom([]string{"", "/", "/", "/", "a", "/a"}).Draw(rt, "delimiter")
		start, most := rapid.OneOf(rapid.Just(""), text).Draw(rt, "start"), rapid.Int32Range(1, 3).Draw(rt, "max")
		want := after(model(keys, prefix, delimiter), start)

		var got []string
		pages := s3.NewListObjectsV2Paginator(w.Client, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, Delimiter: &delimiter, StartAfter: &start, MaxKeys: &most})
		for n := 0; pages.HasMorePages() && n <= len(keys); n++ {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				rt.Fatal(err)
			}
			if n := int32(len(page.Contents) + len(page.CommonPrefixes)); n > most || *page.KeyCount != n || *page.IsTruncated && n < most {
				rt.Fatalf("a page of %d, KeyCount %d, at most %d, truncated %v", n, *page.KeyCount, most, *page.IsTruncated)
			}
			var entries []string
			for _, o := range page.Contents {
				entries = append(entries, *o.Key)
			}
			for _, p := range page.CommonPrefixes {
				entries = append(entries, *p.Prefix)
			}
			slices.Sort(entries)
			got = append(got, entries...)
		}
		if !slices.Equal(got, want) {
			rt.Errorf("version 2: %q, want %q", got, want)
		}

		got = nil
		marker := start
		for range len(keys) + 1 {
			page, err := w.ListObjects(t.Context(), &s3.ListObjectsInput{Bucket: &bucket, Prefix: &prefix, Delimiter: &delimiter, Marker: &marker, MaxKeys: &most})
			if err != nil {
				rt.Fatal(err)
			}
			last := ""
			for _, o := range page.Contents {
				got, last = append(got, *o.Key), *o.Key
			}
			for _, p := range page.CommonPrefixes {
				got, last = append(got, *p.Prefix), max(last, *p.Prefix)
			}
			if !*page.IsTruncated {
				break
			}
			if delimiter != "" && *page.NextMarker != last || delimiter == "" && page.NextMarker != nil {
				rt.Fatalf("NextMarker is %v after %q", page.NextMarker, last)
			}
			marker = last
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			rt.Errorf("version 1: %q, want %q", got, want)
		}
	})
}

func TestListingsSayWhatTheyList(t *testing.T) {
	w := newWorld(t, nil)
	w.mustBucket(t, "bucket")
	key := "dir/a b+ä%\x01<&>"
	put := w.mustPut(t, "bucket", key, []byte("content"))
	out, err := w.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("bucket"), Prefix: aws.String("dir/a b"), EncodingType: "url", FetchOwner: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	o := out.Contents[0]
	if *o.Key != "dir/a%20b%2B%C3%A4%25%01%3C%26%3E" || *out.Prefix != "dir/a%20b" || *o.ETag != *put.ETag || *o.Size != 7 || o.StorageClass != "STANDARD" || len(*o.Owner.ID) != 64 || *out.MaxKeys != 1000 {
		t.Errorf("%+v, key %s", out, *o.Key)
	}
	out, err = w.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("bucket"), MaxKeys: aws.Int32(0)})
	if err != nil || len(out.Contents) != 0 || *out.IsTruncated || *out.MaxKeys != 0 {
		t.Errorf("max-keys 0: %+v, %v", out, err)
	}
	out, err = w.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("bucket"), MaxKeys: aws.Int32(5000)})
	if err != nil || *out.MaxKeys != 1000 || out.Contents[0].Owner != nil {
		t.Errorf("max-keys 5000: %+v, %v", out, err)
	}
	_, err = w.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("absent")})
	wantError(t, err, 404, "NoSuchBucket")
}
