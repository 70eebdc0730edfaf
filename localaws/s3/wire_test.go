package s3_test

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	locals3 "github.com/openpodidentity/podid/localaws/s3"
)

func allowAll(*http.Request, string, string, map[string][]string) error { return nil }

func newHandler(t testing.TB) http.Handler {
	t.Helper()
	h, err := locals3.New(account, region, nil, allowAll)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// newBucket is a handler with a bucket.
func newBucket(t testing.TB, name string) http.Handler {
	t.Helper()
	h := newHandler(t)
	create := httptest.NewRequest("PUT", "/"+name, strings.NewReader("<CreateBucketConfiguration><LocationConstraint>"+region+"</LocationConstraint></CreateBucketConfiguration>"))
	if status, code, body := do(t, h, create); status != 200 {
		t.Fatal(status, code, body)
	}
	return h
}

// do asks the handler without a client, for what no client sends. code is that
// of the error document, if there is one.
func do(t testing.TB, h http.Handler, r *http.Request) (status int, code, body string) {
	t.Helper()
	if r.Host == "" {
		r.Host = "localhost:1234"
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body = w.Body.String()
	if w.Code >= 300 && body != "" {
		var doc struct {
			XMLName xml.Name `xml:"Error"`
			Code    string
			Message string
		}
		if err := xml.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Errorf("%s %s: the error is not a document: %v\n%s", r.Method, r.URL, err, body)
		}
		if doc.Code == "" || doc.Message == "" {
			t.Errorf("%s %s: an error without code or message: %s", r.Method, r.URL, body)
		}
		code = doc.Code
	}
	return w.Code, code, body
}

func TestWhatIsNotImplementedIsRefusedByName(t *testing.T) {
	h := newBucket(t, "bucket")
	for _, test := range []struct{ method, target, header, name string }{
		{"GET", "/bucket?acl", "", "GetBucketAcl"},
		{"PUT", "/bucket?policy", "", "PutBucketPolicy"},
		{"DELETE", "/bucket?lifecycle", "", "DeleteBucketLifecycleConfiguration"},
		{"GET", "/bucket?versioning", "", "GetBucketVersioning"},
		{"GET", "/bucket?versions&prefix=a", "", "ListObjectVersions"},
		{"PUT", "/bucket?publicAccessBlock", "", "PublicAccessBlock"},
		{"POST", "/bucket", "", "PostObject"},
		{"GET", "/bucket?session", "", "CreateSession"},
		{"GET", "/bucket/key?acl", "", "GetObjectAcl"},
		{"PUT", "/bucket/key?retention", "", "PutObjectRetention"},
		{"POST", "/bucket/key?restore", "", "RestoreObject"},
		{"POST", "/bucket/key?select&select-type=2", "", "SelectObjectContent"},
		{"GET", "/bucket/key?versionId=1", "", "versionId"},
		{"GET", "/bucket/key?colour=blue", "", "colour"},
		{"PUT", "/bucket/key", "x-amz-server-side-encryption-customer-algorithm: AES256", "x-amz-server-side-encryption-customer-algorithm"},
		{"PUT", "/bucket/key", "x-amz-server-side-encryption: aws:kms", "aws:kms"},
		{"PUT", "/bucket/key", "x-amz-storage-class: GLACIER", "GLACIER"},
		{"PUT", "/bucket/key", "x-amz-acl: public-read", "public-read"},
		{"PUT", "/bucket/key", "x-amz-grant-read: id=1", "x-amz-grant-read"},
		{"PUT", "/bucket/key", "x-amz-object-lock-mode: GOVERNANCE", "x-amz-object-lock-mode"},
		{"PUT", "/bucket/key", "x-amz-website-redirect-location: /b", "x-amz-website-redirect-location"},
		{"PUT", "/bucket/key", "x-amz-write-offset-bytes: 5", "x-amz-write-offset-bytes"},
		{"PUT", "/bucket/key", "x-amz-checksum-xxhash3: AAAA", "x-amz-checksum-xxhash3"},
		{"PUT", "/bucket/key?x-amz-storage-class=GLACIER", "", "GLACIER"},
		{"PUT", "/bucket/key", "x-amz-copy-source: bucket/a?versionId=1", "versionId=1"},
		{"PUT", "/bucket/key", "x-amz-copy-source: arn:aws:s3:eu-central-1:1:accesspoint/a/object/b", "access point"},
		{"GET", "/bucket/key", "x-amz-server-side-encryption-customer-key: a", "x-amz-server-side-encryption-customer-key"},
		{"DELETE", "/bucket/key", "x-amz-bypass-governance-retention: true", "x-amz-bypass-governance-retention"},
		{"DELETE", "/bucket/key", "x-amz-mfa: 1 2", "x-amz-mfa"},
	} {
		r := httptest.NewRequest(test.method, test.target, nil)
		if name, value, ok := strings.Cut(test.header, ": "); ok {
			r.Header.Set(name, value)
		}
		status, code, body := do(t, h, r)
		if status != 501 || code != "NotImplemented" || !strings.Contains(body, test.name) {
			t.Errorf("%s %s %s: %d %s\n%s", test.method, test.target, test.header, status, code, body)
		}
	}
	if status, code, _ := do(t, h, httptest.NewRequest("PATCH", "/bucket/key", nil)); status != 405 || code != "MethodNotAllowed" {
		t.Errorf("PATCH: %d %s", status, code)
	}
}

func TestHeadersThatAskForTheDefaultAreAccepted(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bucket"), CreateBucketConfiguration: inRegion(region), ACL: "private",
		ObjectLockEnabledForBucket: aws.Bool(false), ObjectOwnership: types.ObjectOwnershipBucketOwnerEnforced}); err != nil {
		t.Error(err)
	}
	if _, err := w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a"), Body: strings.NewReader("x"), ACL: "bucket-owner-full-control",
		StorageClass: "STANDARD", RequestPayer: "requester", ExpectedBucketOwner: aws.String(account)}); err != nil {
		t.Error(err)
	}
	_, err := w.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a"), ExpectedBucketOwner: aws.String("999999999999")})
	wantError(t, err, 403, "Forbidden")
}

func TestImpossibleRequestsAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	w.mustBucket(t, "bucket")
	put := func(in s3.PutObjectInput) error {
		in.Bucket = aws.String("bucket")
		if in.Key == nil {
			in.Key = aws.String("a")
		}
		if in.Body == nil {
			in.Body = strings.NewReader("x")
		}
		_, err := w.PutObject(t.Context(), &in)
		return err
	}
	wantError(t, put(s3.PutObjectInput{Key: aws.String(strings.Repeat("k", 1025))}), 400, "KeyTooLongError")
	wantError(t, put(s3.PutObjectInput{Metadata: map[string]string{"a": strings.Repeat("v", 2048)}}), 400, "MetadataTooLarge")
	wantError(t, put(s3.PutObjectInput{ContentMD5: aws.String("!")}), 400, "InvalidDigest")
	wantError(t, put(s3.PutObjectInput{Tagging: aws.String("a=1&a=2")}), 400, "InvalidTag")
	wantError(t, put(s3.PutObjectInput{Tagging: aws.String("aws:a=1")}), 400, "InvalidTag")
	if err := put(s3.PutObjectInput{Key: aws.String(strings.Repeat("k", 1024)), Metadata: map[string]string{"a": strings.Repeat("v", 2047)}}); err != nil {
		t.Errorf("at the limits: %v", err)
	}

	h := newBucket(t, "bucket")
	for name, test := range map[string]struct {
		r    *http.Request
		code string
	}{
		"key not UTF-8":       {httptest.NewRequest("GET", "/bucket/%ff", nil), "InvalidURI"},
		"prefix not UTF-8":    {httptest.NewRequest("GET", "/bucket?prefix=%ff", nil), "InvalidURI"},
		"query malformed":     {httptest.NewRequest("GET", "/bucket?prefix=%zz", nil), "InvalidURI"},
		"parameter twice":     {httptest.NewRequest("GET", "/bucket?prefix=a&prefix=b", nil), "InvalidArgument"},
		"max-keys no number":  {httptest.NewRequest("GET", "/bucket?max-keys=many", nil), "InvalidArgument"},
		"max-keys negative":   {httptest.NewRequest("GET", "/bucket?max-keys=-1", nil), "InvalidArgument"},
		"encoding-type":       {httptest.NewRequest("GET", "/bucket?encoding-type=base64", nil), "InvalidArgument"},
		"list-type":           {httptest.NewRequest("GET", "/bucket?list-type=3", nil), "InvalidArgument"},
		"continuation-token":  {httptest.NewRequest("GET", "/bucket?list-type=2&continuation-token=x", nil), "InvalidArgument"},
		"part number":         {httptest.NewRequest("PUT", "/bucket/key?uploadId=1&partNumber=10001", nil), "InvalidArgument"},
		"copy source":         {withHeader(httptest.NewRequest("PUT", "/bucket/key", nil), "x-amz-copy-source", "bucket"), "InvalidArgument"},
		"two checksums":       {withHeader(withHeader(httptest.NewRequest("PUT", "/bucket/key", nil), "x-amz-checksum-crc32", "AAAAAA=="), "x-amz-checksum-crc32c", "AAAAAA=="), "InvalidRequest"},
		"delete not XML":      {httptest.NewRequest("POST", "/bucket?delete", strings.NewReader("<Delete>")), "MalformedXML"},
		"delete nothing":      {httptest.NewRequest("POST", "/bucket?delete", strings.NewReader("<Delete></Delete>")), "MalformedXML"},
		"delete undigested":   {httptest.NewRequest("POST", "/bucket?delete", strings.NewReader("<Delete><Object><Key>a</Key></Object></Delete>")), "InvalidRequest"},
		"delete too much":     {httptest.NewRequest("POST", "/bucket?delete", strings.NewReader("<Delete>"+strings.Repeat("<Object><Key>a</Key></Object>", 1001)+"</Delete>")), "MalformedXML"},
		"complete nothing":    {httptest.NewRequest("POST", "/bucket/key?uploadId=1", strings.NewReader("<CompleteMultipartUpload/>")), "MalformedXML"},
		"complete empty":      {httptest.NewRequest("POST", "/bucket/key?uploadId=1", nil), "MalformedXML"},
		"no bucket":           {httptest.NewRequest("GET", "//key", nil), "InvalidBucketName"},
		"document too large":  {httptest.NewRequest("POST", "/bucket?delete", strings.NewReader(strings.Repeat(" ", 4<<20+1))), "MalformedXML"},
		"location wrong type": {httptest.NewRequest("PUT", "/bucket", strings.NewReader("<Other/>")), "MalformedXML"},
	} {
		if status, code, body := do(t, h, test.r); code != test.code {
			t.Errorf("%s: %d %s, want %s\n%s", name, status, code, test.code, body)
		}
	}
}

