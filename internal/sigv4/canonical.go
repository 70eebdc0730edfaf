package sigv4

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// parameter is one of the query: decoded where it is read, encoded where it is signed.
type parameter struct{ name, value string }

// canonicalRequest is the text whose hash is signed
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html#create-canonical-request).
func (c *claim) canonicalRequest(r *http.Request, payloadHash string) ([]byte, *Error) {
	b := make([]byte, 0, 1024)
	b = append(b, r.Method...)
	b = append(b, '\n')
	b = appendPath(b, rawPath(r.URL), c.s3())
	b = append(b, '\n')
	b = c.appendQuery(b)
	b = append(b, '\n')
	for _, name := range c.signedHeaders {
		var ok bool
		if b, ok = appendHeader(b, r, name); !ok {
			return nil, c.refuse(mismatch, "")
		}
	}
	b = append(b, '\n')
	for i, name := range c.signedHeaders {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, '\n')
	return append(b, payloadHash...), nil
}

func (c *claim) stringToSign(canonical []byte) []byte {
	sum := sha256.Sum256(canonical)
	b := c.appendHead(make([]byte, 0, 192), algorithm)
	return hex.AppendEncode(b, sum[:])
}

// appendHead begins every string to sign: algorithm, time, scope.
func (c *claim) appendHead(b []byte, algorithm string) []byte {
	b = append(b, algorithm...)
	b = append(b, '\n')
	b = c.time.AppendFormat(b, basicISO)
	b = append(b, '\n')
	for _, part := range [...]string{c.Date, c.Region, c.Service} {
		b = append(b, part...)
		b = append(b, '/')
	}
	b = append(b, terminator...)
	return append(b, '\n')
}

// rawPath is the path as it came over the wire, percent-encoding and all.
func rawPath(u *url.URL) string {
	if u.RawPath != "" {
		if path, err := url.PathUnescape(u.RawPath); err == nil && path == u.Path {
			return u.RawPath
		}
	}
	return u.EscapedPath()
}

// appendPath appends the canonical path. S3 encodes it once and keeps its
// segments as they are: "a//b" and "a/../b" are keys. The other services
// normalise it and encode what is encoded already once more.
func appendPath(b []byte, raw string, s3 bool) []byte {
	if raw == "" {
		return append(b, '/')
	}
	if !s3 {
		return appendEscaped(b, normalize(raw), true)
	}
	for i := 0; i < len(raw); i++ {
		char := raw[i]
		if char == '/' {
			b = append(b, '/')
			continue
		}
		if char == '%' && i+2 < len(raw) {
			// rawPath gives nothing else than well-formed escapes.
			char = unhex(raw[i+1])<<4 | unhex(raw[i+2])
			i += 2
		}
		b = appendByte(b, char)
	}
	return b
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}

// normalize removes empty, "." and ".." segments.
func normalize(path string) string {
	if !strings.Contains(path, "//") && !strings.Contains(path, "/.") && strings.HasPrefix(path, "/") {
		return path
	}
	var kept []string
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segment)
		}
	}
	normal := "/" + strings.Join(kept, "/")
	if len(kept) > 0 && strings.HasSuffix(path, "/") {
		normal += "/"
	}
	return normal
}

// parseQuery decodes the parameters as net/url does, but keeps their order and
// refuses what net/url would drop.
func parseQuery(raw string) ([]parameter, error) {
	if raw == "" {
		return nil, nil
	}
	list := make([]parameter, 0, strings.Count(raw, "&")+1)
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, err
		}
		value, err = url.QueryUnescape(value)
		if err != nil {
			return nil, err
		}
		list = append(list, parameter{name, value})
	}
	return list, nil
}

// appendQuery appends the canonical query: sorted by encoded name, then value,
// without the signature itself.
func (c *claim) appendQuery(b []byte) []byte {
	if len(c.query) == 0 {
		return b
	}
	list := make([]parameter, 0, len(c.query))
	for _, p := range c.query {
		if !c.presigned || p.name != "X-Amz-Signature" {
			list = append(list, parameter{escape(p.name), escape(p.value)})
		}
	}
	slices.SortFunc(list, func(p, q parameter) int {
		return cmp.Or(strings.Compare(p.name, q.name), strings.Compare(p.value, q.value))
	})
	for i, p := range list {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(b, p.name...)
		b = append(b, '=')
		b = append(b, p.value...)
	}
	return b
}

// appendHeader appends one canonical header: its values, trimmed and with white
// space folded, joined by commas. ok is false if the request has none.
func appendHeader(b []byte, r *http.Request, name string) (_ []byte, ok bool) {
	b = append(b, name...)
	b = append(b, ':')
	values := r.Header[http.CanonicalHeaderKey(name)]
	if len(values) == 0 {
		// net/http takes these out of the header.
		switch {
		case name == "host":
			return append(appendFolded(b, r.Host), '\n'), true
		case name == "content-length" && r.ContentLength >= 0:
			return append(strconv.AppendInt(b, r.ContentLength, 10), '\n'), true
		case name == "transfer-encoding" && len(r.TransferEncoding) > 0:
			values = r.TransferEncoding
		default:
			return b, false
		}
	}
	for i, value := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendFolded(b, value)
	}
	return append(b, '\n'), true
}

// appendFolded appends s without surrounding white space and with each run of it
// as one space.
func appendFolded(b []byte, s string) []byte {
	gap, start := false, len(b)
	for i := range len(s) {
		switch char := s[i]; char {
		case ' ', '\t', '\r', '\n', '\v', '\f':
			gap = true
		default:
			if gap && len(b) > start {
				b = append(b, ' ')
			}
			gap = false
			b = append(b, char)
		}
	}
	return b
}

func escape(s string) string {
	for i := range len(s) {
		if !unreserved(s[i]) {
			return string(appendEscaped(make([]byte, 0, len(s)+16), s, false))
		}
	}
	return s
}

// appendEscaped is AWS's UriEncode: everything but RFC 3986's unreserved
// characters (and slashes, where they separate) becomes %XX, upper case.
func appendEscaped(b []byte, s string, keepSlash bool) []byte {
	for i := range len(s) {
		if keepSlash && s[i] == '/' {
			b = append(b, '/')
			continue
		}
		b = appendByte(b, s[i])
	}
	return b
}

func appendByte(b []byte, char byte) []byte {
	const digits = "0123456789ABCDEF"
	if unreserved(char) {
		return append(b, char)
	}
	return append(b, '%', digits[char>>4], digits[char&15])
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}
