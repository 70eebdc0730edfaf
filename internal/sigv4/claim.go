package sigv4

import (
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	basicISO   = "20060102T150405Z"

	maxAuthorization = 8 << 10  // bytes of the Authorization header
	maxToken         = 16 << 10 // bytes of a session token
	maxExpires       = 604800   // seconds: a week
)

// claim is what a request says of its own signature, well-formed and unproved.
type claim struct {
	Scope
	wording       string // the service that errors are worded for; a guess until Scope is read
	time          time.Time
	signedHeaders []string // lower case, strictly ascending
	signature     [32]byte
	token         string
	presigned     bool
	expires       time.Duration // of a presigned request
	query         []parameter   // decoded, in the order of the request
}

func (c *claim) s3() bool { return c.Service == "s3" }

// parseClaim reads the claim from the Authorization header or from the query.
// The claim is never nil; with an error it holds what could be read until then.
func parseClaim(r *http.Request) (*claim, *Error) {
	c := &claim{}
	if r.URL.Opaque != "" {
		return c, c.refuse(invalidRequest, "The request target must be a path.")
	}
	query, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return c, c.refuse(invalidRequest, "The query string is not percent-encoded.")
	}
	c.query = query
	authorization := r.Header["Authorization"]
	c.presigned = slices.ContainsFunc(query, func(p parameter) bool {
		return p.name == "X-Amz-Algorithm" || p.name == "X-Amz-Credential" || p.name == "X-Amz-Signature"
	})
	c.guess(c.parameter("X-Amz-Credential"))
	switch {
	case len(authorization) > 1 || len(authorization) == 1 && c.presigned:
		return c, c.refuse(invalidArgument, "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or the Authorization header should be specified")
	case c.presigned:
		return c, c.fromQuery(r)
	case len(authorization) == 0:
		return c, c.refuse(missing, "")
	}
	return c, c.fromHeader(r, authorization[0])
}

func (c *claim) fromHeader(r *http.Request, authorization string) *Error {
	if len(authorization) > maxAuthorization {
		return c.refuse(malformed, "The Authorization header is too long.")
	}
	scheme, rest, _ := strings.Cut(authorization, " ")
	if _, credential, ok := strings.Cut(rest, "Credential="); ok {
		credential, _, _ = strings.Cut(credential, ",")
		c.guess(credential)
	}
	if fault := c.checkAlgorithm(scheme, malformed); fault != nil {
		return fault
	}
	fields := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if _, twice := fields[name]; !ok || twice {
			return c.refuse(malformed, "The Authorization header is malformed: it takes Credential, SignedHeaders and Signature, each once.")
		}
		fields[name] = value
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if fields[name] == "" {
			return c.refuse(malformed, "Authorization header requires '"+name+"' parameter.")
		}
	}
	if len(fields) != 3 {
		return c.refuse(malformed, "The Authorization header is malformed: it takes Credential, SignedHeaders and Signature, each once.")
	}
	if fault := c.parseCredential(fields["Credential"], malformed); fault != nil {
		return fault
	}
	if fault := c.parseSigned(fields["SignedHeaders"], fields["Signature"], malformed); fault != nil {
		return fault
	}
	token, ok := single(r.Header, "X-Amz-Security-Token")
	if !ok || len(token) > maxToken {
		return c.refuse(invalidToken, "")
	}
	c.token = token
	return c.parseTime(r)
}

func (c *claim) fromQuery(r *http.Request) *Error {
	fields := map[string]string{}
	for _, p := range c.query {
		switch p.name {
		case "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Security-Token":
			if _, twice := fields[p.name]; twice {
				return c.refuse(malformedQuery, "The query parameter "+p.name+" occurs more than once.")
			}
			fields[p.name] = p.value
		}
	}
	if fault := c.checkAlgorithm(fields["X-Amz-Algorithm"], malformedQuery); fault != nil {
		return fault
	}
	if fault := c.parseCredential(fields["X-Amz-Credential"], malformedQuery); fault != nil {
		return fault
	}
	if fault := c.parseSigned(fields["X-Amz-SignedHeaders"], fields["X-Amz-Signature"], malformedQuery); fault != nil {
		return fault
	}
	date, err := time.Parse(basicISO, fields["X-Amz-Date"])
	if err != nil || len(fields["X-Amz-Date"]) != len(basicISO) {
		return c.refuse(malformedQuery, `X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'"`)
	}
	c.time = date
	if fault := c.parseExpires(fields["X-Amz-Expires"]); fault != nil {
		return fault
	}
	token, ok := single(r.Header, "X-Amz-Security-Token")
	if inQuery, there := fields["X-Amz-Security-Token"]; there {
		// With two tokens one might be checked and the other believed.
		ok = ok && token == ""
		token = inQuery
	}
	if !ok || len(token) > maxToken {
		return c.refuse(invalidToken, "")
	}
	c.token = token
	return c.checkDay(malformedQuery)
}

