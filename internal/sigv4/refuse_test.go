package sigv4

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// verifyAt verifies the text at a time, with the key of a token.
func verifyAt(t testing.TB, text string, at time.Time, token string) error {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	v := &Verifier{Now: func() time.Time { return at }, Lookup: lookup(token)}
	if _, err := v.Verify(r); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err
}

func wantError(t *testing.T, name string, err error, status int, code, message string) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Status != status || e.Code != code || !strings.Contains(e.Message, message) {
		t.Errorf("%s: %v (%+v), want %d %s …%s…", name, err, e, status, code, message)
	}
	if err != nil && (strings.Contains(err.Error(), testSecret) || strings.Contains(err.Error(), testToken)) {
		t.Errorf("%s: the error holds a secret: %v", name, err)
	}
}

func TestRefusalsAreWordedAsTheServiceWordsThem(t *testing.T) {
	get := map[string]string{}
	for _, service := range []string{"s3", "iam", "eks"} {
		get[service] = unsignedRequest{method: "GET", target: "/x?a=b", service: service}.sign(t)
	}
	withToken := func(service string) string {
		return unsignedRequest{method: "GET", target: "/x", service: service, token: testToken}.sign(t)
	}
	edit := func(old, replacement string) func(string) string {
		return func(service string) string {
			text := get[service]
			if !strings.Contains(text, old) {
				t.Fatalf("no %q in\n%s", old, text)
			}
			return strings.ReplaceAll(text, old, replacement)
		}
	}
	plain := edit("GET", "GET")
	type want struct {
		status        int
		code, message string
	}
	for name, c := range map[string]struct {
		text         func(service string) string
		after        time.Duration
		token        string
		s3, iam, eks want
	}{
		"unknown key": {text: edit("Credential="+testID, "Credential=AKIDOTHER"),
			s3:  want{403, "InvalidAccessKeyId", "does not exist in our records"},
			iam: want{403, "InvalidClientTokenId", "security token included in the request is invalid"},
			eks: want{403, "UnrecognizedClientException", "security token included in the request is invalid"}},
		"another signature": {text: edit("?a=b", "?a=c"),
			s3:  want{403, "SignatureDoesNotMatch", "does not match the signature you provided"},
			iam: want{403, "SignatureDoesNotMatch", "does not match the signature you provided"},
			eks: want{403, "InvalidSignatureException", "does not match the signature you provided"}},
		"too old": {text: plain, after: 15*time.Minute + time.Second,
			s3:  want{403, "RequestTimeTooSkewed", "too large"},
			iam: want{403, "SignatureDoesNotMatch", "Signature expired: 20260901T120000Z is now earlier than 20260901T120001Z (20260901T121501Z - 15 min.)"},
			eks: want{403, "InvalidSignatureException", "Signature expired: "}},
		"too new": {text: plain, after: -15*time.Minute - time.Second,
			s3:  want{403, "RequestTimeTooSkewed", "too large"},
			iam: want{403, "SignatureDoesNotMatch", "Signature not yet current: 20260901T120000Z is still later than 20260901T115959Z (20260901T114459Z + 15 min.)"},
			eks: want{403, "InvalidSignatureException", "Signature not yet current: "}},
		"no token where the key has one": {text: plain, token: testToken,
			s3:  want{403, "InvalidAccessKeyId", ""},
			iam: want{403, "InvalidClientTokenId", ""},
			eks: want{403, "UnrecognizedClientException", ""}},
		"another token": {text: withToken, token: testToken + "x",
			s3:  want{400, "InvalidToken", ""},
			iam: want{403, "InvalidClientTokenId", ""},
			eks: want{403, "UnrecognizedClientException", ""}},
		"token with a long-term key": {text: withToken,
			s3:  want{400, "InvalidToken", ""},
			iam: want{403, "InvalidClientTokenId", ""},
			eks: want{403, "UnrecognizedClientException", ""}},
		"scope of another day": {text: edit("/20260901/", "/20260831/"),
			s3:  want{400, "AuthorizationHeaderMalformed", "'20260831' != '20260901'"},
			iam: want{403, "SignatureDoesNotMatch", "'20260831' != '20260901'"},
			eks: want{403, "InvalidSignatureException", "'20260831' != '20260901'"}},
		"another terminator": {text: edit("/aws4_request", "/aws5_request"),
			s3:  want{400, "AuthorizationHeaderMalformed", "'aws4_request', not 'aws5_request'"},
			iam: want{400, "IncompleteSignature", "'aws4_request', not 'aws5_request'"},
			eks: want{403, "IncompleteSignatureException", "'aws4_request', not 'aws5_request'"}},
		"no date": {text: edit("X-Amz-Date: 20260901T120000Z\r\n", ""),
			s3:  want{400, "AuthorizationHeaderMalformed", "'X-Amz-Date' or a 'Date' header"},
			iam: want{400, "IncompleteSignature", "'X-Amz-Date' or a 'Date' header"},
			eks: want{403, "IncompleteSignatureException", "'X-Amz-Date' or a 'Date' header"}},
		"date that is none": {text: edit("X-Amz-Date: 20260901T120000Z", "X-Amz-Date: 2026-09-01"),
			s3:  want{400, "AuthorizationHeaderMalformed", "ISO-8601"},
			iam: want{400, "IncompleteSignature", "ISO-8601"},
			eks: want{403, "IncompleteSignatureException", "ISO-8601"}},
		"host not signed": {text: edit("SignedHeaders=host;", "SignedHeaders="),
			s3:  want{403, "AccessDenied", "'Host' or ':authority'"},
			iam: want{403, "SignatureDoesNotMatch", "'Host' or ':authority'"},
			eks: want{403, "InvalidSignatureException", "'Host' or ':authority'"}},
		"x-amz header not signed": {text: edit("X-Amz-Date:", "X-Amz-Acl: public-read\r\nX-Amz-Date:"),
			s3:  want{403, "AccessDenied", "not signed: x-amz-acl"},
			iam: want{403, "SignatureDoesNotMatch", "not signed: x-amz-acl"},
			eks: want{403, "InvalidSignatureException", "not signed: x-amz-acl"}},
		"signed header that is not there": {text: edit("SignedHeaders=host;", "SignedHeaders=a;host;"),
			s3:  want{403, "SignatureDoesNotMatch", ""},
			iam: want{403, "SignatureDoesNotMatch", ""},
			eks: want{403, "InvalidSignatureException", ""}},
		"signed headers out of order": {text: edit("SignedHeaders=host;", "SignedHeaders=z;host;"),
			s3:  want{400, "AuthorizationHeaderMalformed", "ascending"},
			iam: want{400, "IncompleteSignature", "ascending"},
			eks: want{403, "IncompleteSignatureException", "ascending"}},
	} {
		for service, want := range map[string]want{"s3": c.s3, "iam": c.iam, "eks": c.eks} {
			err := verifyAt(t, c.text(service), signedAt.Add(c.after), c.token)
			wantError(t, name+" "+service, err, want.status, want.code, want.message)
		}
	}
	for service, text := range get {
		for _, after := range []time.Duration{-15 * time.Minute, 0, 15 * time.Minute} {
			if err := verifyAt(t, text, signedAt.Add(after), ""); err != nil {
				t.Errorf("%s, off by %v: %v", service, after, err)
			}
		}
	}
}

