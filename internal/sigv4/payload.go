package sigv4

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Values of x-amz-content-sha256 that are not a hash
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html).
const (
	unsignedPayload       = "UNSIGNED-PAYLOAD"
	streamSigned          = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	streamSignedTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	streamUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

	emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// payload is how a request's body is signed.
type payload struct {
	hash    string // the last line of the canonical request
	content []byte // of a service other than S3
	length  int64  // decoded, of S3
	digests digests
}

// newPayload reads the body's form from the head of the request, and the whole
// body of a service other than S3.
func newPayload(r *http.Request, c *claim) (*payload, *Error) {
	declared, ok := single(r.Header, "X-Amz-Content-Sha256")
	if !ok {
		return nil, c.refuse(invalidRequest, "The x-amz-content-sha256 header occurs more than once.")
	}
	if !c.s3() {
		content, fault := readWhole(r, c)
		if fault != nil {
			return nil, fault
		}
		p := &payload{content: content, hash: hexHash(content)}
		if len(declared) == len(p.hash) && declared != p.hash {
			return nil, c.refuse(payloadHash, "")
		}
		return p, nil
	}
	if declared == "" {
		if !c.presigned {
			return nil, c.refuse(invalidRequest, "Missing required header for this request: x-amz-content-sha256")
		}
		declared = c.parameter("X-Amz-Content-Sha256")
		if declared == "" {
			declared = unsignedPayload
		}
	}
	return objectPayload(r, c, declared)
}

func objectPayload(r *http.Request, c *claim, declared string) (*payload, *Error) {
	p := &payload{hash: declared, length: r.ContentLength}
	switch {
	case declared == streamSigned, declared == streamSignedTrailer, declared == streamUnsignedTrailer:
		if c.presigned {
			return nil, c.refuse(invalidRequest, "A presigned request cannot be sent in chunks ("+declared+").")
		}
		length, ok := single(r.Header, "X-Amz-Decoded-Content-Length")
		if length == "" {
			return nil, c.refuse(noLength, "You must provide the x-amz-decoded-content-length HTTP header.")
		}
		n, err := strconv.ParseUint(length, 10, 62)
		if err != nil || !ok {
			return nil, c.refuse(invalidRequest, "The x-amz-decoded-content-length header is not a number.")
		}
		p.length = int64(n)
	case declared == unsignedPayload:
	case strings.HasPrefix(declared, "STREAMING-AWS4-ECDSA-P256-SHA256-"):
		return nil, c.refuse(notImplemented, "Signature Version 4A (AWS4-ECDSA-P256-SHA256) is not implemented here. Use AWS4-HMAC-SHA256.")
	default:
		sum, err := hex.DecodeString(declared)
		if err != nil || len(sum) != 32 {
			return nil, c.refuse(invalidArgument, "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.")
		}
		p.digests = append(p.digests, contentHash(sum))
	}
	switch {
	case p.length < 0:
		return nil, c.refuse(noLength, "")
	case p.length > MaxObject:
		return nil, c.refuse(tooLarge, "")
	}
	fault := p.digests.read(r, c, strings.HasSuffix(declared, "-TRAILER"))
	return p, fault
}

func (c *claim) parameter(name string) string {
	for _, p := range c.query {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

// attach gives r the body that proves itself.
func (p *payload) attach(r *http.Request, c *claim, signingKey []byte) *Error {
	if !c.s3() {
		r.ContentLength = int64(len(p.content))
		r.Body = io.NopCloser(bytes.NewReader(p.content))
		// What was signed is what the handler sees.
		if raw := rawPath(r.URL); raw != "" && normalize(raw) != raw {
			r.URL.RawPath = normalize(raw)
			r.URL.Path, _ = url.PathUnescape(r.URL.RawPath)
		}
		return nil
	}
	b := &body{claim: c, raw: r.Body, left: p.length, digests: p.digests}
	if b.raw == nil {
		b.raw = http.NoBody
	}
	if strings.HasPrefix(p.hash, "STREAMING-") {
		b.frames = newFrames(b, p.hash, signingKey)
		dropChunkedEncoding(r.Header)
	}
	r.Body, r.ContentLength = b, p.length
	if p.length == 0 {
		// Nobody reads a body of no bytes.
		if fault := b.finish(); fault != nil {
			return fault
		}
		b.err = io.EOF
	}
	return nil
}

// dropChunkedEncoding takes aws-chunked out of Content-Encoding: it is of the
// transfer, the others are of the object.
func dropChunkedEncoding(h http.Header) {
	var kept []string
	for _, value := range h["Content-Encoding"] {
		for coding := range strings.SplitSeq(value, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "aws-chunked") {
				kept = append(kept, coding)
			}
		}
	}
	h.Del("Content-Encoding")
	if len(kept) > 0 {
		h.Set("Content-Encoding", strings.Join(kept, ","))
	}
}

// body is a payload that proves itself while it is read: it withholds its last
// bytes until hash, chunk signatures, trailer and checksums hold.
type body struct {
	claim   *claim
	raw     io.ReadCloser
	left    int64 // decoded bytes still to come
	digests digests
	frames  *frames // of a chunked payload
	err     error   // what every further Read returns
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, fault := b.fill(p[:min(int64(len(p)), b.left)])
	if fault == nil {
		b.digests.write(p[:n])
		b.left -= int64(n)
		if b.left == 0 {
			fault = b.finish()
		}
	}
	if fault != nil {
		clear(p[:n])
		b.err = fault
		return 0, fault
	}
	if b.left == 0 {
		b.err = io.EOF
	}
	return n, nil
}

// fill reads some decoded bytes.
func (b *body) fill(p []byte) (int, *Error) {
	if b.frames != nil {
		return b.frames.fill(p)
	}
	n, err := b.raw.Read(p)
	if n == 0 && err != nil {
		return 0, b.broken(err)
	}
	return n, nil
}

// finish proves the payload when its last byte was read.
func (b *body) finish() *Error {
	if b.frames != nil {
		if fault := b.frames.finish(); fault != nil {
			return fault
		}
	}
	return b.digests.check(b.claim)
}

// broken is the error of a body that could not be read to its end.
func (b *body) broken(err error) *Error {
	fault := b.claim.refuse(incompleteBody, "")
	fault.Err = err
	return fault
}

// Close closes the connection's body.
func (b *body) Close() error { return b.raw.Close() }
