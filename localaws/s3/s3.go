// Package s3 is the local AWS's S3: buckets and objects, copy, ranges,
// multipart uploads, listings.
package s3

import (
	"net/http"

	"github.com/openpodidentity/podid/internal/journal"
)

// Access is the one thing S3 needs of IAM: it decides whether the caller of r
// (already proved by the front) may perform action on resource. keys are the
// condition keys that S3 adds (s3:prefix, s3:delimiter, s3:max-keys, …). The
// error is an *awswire.Error AccessDenied with AWS's text.
type Access func(r *http.Request, action, resource string, keys map[string][]string) error

// New returns the S3 of one account and region, loaded from j (nil: in memory).
// The handler gets requests whose signature is verified and whose body is decoded.
func New(account, region string, j *journal.Journal, access Access) (http.Handler, error) {
	panic("skeleton")
}
