package sigv4

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsv4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

var signedAt = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

// unsignedRequest is a request before the SDK's signer signs it.
type unsignedRequest struct {
	method, target, service string
	header                  map[string]string
	body                    string
	mode                    string // x-amz-content-sha256 of S3; the body's hash if empty
	token                   string
	presign                 bool
	at                      time.Time
}

// sign returns the request as it goes over the wire.
func (u unsignedRequest) sign(t testing.TB) string {
	t.Helper()
	if u.at.IsZero() {
		u.at = signedAt
	}
	r, err := http.NewRequest(u.method, "http://aws.example"+u.target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range u.header {
		r.Header.Set(name, value)
	}
	hash := hexHash([]byte(u.body))
	if u.service == "s3" {
		if u.mode != "" {
			hash = u.mode
		}
		if !u.presign {
			r.Header.Set("X-Amz-Content-Sha256", hash)
		}
		if strings.HasPrefix(hash, "STREAMING-") {
			r.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(len(u.body)))
			r.Header.Set("Content-Encoding", "aws-chunked")
		}
		if strings.HasSuffix(hash, "-TRAILER") {
			r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
		}
	}
	key := aws.Credentials{AccessKeyID: testID, SecretAccessKey: testSecret, SessionToken: u.token}
	options := func(o *awsv4.SignerOptions) { o.DisableURIPathEscaping = u.service == "s3" }
	if u.presign {
		query := r.URL.Query()
		query.Set("X-Amz-Expires", "600")
		r.URL.RawQuery = query.Encode()
		signed, _, err := awsv4.NewSigner().PresignHTTP(t.Context(), key, r, hash, u.service, "eu-central-1", u.at, options)
		if err != nil {
			t.Fatal(err)
		}
		if r.URL, err = url.Parse(signed); err != nil {
			t.Fatal(err)
		}
	} else if err := awsv4.NewSigner().SignHTTP(t.Context(), key, r, hash, u.service, "eu-central-1", u.at, options); err != nil {
		t.Fatal(err)
	}
	body := u.body
	if strings.HasPrefix(hash, "STREAMING-") {
		_, seed, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
		body = chunk(u.body, hash, seed, r.Header.Get("X-Amz-Date"))
	}
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	if body == "" {
		r.Body = http.NoBody
	}
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// chunk encodes body in chunks of 8192 bytes.
func chunk(body, mode, seed, date string) string {
	key := deriveKey(testSecret, Scope{Date: date[:8], Region: "eu-central-1", Service: "s3"})
	last := seed
	sign := func(algorithm string, parts ...string) string {
		text := algorithm + "\n" + date + "\n" + date[:8] + "/eu-central-1/s3/aws4_request\n" + last + "\n" + strings.Join(parts, "\n")
		last = hex.EncodeToString(signature(key, []byte(text)))
		return last
	}
	var b strings.Builder
	write := func(data string) {
		fmt.Fprintf(&b, "%x", len(data))
		if mode != streamUnsignedTrailer {
			sum := sha256.Sum256([]byte(data))
			b.WriteString(";chunk-signature=" + sign("AWS4-HMAC-SHA256-PAYLOAD", emptyHash, hex.EncodeToString(sum[:])))
		}
		b.WriteString("\r\n" + data)
		if data != "" {
			b.WriteString("\r\n")
		}
	}
	for rest := body; rest != ""; rest = rest[min(len(rest), 8192):] {
		write(rest[:min(len(rest), 8192)])
	}
	write("")
	if mode != streamSigned {
		trailer := "x-amz-checksum-crc32:" + crc(body)
		b.WriteString(trailer + "\r\n")
		if mode == streamSignedTrailer {
			b.WriteString("x-amz-trailer-signature:" + sign("AWS4-HMAC-SHA256-TRAILER", hexHash([]byte(trailer+"\n"))) + "\r\n")
		}
	}
	b.WriteString("\r\n")
	return b.String()
}

func crc(body string) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body))))
}