func TestWhatIsNotSignatureVersion4IsRefusedByName(t *testing.T) {
	for authorization, want := range map[string]string{
		"":              "MissingAuthenticationToken",
		"AWS AKID:c2ln": "IncompleteSignature",
		"Bearer abc":    "IncompleteSignature",
		"AWS4-ECDSA-P256-SHA256 Credential=a/20260901/s3/aws4_request, SignedHeaders=host, Signature=00": "NotImplemented",
		"AWS4-HMAC-SHA256":                                 "IncompleteSignature",
		"AWS4-HMAC-SHA256 Credential=":                     "IncompleteSignature",
		"AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request": "IncompleteSignature",
		"AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature=zz":                              "IncompleteSignature",
		"AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature=" + strings.Repeat("A", 64):      "IncompleteSignature",
		"AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature=00, Signature=00":                "IncompleteSignature",
		"AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature=00, Other=1":                     "IncompleteSignature",
		"AWS4-HMAC-SHA256 Credential=a/b/c/aws4_request, SignedHeaders=host, Signature=" + strings.Repeat("a", 64):        "IncompleteSignature",
		"AWS4-HMAC-SHA256 Credential=a<b/b/c/d/aws4_request, SignedHeaders=host, Signature=" + strings.Repeat("a", 64):    "IncompleteSignature",
		"AWS4-HMAC-SHA256 Credential=a//c/d/aws4_request, SignedHeaders=host, Signature=" + strings.Repeat("a", 64):       "IncompleteSignature",
		"AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=Host, Signature=" + strings.Repeat("a", 64):      "IncompleteSignature",
		"AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host;host, Signature=" + strings.Repeat("a", 64): "IncompleteSignature",
		"AWS4-HMAC-SHA256 " + strings.Repeat(" ", maxAuthorization):                                                       "IncompleteSignature",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		_, err := (&Verifier{Lookup: lookup("")}).Verify(r)
		if !is(err, want) {
			t.Errorf("%q: %v, want %s", authorization, err, want)
		}
	}
}

