package sigv4

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// open verifies the head of a request; its body is not read yet.
func open(t testing.TB, text string) (*http.Request, error) {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	_, err = (&Verifier{Now: func() time.Time { return signedAt }, Lookup: lookup("")}).Verify(r)
	return r, err
}

func put(mode, body string, header map[string]string) unsignedRequest {
	return unsignedRequest{method: "PUT", target: "/b/k", service: "s3", body: body, mode: mode, header: header}
}

func TestTheLastByteWaitsForTheProof(t *testing.T) {
	data := string(content(20000))
	for _, mode := range []string{"", streamSigned, streamSignedTrailer, streamUnsignedTrailer} {
		text := put(mode, data, nil).sign(t)
		if mode == streamUnsignedTrailer {
			text = strings.Replace(text, crc(data), crc("other"), 1)
		} else {
			// The last data byte of what the client sent.
			at := strings.LastIndex(text, data[len(data)-20:]) + 19
			text = text[:at] + string(text[at]^1) + text[at+1:]
		}
		r, err := open(t, text)
		if err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		// A reader that never asks for io.EOF.
		n, err := io.CopyN(io.Discard, r.Body, r.ContentLength)
		if err == nil || n >= r.ContentLength {
			t.Errorf("%s: %d bytes of a forged payload, %v", mode, n, err)
		}
		if algorithm, _ := checksumGiven(r); algorithm != "" {
			t.Errorf("%s: a checksum of a forged payload", mode)
		}
		// The error stays.
		if _, again := r.Body.Read(make([]byte, 10)); again != err {
			t.Errorf("%s: then %v", mode, again)
		}
	}
}