func withHeader(r *http.Request, name, value string) *http.Request {
	r.Header.Set(name, value)
	return r
}

func TestABodyThatFailsStoresNothing(t *testing.T) {
	// Straight to the handler: what a front would have found out while reading.
	h := newBucket(t, "bucket")
	for name, test := range map[string]struct {
		body   io.Reader
		length int64
		code   string
	}{
		"shorter":   {strings.NewReader("abc"), 5, "IncompleteBody"},
		"longer":    {strings.NewReader("abcdefgh"), 5, "IncompleteBody"},
		"breaks":    {io.MultiReader(strings.NewReader("abc"), failingReader{}), 3, "InternalError"},
		"no length": {strings.NewReader("abc"), -1, "MissingContentLength"},
		"too long":  {strings.NewReader("abc"), 5<<30 + 1, "EntityTooLarge"},
	} {
		r := httptest.NewRequest("PUT", "/bucket/key", test.body)
		r.ContentLength = test.length
		if status, code, body := do(t, h, r); code != test.code {
			t.Errorf("%s: %d %s\n%s", name, status, code, body)
		}
		if status, _, _ := do(t, h, httptest.NewRequest("HEAD", "/bucket/key", nil)); status != 404 {
			t.Errorf("%s: something was stored", name)
		}
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

func TestPresignedURLsWork(t *testing.T) {
	w := newWorld(t, nil)
	w.mustBucket(t, "bucket")
	presign := s3.NewPresignClient(w.Client)
	put, err := presign.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a b"), Metadata: map[string]string{"colour": "blue"}}, s3.WithPresignExpires(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, url string, header http.Header, body string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header.Clone()
		r.Host = header.Get("Host")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { response.Body.Close() })
		return response
	}
	if response := send("PUT", put.URL, put.SignedHeader, "content"); response.StatusCode != 200 {
		body, _ := io.ReadAll(response.Body)
		t.Fatalf("PUT: %s\n%s", response.Status, body)
	}
	get, err := presign.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a b"), ResponseContentType: aws.String("text/plain")})
	if err != nil {
		t.Fatal(err)
	}
	response := send("GET", get.URL, get.SignedHeader, "")
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "content" || response.Header.Get("Content-Type") != "text/plain" || response.Header.Get("X-Amz-Meta-Colour") != "blue" {
		t.Errorf("GET: %s %q %v %v", response.Status, body, response.Header, err)
	}
}