func TestPresignedURLsExpire(t *testing.T) {
	presign := func(service string) string {
		return unsignedRequest{method: "GET", target: "/b/k?a=b", service: service, presign: true, mode: unsignedPayload}.sign(t)
	}
	s3, sts := presign("s3"), presign("sts")
	for _, text := range []string{s3, sts} {
		for _, after := range []time.Duration{-15 * time.Minute, 0, 600 * time.Second} {
			if err := verifyAt(t, text, signedAt.Add(after), ""); err != nil {
				t.Errorf("after %v: %v", after, err)
			}
		}
	}
	wantError(t, "s3 expired", verifyAt(t, s3, signedAt.Add(601*time.Second), ""), 403, "AccessDenied", "Request has expired")
	wantError(t, "sts expired", verifyAt(t, sts, signedAt.Add(601*time.Second), ""), 400, "RequestExpired", "Request has expired")
	wantError(t, "s3 early", verifyAt(t, s3, signedAt.Add(-901*time.Second), ""), 403, "AccessDenied", "Request is not valid yet")
	wantError(t, "sts early", verifyAt(t, sts, signedAt.Add(-901*time.Second), ""), 403, "SignatureDoesNotMatch", "not yet current")

	for _, c := range []struct{ name, text, message string }{
		{"zero", strings.ReplaceAll(s3, "X-Amz-Expires=600", "X-Amz-Expires=0"), "from 1 to 604800"},
		{"negative", strings.ReplaceAll(s3, "X-Amz-Expires=600", "X-Amz-Expires=-1"), "from 1 to 604800"},
		{"not a number", strings.ReplaceAll(s3, "X-Amz-Expires=600", "X-Amz-Expires=1e3"), "from 1 to 604800"},
		{"huge", strings.ReplaceAll(s3, "X-Amz-Expires=600", "X-Amz-Expires=99999999999999999999"), "from 1 to 604800"},
		{"over a week", strings.ReplaceAll(s3, "X-Amz-Expires=600", "X-Amz-Expires=604801"), "less than a week"},
		{"absent", strings.ReplaceAll(s3, "X-Amz-Expires=600&", ""), "requires the X-Amz-Algorithm"},
		{"twice", strings.ReplaceAll(s3, "X-Amz-Expires=600", "X-Amz-Expires=600&X-Amz-Expires=601"), "more than once"},
		{"algorithm", strings.ReplaceAll(s3, "AWS4-HMAC-SHA256&", "AWS4-HMAC-SHA512&"), "only supports"},
		{"date", strings.ReplaceAll(s3, "X-Amz-Date=20260901T120000Z", "X-Amz-Date=20260901T120000.0Z"), "Long Format"},
	} {
		wantError(t, c.name, verifyAt(t, c.text, signedAt, ""), 400, "AuthorizationQueryParametersError", c.message)
	}
	wantError(t, "both forms", verifyAt(t, strings.Replace(s3, "\r\n", "\r\nAuthorization: x\r\n", 1), signedAt, ""), 400, "InvalidArgument", "Only one auth mechanism")
	wantError(t, "longer", verifyAt(t, strings.ReplaceAll(s3, "X-Amz-Expires=600", "X-Amz-Expires=700"), signedAt, ""), 403, "SignatureDoesNotMatch", "")
	chunked := strings.Replace(s3, "\r\n", "\r\nX-Amz-Content-Sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n", 1)
	wantError(t, "chunked", verifyAt(t, chunked, signedAt, ""), 403, "AccessDenied", "not signed")
}

func TestAPresignedTokenIsOne(t *testing.T) {
	text := unsignedRequest{method: "GET", target: "/b/k", service: "s3", presign: true, mode: unsignedPayload, token: testToken}.sign(t)
	if err := verifyAt(t, text, signedAt, testToken); err != nil {
		t.Error(err)
	}
	wantError(t, "none", verifyAt(t, text, signedAt, ""), 400, "InvalidToken", "")
	wantError(t, "two", verifyAt(t, strings.Replace(text, "\r\n", "\r\nX-Amz-Security-Token: "+testToken+"\r\n", 1), signedAt, testToken), 400, "InvalidToken", "")
}