func TestASignedChunkIsProvedBeforeItIsHandedOut(t *testing.T) {
	data := string(content(3 * 8192))
	text := put(streamSigned, data, nil).sign(t)
	at := strings.Index(text, data[8192:8192+40])
	r, err := open(t, text[:at]+"X"+text[at+1:])
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	_, err = io.Copy(&got, iotest.OneByteReader(r.Body))
	if !is(err, "SignatureDoesNotMatch") || got.String() != data[:8192] {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
}

func TestPayloadsThatAreNotWhatTheySayAreRefused(t *testing.T) {
	other := map[string]string{"X-Amz-Checksum-Crc32": crc("other")}
	for name, c := range map[string]struct {
		text string
		code string
	}{
		"hash":                 {strings.Replace(put("", "hello", nil).sign(t), "\r\n\r\nhello", "\r\n\r\nhellO", 1), "XAmzContentSHA256Mismatch"},
		"hash of no body":      {put(hexHash([]byte("hello")), "", nil).sign(t), "XAmzContentSHA256Mismatch"},
		"checksum":             {put("", "hello", other).sign(t), "BadDigest"},
		"checksum, unsigned":   {put(unsignedPayload, "hello", other).sign(t), "BadDigest"},
		"checksum, empty":      {put(unsignedPayload, "", other).sign(t), "BadDigest"},
		"checksum not one":     {put("", "hello", map[string]string{"X-Amz-Checksum-Sha256": "AAAA"}).sign(t), "InvalidRequest"},
		"two checksums":        {put("", "hello", map[string]string{"X-Amz-Checksum-Crc32": crc("hello"), "X-Amz-Checksum-Sha1": "AAAA"}).sign(t), "InvalidRequest"},
		"xxhash":               {put("", "hello", map[string]string{"X-Amz-Checksum-Xxhash3": "AAAA"}).sign(t), "NotImplemented"},
		"Content-MD5":          {put("", "hello", map[string]string{"Content-Md5": "XUFAKrxLKna5cZ2REBfFkw=="}).sign(t), "BadDigest"},
		"Content-MD5 not one":  {put("", "hello", map[string]string{"Content-Md5": "hello"}).sign(t), "InvalidDigest"},
		"unknown mode":         {put("SIGNED", "hello", nil).sign(t), "InvalidArgument"},
		"version 4A":           {put("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "hello", nil).sign(t), "NotImplemented"},
		"too long":             {strings.Replace(put(unsignedPayload, "hello", nil).sign(t), "Content-Length: 5", "Content-Length: 5368709121", 1), "EntityTooLarge"},
		"cut off":              {strings.TrimSuffix(put(unsignedPayload, "hello", nil).sign(t), "o"), "IncompleteBody"},
		"no length":            {strings.Replace(put(unsignedPayload, "hello", nil).sign(t), "Content-Length: 5", "Transfer-Encoding: chunked", 1), "MissingContentLength"},
		"form":                 {strings.Replace(unsignedRequest{method: "POST", target: "/", service: "iam", body: "Action=A"}.sign(t), "Action=A", "Action=B", 1), "SignatureDoesNotMatch"},
		"form too long":        {unsignedRequest{method: "POST", target: "/", service: "iam", body: strings.Repeat("a", MaxBody+1)}.sign(t), "RequestEntityTooLarge"},
		"hash unlike the body": {unsignedRequest{method: "POST", target: "/", service: "iam", body: "Action=A", header: map[string]string{"X-Amz-Content-Sha256": emptyHash}}.sign(t), "SignatureDoesNotMatch"},
	} {
		r, err := open(t, c.text)
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
		}
		if !is(err, c.code) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}

func TestAnUnsignedFormIsRefused(t *testing.T) {
	// Signed with UNSIGNED-PAYLOAD as the last line of the canonical request,
	// which only S3 believes.
	text := unsignedRequest{method: "PUT", target: "/", service: "s3", body: "Action=A", mode: unsignedPayload}.sign(t)
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	c, fault := parseClaim(r)
	if fault != nil {
		t.Fatal(fault)
	}
	c.Service = "iam"
	canonical, fault := c.canonicalRequest(r, unsignedPayload)
	if fault != nil {
		t.Fatal(fault)
	}
	copy(c.signature[:], signature(deriveKey(testSecret, c.Scope), c.stringToSign(canonical)))
	v := &Verifier{Now: func() time.Time { return signedAt }, Lookup: lookup("")}
	if fault := v.verify(r, c); fault == nil || fault.Code != "SignatureDoesNotMatch" {
		t.Errorf("%v", fault)
	}
}

func TestTheSumOfACompletedUploadIsNotTheBodys(t *testing.T) {
	text := unsignedRequest{method: "POST", target: "/b/k?uploadId=1", service: "s3", body: "<x/>", header: map[string]string{"X-Amz-Checksum-Crc32": "AAAAAA==-2"}}.sign(t)
	r, err := open(t, text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		t.Error(err)
	}
}

// frameBody is a chunked payload of n decoded bytes, alone.
func frameBody(raw io.Reader, mode string, n int64) *body {
	c := &claim{Scope: Scope{AccessKeyID: testID, Date: "20260901", Region: "eu-central-1", Service: "s3"}, wording: "s3", time: signedAt}
	b := &body{claim: c, raw: io.NopCloser(raw), left: n}
	if strings.HasSuffix(mode, "-TRAILER") {
		d, _ := newChecksum(c, "x-amz-checksum-crc32")
		b.digests = digests{d}
	}
	b.frames = newFrames(b, mode, deriveKey(testSecret, c.Scope))
	if n == 0 {
		if fault := b.finish(); fault != nil {
			b.err = fault
		} else {
			b.err = io.EOF
		}
	}
	return b
}

func TestMalformedChunksAreRefused(t *testing.T) {
	big := string(content(8192))
	end := "0\r\nx-amz-checksum-crc32:" + crc("hello") + "\r\n\r\n"
	for name, c := range map[string]struct {
		body string
		n    int64
		code string
	}{
		"nothing":           {"", 5, "IncompleteBody"},
		"cut off":           {"5\r\nhel", 5, "IncompleteBody"},
		"no final chunk":    {"5\r\nhello\r\n", 5, "IncompleteBody"},
		"no trailer":        {"5\r\nhello\r\n0\r\n\r\n", 5, "MalformedTrailerError"},
		"no end of trailer": {"5\r\nhello\r\n" + strings.TrimSuffix(end, "\r\n"), 5, "IncompleteBody"},
		"early end":         {end, 5, "IncompleteBody"},
		"more than said":    {"5\r\nhello\r\n" + end, 4, "InvalidRequest"},
		"less than said":    {"5\r\nhello\r\n" + end, 6, "InvalidChunkSizeError"},
		"small chunk":       {"1\r\nh\r\n4\r\nello\r\n" + end, 5, "InvalidChunkSizeError"},
		"chunk too many":    {"5\r\nhello\r\n1\r\nx\r\n" + end, 5, "InvalidRequest"},
		"wider than said":   {"5\r\nhelloo\r\n" + end, 5, "InvalidRequest"},
		"negative":          {"-5\r\nhello\r\n" + end, 5, "InvalidRequest"},
		"plus":              {"+5\r\nhello\r\n" + end, 5, "InvalidRequest"},
		"space":             {" 5\r\nhello\r\n" + end, 5, "InvalidRequest"},
		"not a number":      {"x\r\nhello\r\n" + end, 5, "InvalidRequest"},
		"no size":           {"\r\nhello\r\n" + end, 5, "InvalidRequest"},
		"overflow":          {"ffffffffffffffff\r\nhello\r\n" + end, 5, "InvalidRequest"},
		"long size":         {strings.Repeat("0", 17) + "5\r\nhello\r\n" + end, 5, "InvalidRequest"},
		"long line":         {strings.Repeat("0", 5000) + "5\r\nhello\r\n" + end, 5, "InvalidRequest"},
		"extension":         {"5;a=b\r\nhello\r\n" + end, 5, "InvalidRequest"},
		"signed":            {"5;chunk-signature=00\r\nhello\r\n" + end, 5, "InvalidRequest"},
		"other trailer":     {"5\r\nhello\r\n0\r\nx-amz-checksum-sha1:AAAA\r\n\r\n", 5, "MalformedTrailerError"},
		"trailer twice":     {"5\r\nhello\r\n0\r\n" + strings.Repeat("x-amz-checksum-crc32:"+crc("hello")+"\r\n", 2) + "\r\n", 5, "MalformedTrailerError"},
		"trailer not one":   {"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AA\r\n\r\n", 5, "InvalidRequest"},
		"trailer no value":  {"5\r\nhello\r\n0\r\nx-amz-checksum-crc32\r\n\r\n", 5, "MalformedTrailerError"},
		"trailer of others": {"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:" + crc("x") + "\r\n\r\n", 5, "BadDigest"},
		"endless trailer":   {"5\r\nhello\r\n0\r\n" + strings.Repeat("a:b\r\n", 1000), 5, "MalformedTrailerError"},
		"more after it":     {"5\r\nhello\r\n" + end + "x", 5, "InvalidRequest"},
		"two small":         {"2000\r\n" + big + "\r\n5\r\nhello\r\n5\r\nhello\r\n" + end, 8202, "InvalidChunkSizeError"},
	} {
		_, err := io.Copy(io.Discard, frameBody(strings.NewReader(c.body), streamUnsignedTrailer, c.n))
		if !is(err, c.code) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	_, err := io.Copy(io.Discard, frameBody(strings.NewReader("800001;chunk-signature=00\r\n"), streamSigned, MaxObject))
	if !is(err, "InvalidChunkSizeError") {
		t.Errorf("a signed chunk of more than 8 MiB: %v", err)
	}
	_, err = io.Copy(io.Discard, frameBody(strings.NewReader("5\r\nhello\r\n0\r\n\r\n"), streamSigned, 5))
	if !is(err, "InvalidRequest") {
		t.Errorf("an unsigned chunk among signed ones: %v", err)
	}
}

func TestABrokenConnectionIsNoEnd(t *testing.T) {
	fault := errors.New("connection reset")
	for mode, text := range map[string]string{"": "hello", streamUnsignedTrailer: "5\r\nhello\r\n"} {
		b := &body{claim: &claim{wording: "s3"}, raw: io.NopCloser(io.MultiReader(strings.NewReader(text), iotest.ErrReader(fault))), left: 6}
		if mode != "" {
			b = frameBody(b.raw, mode, 5)
		}
		_, err := io.Copy(io.Discard, b)
		if !is(err, "IncompleteBody") || !errors.Is(err, fault) {
			t.Errorf("%q: %v", mode, err)
		}
	}
}

func TestContentEncodingsOfTheObjectStay(t *testing.T) {
	for given, want := range map[string]string{"aws-chunked": "", "aws-chunked,gzip": "gzip", "gzip, AWS-chunked": "gzip", "br,aws-chunked , gzip": "br,gzip"} {
		h := http.Header{"Content-Encoding": {given}}
		dropChunkedEncoding(h)
		if got := h.Get("Content-Encoding"); got != want {
			t.Errorf("%q became %q, want %q", given, got, want)
		}
	}
}

// https://reveng.sourceforge.io/crc-catalogue/17plus.htm#crc.cat.crc-64-nvme
func TestCRC64NVMEsCheckValue(t *testing.T) {
	d, _ := newChecksum(&claim{}, "x-amz-checksum-crc64nvme")
	d.hash.Write([]byte("123456789"))
	if got := hex.EncodeToString(d.hash.Sum(nil)); got != "ae8b14860a799888" {
		t.Error(got)
	}
}

func TestEverySignatureInTheBodyCounts(t *testing.T) {
	for _, mode := range []string{streamSigned, streamSignedTrailer} {
		for _, data := range []string{"", "hello", string(content(8192 + 5))} {
			text := put(mode, data, nil).sign(t)
			head := strings.Index(text, "\r\n\r\n")
			n := 0
			for _, mark := range []string{"chunk-signature=", "x-amz-trailer-signature:"} {
				for at := head; ; n++ {
					next := strings.Index(text[at:], mark)
					if next < 0 {
						break
					}
					at += next + len(mark)
					forged := text[:at] + strings.Repeat("0", 64) + text[at+64:]
					r, err := open(t, forged)
					if err == nil {
						_, err = io.Copy(io.Discard, r.Body)
					}
					if !is(err, "SignatureDoesNotMatch") {
						t.Errorf("%s, %d bytes, signature %d: %v", mode, len(data), n, err)
					}
				}
			}
			if want := strings.Count(text[head:], "signature"); n != want {
				t.Errorf("%s: %d signatures tried of %d", mode, n, want)
			}
		}
	}
}

func TestForgedBytesAreWiped(t *testing.T) {
	for _, mode := range []string{"", unsignedPayload, streamUnsignedTrailer} {
		text := put(mode, "hello", map[string]string{"X-Amz-Checksum-Crc32": crc("other")}).sign(t)
		if mode == streamUnsignedTrailer {
			text = strings.Replace(put(mode, "hello", nil).sign(t), crc("hello"), crc("other"), 1)
		}
		r, err := open(t, text)
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 10)
		n, err := r.Body.Read(p)
		if n != 0 || !is(err, "BadDigest") || !bytes.Equal(p, make([]byte, 10)) {
			t.Errorf("%s: %d bytes %q, %v", mode, n, p, err)
		}
	}
}

func TestASignedHeaderMustBeThere(t *testing.T) {
	text := unsignedRequest{method: "GET", target: "/b/k", service: "s3", header: map[string]string{"If-Match": ""}}.sign(t)
	if _, err := open(t, text); err != nil {
		t.Fatal(err)
	}
	_, err := open(t, strings.Replace(text, "If-Match: \r\n", "", 1))
	if !is(err, "SignatureDoesNotMatch") || !strings.Contains(text, "If-Match: \r\n") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestAChecksumInAPresignedURLSaysNothing(t *testing.T) {
	text := unsignedRequest{method: "PUT", target: "/b/k?x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32", service: "s3", presign: true, mode: unsignedPayload, body: "hello"}.sign(t)
	r, err := open(t, text)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if algorithm, _ := checksumGiven(r); err != nil || string(body) != "hello" || algorithm != "" {
		t.Errorf("%q, %v, checksum %s", body, err, algorithm)
	}
}

func TestARefusedClientIsNotAskedForItsBody(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &Verifier{Now: func() time.Time { return signedAt }, Lookup: lookup("")}
		_, err := v.Verify(r)
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
		}
		if e, ok := errors.AsType[*Error](err); ok {
			w.WriteHeader(e.Status)
		}
	}))
	defer server.Close()
	for _, mode := range []string{"", streamSigned, streamUnsignedTrailer} {
		text := put(mode, "hello", nil).sign(t)
		head, body, _ := strings.Cut(text, "\r\n\r\n")
		head += "\r\nExpect: 100-continue\r\n\r\n"
		for head, want := range map[string][]string{
			head: {"HTTP/1.1 100 Continue", "HTTP/1.1 200 OK"},
			strings.Replace(head, "PUT /b/k", "PUT /b/l", 1): {"HTTP/1.1 403 Forbidden"},
		} {
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			answer := bufio.NewReader(conn)
			io.WriteString(conn, head)
			for i, line := range want {
				got, err := answer.ReadString('\n')
				if strings.TrimSpace(got) != line {
					t.Fatalf("%s: answer %d is %q, %v; want %q", mode, i, got, err, line)
				}
				if i == 0 && len(want) == 2 {
					answer.ReadString('\n') // the empty line
					io.WriteString(conn, body)
				}
			}
		}
	}
}

// checksumGiven is the checksum that the client gave for a payload, once it is proved:
// "CRC32", "CRC64NVME", "SHA256", … and its value in base64.
func checksumGiven(r *http.Request) (algorithm, value string) {
	b, ok := r.Body.(*body)
	if !ok || b.err != io.EOF {
		return "", ""
	}
	for _, d := range b.digests {
		if d.algorithm != "" {
			return d.algorithm, d.text
		}
	}
	return "", ""
}
