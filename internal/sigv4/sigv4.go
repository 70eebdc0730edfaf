// Package sigv4 verifies AWS Signature Version 4 on the server side: header and
// presigned forms, session tokens, clock skew, S3's path rules and the other
// services', and the three aws-chunked upload modes. It stands at the door of
// every AWS endpoint: what comes after it reads only what was signed.
//
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
// and, for S3, https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
package sigv4

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"time"
)

// MaxBody is the most that is read of the body of a service other than S3, in bytes.
const MaxBody = 1 << 20

// MaxObject is the most that S3 takes in one request, in bytes: 5 GiB.
const MaxObject = 5 << 30

// ErrUnknownKey is what Verifier.Lookup returns for an access key ID that it
// does not know, or that is inactive.
var ErrUnknownKey = errors.New("unknown access key")

// Scope is what a request claims about its signature; nothing in it is proved.
type Scope struct {
	AccessKeyID string
	Date        string // YYYYMMDD
	Region      string
	Service     string // signing name: s3, sts, iam, eks, eks-auth
}

// Peek reads the claimed scope from the Authorization header or the query, for
// routing. ok is false when the request is not signed with Signature Version 4,
// or so badly that its scope cannot be read; Verify tells the two apart.
func Peek(r *http.Request) (s Scope, ok bool) {
	c, _ := parseClaim(r)
	return c.Scope, c.AccessKeyID != ""
}

// Key is what the server knows of an access key.
type Key struct {
	Secret string
	// SessionToken must equal the request's X-Amz-Security-Token; empty for
	// long-term keys, which must not carry one.
	SessionToken string
	// Expires is when the key stops being valid (ExpiredToken); never if zero.
	Expires time.Time
}

// Verifier verifies requests. The zero value but for Lookup is ready; it may be
// used by many goroutines.
type Verifier struct {
	// Lookup finds the key of an access key ID; sessionToken is the one in the
	// request (unproved, may be empty). An error of ErrUnknownKey means there is
	// none; an *Error is passed on; any other becomes ServiceUnavailable.
	Lookup func(ctx context.Context, accessKeyID, sessionToken string) (Key, error)
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Skew is how far a request's time may be off; 15 minutes if zero.
	Skew time.Duration
	// Service and Region, if set, are the only ones accepted in a scope.
	Service, Region string
}

// Verified is a proved signature.
type Verified struct {
	Scope
	Time         time.Time
	SessionToken string
	Presigned    bool
}

// Verify proves r's signature. On success r.Body is replaced by a reader that
// gives the decoded payload and fails with an *Error when the payload does not
// match what was signed (its hash, its chunk signatures, its trailer, its
// checksums), and r.ContentLength is the decoded length. The last byte of a
// payload is handed out only when all of it is proved; whoever stops earlier has
// proved nothing but the head of the request (and, in the signed chunked modes,
// the chunks that were handed out).
//
// Bodies of services other than S3 are read whole, bounded by MaxBody, and
// proved on return; their r.URL.Path becomes the normalised path that was signed.
// Every error is an *Error.
func (v *Verifier) Verify(r *http.Request) (Verified, error) {
	c, fault := parseClaim(r)
	if fault != nil {
		return Verified{}, fault
	}
	if fault := v.verify(r, c); fault != nil {
		return Verified{}, fault
	}
	return Verified{Scope: c.Scope, Time: c.time, SessionToken: c.token, Presigned: c.presigned}, nil
}

func (v *Verifier) verify(r *http.Request, c *claim) *Error {
	now := time.Now()
	if v.Now != nil {
		now = v.Now()
	}
	if fault := v.checkScope(c); fault != nil {
		return fault
	}
	if fault := c.checkTime(now, v.skew()); fault != nil {
		return fault
	}
	if fault := c.checkSignedHeaders(r); fault != nil {
		return fault
	}
	key, fault := v.key(r.Context(), c)
	if fault != nil {
		return fault
	}
	p, fault := newPayload(r, c)
	if fault != nil {
		return fault
	}
	signingKey := deriveKey(key.Secret, c.Scope)
	canonical, fault := c.canonicalRequest(r, p.hash)
	if fault != nil {
		return fault
	}
	if !hmac.Equal(signature(signingKey, c.stringToSign(canonical)), c.signature[:]) {
		return c.refuse(mismatch, "")
	}
	// Only who proved to have the key learns that it has expired.
	if !key.Expires.IsZero() && !now.Before(key.Expires) {
		return c.refuse(expiredToken, "")
	}
	return p.attach(r, c, signingKey)
}

func (v *Verifier) skew() time.Duration {
	if v.Skew == 0 {
		return 15 * time.Minute
	}
	return v.Skew
}

func (v *Verifier) checkScope(c *claim) *Error {
	if v.Service != "" && c.Service != v.Service {
		return c.refuse(mismatch, "Credential should be scoped to correct service: '"+v.Service+"'.")
	}
	if v.Region != "" && c.Region != v.Region {
		return c.refuse(mismatch, "Credential should be scoped to a valid region, such as '"+v.Region+"'.")
	}
	return nil
}

// key finds the caller's key and compares session tokens.
func (v *Verifier) key(ctx context.Context, c *claim) (Key, *Error) {
	key, err := v.Lookup(ctx, c.AccessKeyID, c.token)
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok {
			return Key{}, e
		}
		kind := unavailable
		if errors.Is(err, ErrUnknownKey) {
			kind = unknownKey
		}
		fault := c.refuse(kind, "")
		fault.Err = err
		return Key{}, fault
	}
	if key.Secret == "" {
		return Key{}, c.refuse(unknownKey, "")
	}
	switch {
	case c.token == "" && key.SessionToken != "":
		return Key{}, c.refuse(unknownKey, "")
	case subtle.ConstantTimeCompare([]byte(c.token), []byte(key.SessionToken)) != 1:
		return Key{}, c.refuse(invalidToken, "")
	}
	return key, nil
}

// deriveKey is the signing key of a secret for one day, region and service.
func deriveKey(secret string, s Scope) []byte {
	key := signature([]byte("AWS4"+secret), []byte(s.Date))
	key = signature(key, []byte(s.Region))
	key = signature(key, []byte(s.Service))
	return signature(key, []byte(terminator))
}

func signature(key, message []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(message)
	return mac.Sum(nil)
}

func hexHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// readWhole reads the body of a service other than S3.
func readWhole(r *http.Request, c *claim) ([]byte, *Error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > MaxBody {
		return nil, c.refuse(tooLarge, "")
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(r.Body, MaxBody+1)); err != nil {
		fault := c.refuse(incompleteBody, "")
		fault.Err = err
		return nil, fault
	}
	if b.Len() > MaxBody {
		return nil, c.refuse(tooLarge, "")
	}
	return b.Bytes(), nil
}