func TestLookupDecides(t *testing.T) {
	text := unsignedRequest{method: "GET", target: "/b/k", service: "s3", token: testToken}.sign(t)
	fault := errors.New("disk")
	for name, c := range map[string]struct {
		key  Key
		err  error
		code string
	}{
		"expired":         {key: Key{Secret: testSecret, SessionToken: testToken, Expires: signedAt}, code: "ExpiredToken"},
		"expired, forged": {key: Key{Secret: "other", SessionToken: testToken, Expires: signedAt}, code: "SignatureDoesNotMatch"},
		"no secret":       {key: Key{SessionToken: testToken}, code: "InvalidAccessKeyId"},
		"unknown":         {err: fmt.Errorf("look up: %w", ErrUnknownKey), code: "InvalidAccessKeyId"},
		"own error":       {err: fmt.Errorf("look up: %w", &Error{Status: 403, Code: "AccountProblem", Message: "x"}), code: "AccountProblem"},
		"broken":          {err: fault, code: "ServiceUnavailable"},
	} {
		r := parse(t, strings.ReplaceAll(strings.TrimSuffix(text, "\r\n\r\n"), "\r\n", "\n"), "")
		v := &Verifier{Now: func() time.Time { return signedAt }}
		v.Lookup = func(_ context.Context, id, token string) (Key, error) {
			if id != testID || token != testToken {
				t.Errorf("looked up %q with token %q", id, token)
			}
			return c.key, c.err
		}
		_, err := v.Verify(r)
		if !is(err, c.code) || c.err != nil && !errors.Is(err, errors.Unwrap(c.err)) && !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}

func TestScopeIsPinned(t *testing.T) {
	text := unsignedRequest{method: "GET", target: "/b/k", service: "s3"}.sign(t)
	for _, c := range []struct{ service, region, message string }{{"eks-auth", "", "correct service: 'eks-auth'"}, {"", "us-east-1", "valid region"}} {
		r := parse(t, strings.ReplaceAll(strings.TrimSuffix(text, "\r\n\r\n"), "\r\n", "\n"), "")
		v := &Verifier{Now: func() time.Time { return signedAt }, Lookup: lookup(""), Service: c.service, Region: c.region}
		_, err := v.Verify(r)
		wantError(t, c.service+c.region, err, 403, "SignatureDoesNotMatch", c.message)
	}
}

func TestPeekReadsTheScopeAndProvesNothing(t *testing.T) {
	for name, text := range wires(t) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			t.Fatal(err)
		}
		s, ok := Peek(r)
		if !ok || s.AccessKeyID != testID || s.Region != "eu-central-1" || s.Date != "20260901" || s.Service == "" {
			t.Errorf("%s: %+v, %v", name, s, ok)
		}
	}
	for _, authorization := range []string{"", "Bearer x", "AWS4-HMAC-SHA256 Credential=a/b/c"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", authorization)
		if s, ok := Peek(r); ok {
			t.Errorf("%q: %+v", authorization, s)
		}
	}
}

func TestAHandlerSeesTheNormalizedPath(t *testing.T) {
	text := unsignedRequest{method: "GET", target: "/clusters/x%2Fy", service: "eks"}.sign(t)
	r := parse(t, strings.ReplaceAll(strings.TrimSuffix(strings.Replace(text, "/clusters/", "/other/..//clusters/./", 1), "\r\n\r\n"), "\r\n", "\n"), "")
	v := &Verifier{Now: func() time.Time { return signedAt }, Lookup: lookup("")}
	if _, err := v.Verify(r); err != nil {
		t.Fatal(err)
	}
	if r.URL.Path != "/clusters/x/y" || r.URL.EscapedPath() != "/clusters/x%2Fy" {
		t.Errorf("path %q, escaped %q", r.URL.Path, r.URL.EscapedPath())
	}
}