// wires are requests of every form.
func wires(t testing.TB) map[string]string {
	long := string(content(8192 + 40))
	return map[string]string{
		"form":      unsignedRequest{method: "POST", target: "/", service: "iam", header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, body: "Action=GetRole&RoleName=r"}.sign(t),
		"query":     unsignedRequest{method: "GET", target: "/?Action=GetCallerIdentity&Version=2011-06-15", service: "sts", token: testToken}.sign(t),
		"json":      unsignedRequest{method: "POST", target: "/clusters/a%2Fb/x", service: "eks", header: map[string]string{"Content-Type": "application/json"}, body: `{"a":"b"}`}.sign(t),
		"get":       unsignedRequest{method: "GET", target: "/bucket/a%20b//c?list-type=2&prefix=a%2Fb&delimiter", service: "s3", header: map[string]string{"Range": "bytes=0-9"}}.sign(t),
		"put":       unsignedRequest{method: "PUT", target: "/bucket/key", service: "s3", header: map[string]string{"X-Amz-Meta-Note": "a  b", "X-Amz-Checksum-Crc32": crc("hello")}, body: "hello", token: testToken}.sign(t),
		"unsigned":  unsignedRequest{method: "PUT", target: "/bucket/key", service: "s3", header: map[string]string{"X-Amz-Checksum-Crc32": crc("hello")}, body: "hello", mode: unsignedPayload}.sign(t),
		"chunked":   unsignedRequest{method: "PUT", target: "/bucket/key", service: "s3", body: long, mode: streamSigned}.sign(t),
		"trailer":   unsignedRequest{method: "PUT", target: "/bucket/key", service: "s3", body: long, mode: streamSignedTrailer}.sign(t),
		"open":      unsignedRequest{method: "PUT", target: "/bucket/key", service: "s3", body: long, mode: streamUnsignedTrailer}.sign(t),
		"empty":     unsignedRequest{method: "PUT", target: "/bucket/key", service: "s3", mode: streamSignedTrailer}.sign(t),
		"presigned": unsignedRequest{method: "GET", target: "/bucket/key?versionId=1&response-content-type=a%20b", service: "s3", presign: true, token: testToken, mode: unsignedPayload}.sign(t),
		"identity":  unsignedRequest{method: "GET", target: "/?Action=GetCallerIdentity&Version=2011-06-15", service: "sts", presign: true, header: map[string]string{"X-K8s-Aws-Id": "cluster"}}.sign(t),
	}
}

// receive verifies a request as a server would, and reads its body. signed is
// what a handler sees of what was signed.
func receive(text string) (signed string, err error) {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		return "", err
	}
	c, _ := parseClaim(r)
	v := &Verifier{Now: func() time.Time { return signedAt.Add(time.Minute) }, Lookup: lookup(c.token)}
	if c.token != "" && c.token != testToken {
		v.Lookup = lookup(testToken)
	}
	encoding := r.Header.Get("Content-Encoding")
	verified, err := v.Verify(r)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	if int64(len(body)) != r.ContentLength {
		return "", fmt.Errorf("%d bytes, ContentLength %d", len(body), r.ContentLength)
	}
	var b strings.Builder
	fmt.Fprintln(&b, r.Method, r.URL.Path, r.Host, encoding, verified)
	query := r.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		fmt.Fprintf(&b, "%s=%q\n", name, query[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if c.signs(strings.ToLower(name)) && name != "Content-Length" && name != "Content-Encoding" {
			fmt.Fprintf(&b, "%s:%q\n", name, strings.Join(strings.Fields(strings.Join(r.Header[name], ",")), " "))
		}
	}
	fmt.Fprintf(&b, "%q", body)
	return b.String(), nil
}

func TestEveryFormIsProved(t *testing.T) {
	for name, text := range wires(t) {
		if _, err := receive(text); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}

// insideChunk is true of bytes that are like their neighbours.
func insideChunk(text string, i int) bool {
	body := strings.Index(text, "\r\n\r\n") + 100
	return len(text) > 8000 && i > body && i < body+8000
}

func TestNoChangedByteIsBelieved(t *testing.T) {
	for name, text := range wires(t) {
		want, err := receive(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		refused := 0
		for i := range len(text) {
			if insideChunk(text, i) {
				continue
			}
			for _, flip := range []byte{1, 0x20, 0xff} {
				changed := []byte(text)
				changed[i] ^= flip
				got, err := receive(string(changed))
				if err != nil {
					refused++
				} else if got != want {
					t.Fatalf("%s: byte %d changed from %q to %q, and believed:\n%s\nwas\n%s", name, i, text[i], changed[i], got, want)
				}
			}
		}
		if refused < len(text)/2 && len(text) < 8000 {
			t.Errorf("%s: %d changes of %d bytes were refused: this test proves little", name, refused, len(text))
		}
	}
}

func TestNothingCutOffOrPutBetweenIsBelieved(t *testing.T) {
	for name, text := range wires(t) {
		want, err := receive(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range len(text) {
			if insideChunk(text, i) {
				continue
			}
			for _, changed := range []string{text[:i], text[:i] + text[i+1:], text[:i] + "/../" + text[i:], text[:i] + "\r\nX-Amz-Acl: public-read\r\n" + text[i:]} {
				if got, err := receive(changed); err == nil && got != want {
					t.Fatalf("%s: changed at %d (%q), and believed:\n%s\nwas\n%s", name, i, text[max(0, i-10):i], got, want)
				}
			}
		}
	}
}
