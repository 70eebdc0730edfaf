package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/internal/sigv4"
	locals3 "github.com/openpodidentity/podid/localaws/s3"
)

const (
	account = "111122223333"
	region  = "eu-central-1"
)

// world is a local S3 behind a real front, and the real SDK's client of it.
type world struct {
	*s3.Client
	server *httptest.Server
	clock  func() time.Time

	mu    sync.Mutex
	deny  func(action, resource string) bool // nil: everything is allowed
	asked []question
}

// question is one call of Access.
type question struct {
	action, resource string
	keys             map[string][]string
}

// newWorld starts an S3 on j (nil: in memory).
func newWorld(t testing.TB, j *journal.Journal, options ...func(*s3.Options)) *world {
	t.Helper()
	w := &world{}
	handler, err := locals3.New(account, region, j, w.access)
	if err != nil {
		t.Fatal(err)
	}
	handler.(*locals3.Handler).Now = func() time.Time {
		if w.clock != nil {
			return w.clock()
		}
		return time.Now()
	}
	w.server = httptest.NewServer(front(handler))
	t.Cleanup(w.server.Close)
	w.Client = w.client(options...)
	return w
}

// client makes a client as an application does, but for where the endpoint is.
func (w *world) client(options ...func(*s3.Options)) *s3.Client {
	_, port, _ := net.SplitHostPort(w.server.Listener.Addr().String())
	dialer := &net.Dialer{}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		// Every name below localhost is this machine.
		return dialer.DialContext(ctx, network, w.server.Listener.Addr().String())
	}}
	config := aws.Config{Region: region, Credentials: credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "secret", ""),
		HTTPClient: &http.Client{Transport: transport}, RetryMaxAttempts: 1,
		// What config.LoadDefaultConfig sets, and a literal Config does not.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported, ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported}
	return s3.NewFromConfig(config, append([]func(*s3.Options){func(o *s3.Options) {
		o.BaseEndpoint = aws.String("http://localhost:" + port)
		o.UsePathStyle = true
	}}, options...)...)
}

// front is what localaws does before S3: it proves the signature and decodes the body.
func front(next http.Handler) http.Handler {
	v := &sigv4.Verifier{Lookup: func(context.Context, string, string) (sigv4.Key, error) { return sigv4.Key{Secret: "secret"}, nil }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := v.Verify(r); err != nil {
			awswire.WriteXMLError(w, r, awswire.RequestID(), err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (w *world) access(_ *http.Request, action, resource string, keys map[string][]string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, question{action, resource, keys})
	if w.deny != nil && w.deny(action, resource) {
		return awswire.Errorf(403, "AccessDenied", "User: somebody is not authorized to perform: %s on resource: %q because no identity-based policy allows the %s action", action, resource, action)
	}
	return nil
}

func (w *world) mustBucket(t testing.TB, name string) {
	t.Helper()
	if _, err := w.CreateBucket(t.Context(), createInput(name)); err != nil {
		t.Fatal(err)
	}
}

func createInput(name string) *s3.CreateBucketInput {
	return &s3.CreateBucketInput{Bucket: &name, CreateBucketConfiguration: inRegion(region)}
}

func (w *world) mustPut(t testing.TB, bucket, key string, content []byte) *s3.PutObjectOutput {
	t.Helper()
	out, err := w.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(content)})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *world) mustGet(t testing.TB, bucket, key string) []byte {
	t.Helper()
	out, err := w.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key, ChecksumMode: "ENABLED"})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	content, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// wantError checks that err is AWS's error of that status and code.
func wantError(t testing.TB, err error, status int, code string) {
	t.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	response, ok2 := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok || !ok2 || api.ErrorCode() != code || response.HTTPStatusCode() != status {
		t.Errorf("error is %v, want %d %s", err, status, code)
	}
}

// noise is n bytes that look like nothing.
func noise(n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

func openJournal(t testing.TB, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// everywhere runs a test on both kinds of storage.
func everywhere(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("memory", func(t *testing.T) { test(t, newWorld(t, nil)) })
	t.Run("journal", func(t *testing.T) { test(t, newWorld(t, openJournal(t, t.TempDir()))) })
}
