package sigv4

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsv4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const (
	testID     = "AKIDEXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	testToken  = "FwoGZXIvYXdzEXAMPLE//token=="
)

// lookup knows one key.
func lookup(token string) func(context.Context, string, string) (Key, error) {
	return func(_ context.Context, id, _ string) (Key, error) {
		if id != testID {
			return Key{}, fmt.Errorf("look up %s: %w", id, ErrUnknownKey)
		}
		return Key{Secret: testSecret, SessionToken: token}, nil
	}
}

// seen is what a server saw of a request.
type seen struct {
	verified  Verified
	err       error // of Verify or of reading the body
	body      []byte
	length    int64
	mode      string
	encoding  string
	algorithm string
	checksum  string
}

// serveSeen serves requests and says what it saw of the last.
func serveSeen(t *testing.T, tls bool, token string) (config aws.Config, last func() seen) {
	t.Helper()
	var s seen
	v := &Verifier{Lookup: lookup(token)}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s = seen{mode: r.Header.Get("X-Amz-Content-Sha256")}
		s.verified, s.err = v.Verify(r)
		if s.err == nil {
			s.body, s.err = io.ReadAll(r.Body)
		}
		s.length, s.encoding = r.ContentLength, r.Header.Get("Content-Encoding")
		s.algorithm, s.checksum = checksumGiven(r)
		if e, ok := errors.AsType[*Error](s.err); ok {
			w.WriteHeader(e.Status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", e.Code, e.Message)
			return
		}
		fmt.Fprint(w, "<R><GetCallerIdentityResult/><GetRoleResult/></R>")
	}))
	if tls {
		server.EnableHTTP2 = true
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return aws.Config{
		Region: "eu-central-1", BaseEndpoint: &server.URL, HTTPClient: server.Client(),
		Credentials: credentials.NewStaticCredentialsProvider(testID, testSecret, token),
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
		// LoadDefaultConfig's default.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
	}, func() seen { return s }
}

func pathStyle(o *s3.Options) { o.UsePathStyle = true }

// content is n bytes that are not all the same.
func content(n int) []byte {
	b := make([]byte, 0, n+32)
	for i := 0; len(b) < n; i++ {
		sum := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		b = append(b, sum[:]...)
	}
	return b[:n]
}

func TestTheSDKsUploadsArriveAsTheyWereSent(t *testing.T) {
	algorithms := []types.ChecksumAlgorithm{"", "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256", "SHA512"}
	for _, tls := range []bool{false, true} {
		config, last := serveSeen(t, tls, testToken)
		client := s3.NewFromConfig(config, pathStyle)
		for _, algorithm := range algorithms {
			for _, size := range []int{0, 1, 8192, 300045} {
				for _, seekable := range []bool{true, false} {
					if !seekable && !tls {
						continue // the SDK refuses it
					}
					data := content(size)
					input := &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a b/ü+%2F/../c//d=&?#"), ChecksumAlgorithm: algorithm,
						ContentEncoding: aws.String("gzip"), Metadata: map[string]string{"note": "two  words "}}
					input.Body = bytes.NewReader(data)
					if !seekable {
						input.Body = iotest.OneByteReader(bytes.NewReader(data))
						input.ContentLength = aws.Int64(int64(size))
						if size > 70000 {
							input.Body = io.MultiReader(bytes.NewReader(data))
						}
					}
					_, err := client.PutObject(t.Context(), input)
					got := last()
					name := fmt.Sprintf("tls=%v %s %d seekable=%v mode=%s", tls, algorithm, size, seekable, got.mode)
					if err != nil || got.err != nil {
						t.Errorf("%s: %v (server: %v)", name, err, got.err)
						continue
					}
					if !bytes.Equal(got.body, data) || got.length != int64(size) {
						t.Errorf("%s: %d bytes arrived, ContentLength %d", name, len(got.body), got.length)
					}
					if want := cmp.Or(string(algorithm), "CRC32"); got.algorithm != want || got.checksum == "" {
						t.Errorf("%s: checksum %s %q", name, got.algorithm, got.checksum)
					}
					if got.encoding != "gzip" {
						t.Errorf("%s: Content-Encoding %q", name, got.encoding)
					}
					if got.verified.SessionToken != testToken || got.verified.Service != "s3" || got.verified.Presigned {
						t.Errorf("%s: %+v", name, got.verified)
					}
				}
			}
		}
	}
}

func TestUploadsWithoutChecksumsArrive(t *testing.T) {
	for _, tls := range []bool{false, true} {
		config, last := serveSeen(t, tls, "")
		config.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		client := s3.NewFromConfig(config, pathStyle)
		for name, option := range map[string]func(*s3.Options){
			"hash":     func(*s3.Options) {},
			"unsigned": s3.WithAPIOptions(awsv4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware),
		} {
			data := content(100000)
			_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), Body: bytes.NewReader(data)}, option)
			got := last()
			if err != nil || !bytes.Equal(got.body, data) || got.algorithm != "" {
				t.Errorf("tls=%v %s: %v, %v, %d bytes, checksum %q", tls, name, err, got.err, len(got.body), got.algorithm)
			}
		}
	}
}

func TestTheSDKsQueriesAreProved(t *testing.T) {
	config, last := serveSeen(t, true, testToken)
	client := s3.NewFromConfig(config, pathStyle)
	_, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("b"), Prefix: aws.String("a b/+*~'()!&=ü%"), Delimiter: aws.String("/"), StartAfter: aws.String("")})
	if err != nil || last().err != nil {
		t.Errorf("list: %v, %v", err, last().err)
	}
	if _, err := client.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: aws.String("b")}); err != nil {
		t.Errorf("query without value: %v", err)
	}
	if _, err := sts.NewFromConfig(config).GetCallerIdentity(t.Context(), nil); err != nil || last().verified.Service != "sts" {
		t.Errorf("sts: %v %+v", err, last())
	}
	if got := string(last().body); !strings.Contains(got, "Action=GetCallerIdentity") {
		t.Errorf("the form is gone: %q", got)
	}
	if _, err := iam.NewFromConfig(config).DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("r")}); err != nil || last().verified.Service != "iam" {
		t.Errorf("iam: %v %+v", err, last())
	}
}

func TestPresignedURLsAreProved(t *testing.T) {
	for _, token := range []string{"", testToken} {
		config, last := serveSeen(t, false, token)
		presign := s3.NewPresignClient(s3.NewFromConfig(config, pathStyle))
		get, err := presign.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("a b/c"), ResponseContentType: aws.String("text/plain; a=b")}, s3.WithPresignExpires(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.Get(get.URL)
		if err != nil || response.StatusCode != 200 || !last().verified.Presigned {
			t.Errorf("get: %v, %v %s", err, last().err, get.URL)
		}
		put, err := presign.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), Metadata: map[string]string{"m": "v"}})
		if err != nil {
			t.Fatal(err)
		}
		request, _ := http.NewRequest(put.Method, put.URL, strings.NewReader("hello"))
		request.Header = put.SignedHeader.Clone()
		response, err = http.DefaultClient.Do(request)
		if err != nil || response.StatusCode != 200 || string(last().body) != "hello" {
			t.Errorf("put: %v, %v %s", err, last().err, put.URL)
		}
		identity, err := sts.NewPresignClient(sts.NewFromConfig(config)).PresignGetCallerIdentity(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err = http.Get(identity.URL)
		if err != nil || response.StatusCode != 200 || last().verified.Service != "sts" {
			t.Errorf("sts: %v, %v %s", err, last().err, identity.URL)
		}
	}
}