func (c *claim) parseExpires(s string) *Error {
	if s == "" && !c.s3() {
		c.expires = 15 * time.Minute
		return nil
	}
	seconds, err := strconv.ParseUint(s, 10, 32)
	switch {
	case s == "":
		return c.refuse(malformedQuery, "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
	case err != nil || seconds == 0:
		return c.refuse(malformedQuery, "X-Amz-Expires should be a number from 1 to 604800")
	case seconds > maxExpires:
		return c.refuse(malformedQuery, "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
	}
	c.expires = time.Duration(seconds) * time.Second
	return nil
}

func (c *claim) checkAlgorithm(name string, k kind) *Error {
	switch {
	case name == algorithm:
		return nil
	case name == "AWS4-ECDSA-P256-SHA256":
		return c.refuse(notImplemented, "Signature Version 4A (AWS4-ECDSA-P256-SHA256) is not implemented here. Use AWS4-HMAC-SHA256.")
	case k == malformedQuery:
		return c.refuse(k, `X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"`)
	}
	return c.refuse(k, "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
}

func (c *claim) parseCredential(s string, k kind) *Error {
	parts := strings.Split(s, "/")
	if len(parts) != 5 || len(s) > 512 {
		return c.refuse(k, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.")
	}
	for _, part := range parts {
		if part == "" || len(part) > 128 || strings.ContainsFunc(part, notName) {
			return c.refuse(k, "Credential must have exactly 5 slash-delimited elements of letters, digits, '-' and '_', e.g. keyid/date/region/service/term.")
		}
	}
	c.Scope = Scope{AccessKeyID: parts[0], Date: parts[1], Region: parts[2], Service: parts[3]}
	c.wording = c.Service
	if parts[4] != terminator {
		return c.refuse(k, "Credential should be scoped with a valid terminator: 'aws4_request', not '"+parts[4]+"'.")
	}
	return nil
}

// guess reads from a credential, however bad, the service that the caller means.
func (c *claim) guess(credential string) {
	if parts := strings.Split(clip(credential), "/"); len(parts) >= 2 {
		c.wording = parts[len(parts)-2]
	}
}

func notName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

func (c *claim) parseSigned(headers, signature string, k kind) *Error {
	c.signedHeaders = strings.Split(headers, ";")
	for i, name := range c.signedHeaders {
		if name == "" || name != strings.ToLower(name) || i > 0 && name <= c.signedHeaders[i-1] {
			return c.refuse(k, "SignedHeaders must be header names in lower case, in ascending order, separated by ';'.")
		}
	}
	if len(signature) != hex.EncodedLen(len(c.signature)) {
		return c.refuse(k, "The signature must be 64 hexadecimal digits.")
	}
	if _, err := hex.Decode(c.signature[:], []byte(signature)); err != nil || signature != strings.ToLower(signature) {
		return c.refuse(k, "The signature must be 64 hexadecimal digits in lower case.")
	}
	return nil
}

// parseTime reads X-Amz-Date, or Date where there is none.
func (c *claim) parseTime(r *http.Request) *Error {
	name, layouts := "X-Amz-Date", []string{basicISO}
	if len(r.Header[name]) == 0 {
		name, layouts = "Date", []string{http.TimeFormat, time.RFC850, time.ANSIC, basicISO}
	}
	value, ok := single(r.Header, name)
	if value == "" {
		return c.refuse(malformed, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if !ok || !slices.Contains(c.signedHeaders, strings.ToLower(name)) {
		return c.refuse(unsigned, "The "+name+" header must be there once and be signed.")
	}
	for _, layout := range layouts {
		// time.Parse takes fractions of a second, which nobody signs.
		if t, err := time.Parse(layout, value); err == nil && !strings.Contains(value, ".") {
			c.time = t.UTC()
			return c.checkDay(malformed)
		}
	}
	return c.refuse(malformed, "Date must be in ISO-8601 'basic format', such as 20150830T123600Z.")
}

func (c *claim) checkDay(k kind) *Error {
	if day := c.time.Format("20060102"); c.Date != day {
		if !c.s3() {
			k = mismatch
		}
		return c.refuse(k, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '"+c.Date+"' != '"+day+"'.")
	}
	return nil
}

// checkTime compares the claimed time with the server's.
func (c *claim) checkTime(now time.Time, skew time.Duration) *Error {
	now = now.UTC()
	at := c.time.Format(basicISO)
	if c.time.After(now.Add(skew)) {
		k := early
		if c.presigned {
			k = presignEarly
		}
		return c.clock(k, "Signature not yet current: "+at+" is still later than "+now.Add(skew).Format(basicISO)+" ("+now.Format(basicISO)+" + "+minutes(skew)+" min.)")
	}
	if c.presigned {
		if now.After(c.time.Add(c.expires)) {
			return c.refuse(presignStale, "")
		}
		return nil
	}
	if c.time.Before(now.Add(-skew)) {
		return c.clock(stale, "Signature expired: "+at+" is now earlier than "+now.Add(-skew).Format(basicISO)+" ("+now.Format(basicISO)+" - "+minutes(skew)+" min.)")
	}
	return nil
}

// clock gives the times only where AWS does: S3 has a fixed text.
func (c *claim) clock(k kind, message string) *Error {
	if c.s3() {
		message = ""
	}
	return c.refuse(k, message)
}

func minutes(d time.Duration) string { return strconv.Itoa(int(d / time.Minute)) }

// checkSignedHeaders demands that host and every x-amz-* header are signed, and
// that every signed header is there. A session token need not be: it is
// compared with the key's own.
func (c *claim) checkSignedHeaders(r *http.Request) *Error {
	if !c.signs("host") {
		return c.refuse(unsigned, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	for name := range r.Header {
		if !strings.HasPrefix(name, "X-Amz-") || !c.s3() && name == "X-Amz-Security-Token" {
			continue
		}
		if lower := strings.ToLower(name); !c.signs(lower) {
			return c.refuse(unsigned, "There were headers present in the request which were not signed: "+clip(lower))
		}
	}
	return nil
}

func (c *claim) signs(name string) bool {
	_, ok := slices.BinarySearch(c.signedHeaders, name)
	return ok
}

// single is the header's one value, empty if there is none; ok is false if there
// are several.
func single(h http.Header, name string) (value string, ok bool) {
	values := h[name]
	if len(values) == 0 {
		return "", true
	}
	return values[0], len(values) == 1
}

func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}