func TestWhatCanBeReadInTwoWaysIsRefused(t *testing.T) {
	get := unsignedRequest{method: "GET", target: "/b/k?a=b", service: "s3", token: testToken}.sign(t)
	chunked := put(streamUnsignedTrailer, "hello", nil).sign(t)
	twice := func(text, name string) string {
		at := strings.Index(text, name+":")
		end := at + strings.Index(text[at:], "\r\n") + 2
		return text[:end] + text[at:end] + text[end:]
	}
	for name, c := range map[string]struct{ text, token, code string }{
		"two hashes":          {twice(get, "X-Amz-Content-Sha256"), testToken, "InvalidRequest"},
		"two tokens":          {twice(get, "X-Amz-Security-Token"), testToken, "InvalidToken"},
		"two dates":           {twice(get, "X-Amz-Date"), testToken, "AccessDenied"},
		"two authorizations":  {twice(get, "Authorization"), testToken, "MalformedHttpRequest"},
		"two decoded lengths": {twice(chunked, "X-Amz-Decoded-Content-Length"), "", "InvalidRequest"},
		"two trailers":        {twice(chunked, "X-Amz-Trailer"), "", "InvalidRequest"},
		"no decoded length":   {strings.Replace(chunked, "X-Amz-Decoded-Content-Length: 5", "X-Amz-Decoded-Content-Length: ", 1), "", "MissingContentLength"},
		"negative length":     {strings.Replace(chunked, "X-Amz-Decoded-Content-Length: 5", "X-Amz-Decoded-Content-Length: -5", 1), "", "InvalidRequest"},
		"unknown trailer":     {strings.Replace(chunked, "X-Amz-Trailer: x-amz-checksum-crc32", "X-Amz-Trailer: x-amz-meta-a", 1), "", "InvalidRequest"},
		"xxhash trailer":      {strings.Replace(chunked, "X-Amz-Trailer: x-amz-checksum-crc32", "X-Amz-Trailer: x-amz-checksum-xxhash64", 1), "", "NotImplemented"},
		"trailer and header":  {put(streamUnsignedTrailer, "hello", map[string]string{"X-Amz-Checksum-Crc32": crc("hello")}).sign(t), "", "InvalidRequest"},
		"bad escape":          {strings.Replace(get, "?a=b", "?a=%zz", 1), testToken, "MalformedHttpRequest"},
		"bad escape in name":  {strings.Replace(get, "?a=b", "?%z=b", 1), testToken, "MalformedHttpRequest"},
		"opaque target":       {strings.Replace(get, "GET /b/k?a=b", "GET mailto:x", 1), testToken, "MalformedHttpRequest"},
	} {
		if err := verifyAt(t, c.text, signedAt, c.token); !is(err, c.code) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}

// resign signs what r says now, as a client might that is not the SDK.
func resign(t *testing.T, r *http.Request) {
	t.Helper()
	c, fault := parseClaim(r)
	if fault != nil {
		t.Fatal(fault)
	}
	canonical, fault := c.canonicalRequest(r, emptyHash)
	if fault != nil {
		t.Fatal(fault)
	}
	old := r.Header.Get("Authorization")
	at := strings.Index(old, "Signature=") + len("Signature=")
	r.Header.Set("Authorization", old[:at]+hex.EncodeToString(signature(deriveKey(testSecret, c.Scope), c.stringToSign(canonical))))
}

func TestTheDateHeaderWillDo(t *testing.T) {
	for _, date := range []string{"Tue, 01 Sep 2026 12:00:00 GMT", "20260901T120000Z", "Tuesday, 01-Sep-26 12:00:00 GMT"} {
		r := httptest.NewRequest("GET", "http://iam.example/?Action=A", nil)
		r.Header.Set("Date", date)
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+testID+"/20260901/us-east-1/iam/aws4_request, SignedHeaders=date;host, Signature="+strings.Repeat("0", 64))
		resign(t, r)
		v := &Verifier{Now: func() time.Time { return signedAt }, Lookup: lookup("")}
		got, err := v.Verify(r)
		if err != nil || !got.Time.Equal(signedAt) {
			t.Errorf("%s: %+v, %v", date, got, err)
		}
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "date;host", "host", 1))
		if _, err := v.Verify(r); !is(err, "SignatureDoesNotMatch") {
			t.Errorf("an unsigned Date: %v", err)
		}
	}
}

func TestHeadersThatNetHTTPKeepsElsewhereAreSigned(t *testing.T) {
	r := httptest.NewRequest("POST", "http://iam.example/", http.NoBody)
	r.ContentLength, r.TransferEncoding = 0, []string{"chunked"}
	r.Header.Set("X-Amz-Date", "20260901T120000Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+testID+"/20260901/us-east-1/iam/aws4_request, SignedHeaders=content-length;host;transfer-encoding;x-amz-date, Signature="+strings.Repeat("0", 64))
	resign(t, r)
	v := &Verifier{Now: func() time.Time { return signedAt }, Lookup: lookup("")}
	if _, err := v.Verify(r); err != nil {
		t.Error(err)
	}
	r.Host = "sts.example"
	if _, err := v.Verify(r); !is(err, "SignatureDoesNotMatch") {
		t.Errorf("another host: %v", err)
	}
}