// withBody is the text of a request with content.
func withBody(line, headers, body string) string {
	return fmt.Sprintf("%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n%s\r\n%s", line, len(body), headers, body)
}

// FuzzS3Request sends arbitrary requests: each is answered, and each refusal is
// a document that a client can read.
func FuzzS3Request(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /seeded?list-type=2&prefix=a&delimiter=/&max-keys=2&encoding-type=url HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /?marker=%00&max-keys=0 HTTP/1.1\r\nHost: seeded.s3.localhost:80\r\n\r\n",
		withBody("PUT /seeded/key?tagging", "", "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"),
		withBody("POST /seeded?delete", "Content-MD5: /nrxC55wzGrpy7V12nyhCw==\r\n", "<Delete><Object><Key>key</Key><VersionId>1</VersionId></Object></Delete>"),
		withBody("POST /seeded/m?uploadId=x", "X-Amz-Mp-Object-Size: 5\r\n", "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag></Part></CompleteMultipartUpload>"),
		withBody("PUT /other", "", "<CreateBucketConfiguration xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><LocationConstraint>eu-central-1</LocationConstraint><Tags/></CreateBucketConfiguration>"),
		"PUT /seeded/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nX-Amz-Meta-A: b\r\nX-Amz-Checksum-Crc32: AAAAAA==\r\nX-Amz-Tagging: a=b\r\n\r\nx",
		"PUT /seeded/c HTTP/1.1\r\nHost: localhost\r\nX-Amz-Copy-Source: /seeded/key%3F\r\nX-Amz-Copy-Source-Range: bytes=0-1\r\n\r\n",
		"GET /seeded/key HTTP/1.1\r\nHost: localhost\r\nRange: bytes=-1\r\nIf-None-Match: \"a\", W/\"b\"\r\nIf-Range: \"x\"\r\n\r\n",
		"GET /seeded/key?partNumber=1&response-content-type=%0d%0aA:%20b HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"POST /seeded/m?uploads HTTP/1.1\r\nHost: localhost\r\nX-Amz-Checksum-Algorithm: SHA256\r\nX-Amz-Checksum-Type: FULL_OBJECT\r\n\r\n",
		"GET /seeded/key?attributes HTTP/1.1\r\nHost: localhost\r\nX-Amz-Object-Attributes: ETag,Checksum,ObjectParts\r\nX-Amz-Max-Parts: 1\r\n\r\n",
		"DELETE /seeded/key?uploadId=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"HEAD /seeded?acl HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return // net/http refuses it
		}
		h := newBucket(t, "seeded")
		if status, code, body := do(t, h, httptest.NewRequest("PUT", "/seeded/key", strings.NewReader("content"))); status != 200 {
			t.Fatal(status, code, body)
		}
		status, code, body := do(t, h, r)
		if code == "InternalError" {
			t.Fatalf("%d %s\n%s", status, code, body)
		}
		if status < 300 && strings.HasPrefix(body, "<?xml") && r.Method != http.MethodGet {
			if err := xml.Unmarshal([]byte(body), new(struct{ XMLName xml.Name })); err != nil {
				t.Fatalf("the answer is not a document: %v\n%s", err, body)
			}
		}
	})
}
