package sigv4

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// suiteRequest reads a request of AWS's suite, whose targets hold spaces and
// whose folded headers mean several values: net/http reads neither.
func suiteRequest(t *testing.T, text string) *http.Request {
	t.Helper()
	head, content, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	method, target, _ := strings.Cut(strings.TrimSuffix(lines[0], " HTTP/1.1"), " ")
	path, query, _ := strings.Cut(target, "?")
	content = strings.TrimSuffix(content, "\n")
	r := &http.Request{Method: method, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(content)), ContentLength: int64(len(content)),
		URL: &url.URL{Path: path, RawPath: path, RawQuery: query}}
	last := ""
	for _, line := range lines[1:] {
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			name, value = last, line
		}
		last = name
		r.Header.Add(name, strings.TrimSpace(value))
	}
	r.Host = r.Header.Get("Host")
	r.Header.Del("Host")
	return r
}

func TestAWSsPublishedSuite(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/aws-sig-v4-suite.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) != 44 {
		t.Fatalf("%d cases, not 44", len(archive.Files))
	}
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	for _, file := range archive.Files {
		t.Run(file.Name, func(t *testing.T) {
			r := suiteRequest(t, string(file.Data))
			if strings.HasSuffix(file.Name, "-unnormalized") {
				checkUnnormalized(t, r)
				return
			}
			token := r.Header.Get("X-Amz-Security-Token") + r.URL.Query().Get("X-Amz-Security-Token")
			v := &Verifier{Now: func() time.Time { return at }, Lookup: lookup(token)}
			if _, err := v.Verify(r); err != nil {
				t.Error(err)
			}
			// The same with another secret.
			r = suiteRequest(t, string(file.Data))
			v.Lookup = func(context.Context, string, string) (Key, error) {
				return Key{Secret: "other", SessionToken: token}, nil
			}
			if _, err := v.Verify(r); !is(err, "SignatureDoesNotMatch") {
				t.Errorf("with another secret: %v", err)
			}
		})
	}
}

// checkUnnormalized signs as the suite does there: S3's path, and no hash in
// x-amz-content-sha256, which S3 would demand.
func checkUnnormalized(t *testing.T, r *http.Request) {
	c, fault := parseClaim(r)
	if fault != nil {
		t.Fatal(fault)
	}
	key := deriveKey(testSecret, c.Scope)
	c.Service = "s3"
	canonical, fault := c.canonicalRequest(r, emptyHash)
	if fault != nil {
		t.Fatal(fault)
	}
	c.Service = "service"
	if got, want := hex.EncodeToString(signature(key, c.stringToSign(canonical))), hex.EncodeToString(c.signature[:]); got != want {
		t.Errorf("signature %s, want %s of\n%s", got, want, canonical)
	}
}

// is says whether err is an *Error of this code.
func is(err error, code string) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == code
}
