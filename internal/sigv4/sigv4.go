// Package sigv4 verifies AWS Signature Version 4 on the server side: header and
// presigned forms, session tokens, clock skew, S3's path rules and the other
// services', and the three aws-chunked upload modes.
//
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
package sigv4

import (
	"context"
	"net/http"
	"time"
)

// Scope is what a request claims about its signature; nothing in it is proved.
type Scope struct {
	AccessKeyID string
	Date        string // YYYYMMDD
	Region      string
	Service     string // signing name: s3, sts, iam, eks, eks-auth
}

// Peek reads the claimed scope from the Authorization header or the query, for
// routing. ok is false when the request is not signed with Signature Version 4.
func Peek(r *http.Request) (s Scope, ok bool) { panic("skeleton") }

// Key is what the server knows of an access key.
type Key struct {
	Secret string
	// SessionToken must equal the request's X-Amz-Security-Token; empty for
	// long-term keys, which must not carry one.
	SessionToken string
}

// Verifier verifies requests. The zero value but for Lookup is ready.
type Verifier struct {
	// Lookup finds the key of an access key ID; sessionToken is the one in the
	// request (unproved, may be empty). An error of ErrUnknownKey means there is none.
	Lookup func(ctx context.Context, accessKeyID, sessionToken string) (Key, error)
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Skew is how far a request's time may be off; 15 minutes if zero.
	Skew time.Duration
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
// match what was signed (its hash, its chunk signatures, its trailer), and
// r.ContentLength is the decoded length. Bodies of services other than S3 are
// read whole, bounded by MaxBody. Every error is an *Error.
func (v *Verifier) Verify(r *http.Request) (Verified, error) { panic("skeleton") }

// Error is a refused signature in AWS's terms.
type Error struct {
	// Code: MissingAuthenticationToken, IncompleteSignature, InvalidClientTokenId,
	// SignatureDoesNotMatch, RequestExpired, InvalidToken, ExpiredToken,
	// RequestTimeTooSkewed, XAmzContentSHA256Mismatch, … The edge translates
	// between S3's names and the other services'.
	Code    string
	Message string
	Err     error
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Unwrap gives the underlying error.
func (e *Error) Unwrap() error { return e.Err }
