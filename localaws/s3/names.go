package s3

import (
	"net/netip"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Limits of S3.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
const (
	maxKey      = 1024    // bytes of a key
	maxMetadata = 2 << 10 // bytes of all x-amz-meta- names and values
	maxPut      = 5 << 30 // bytes of one PUT, one part, one copy
	minPart     = 5 << 20 // bytes of every part but the last
	maxPart     = 10000   // highest part number
	maxObject   = 5 << 40 // bytes of an object
	maxPage     = 1000    // entries of a listing, keys of a DeleteObjects
	maxBuckets  = 10000   // entries of a ListBuckets, buckets of an account
	maxDocument = 4 << 20 // bytes of an XML request
	maxTags     = 10      // of an object
)

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// Names that S3 keeps for itself.
var (
	reservedPrefixes = []string{"xn--", "sthree-", "amzn-s3-demo-"}
	reservedSuffixes = []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"}
)

// validBucketName applies the rules for general purpose buckets
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html).
func validBucketName(name string) bool {
	if !bucketName.MatchString(name) || strings.Contains(name, "..") {
		return false
	}
	if addr, err := netip.ParseAddr(name); err == nil && addr.Is4() {
		return false
	}
	for _, prefix := range reservedPrefixes {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	for _, suffix := range reservedSuffixes {
		if strings.HasSuffix(name, suffix) {
			return false
		}
	}
	return true
}

// checkKey returns nil for a key that S3 can store.
func checkKey(key string) error {
	switch {
	case len(key) > maxKey:
		return errKeyTooLong(len(key))
	case !utf8.ValidString(key):
		return errInvalidURI()
	}
	return nil
}

// address finds bucket and key in a request's host and decoded path: the
// path-style form /BUCKET/KEY, and the virtual-hosted form with the bucket before
// localhost, s3.localhost or S3's own host names.
func address(host, path, region string) (bucket, key string) {
	path = strings.TrimPrefix(path, "/")
	if bucket := hostBucket(host, region); bucket != "" {
		return bucket, path
	}
	bucket, key, _ = strings.Cut(path, "/")
	return bucket, key
}

func hostBucket(host, region string) string {
	host = strings.ToLower(host)
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	rest, ok := strings.CutSuffix("."+host, ".localhost")
	if !ok {
		if rest, ok = strings.CutSuffix("."+host, ".amazonaws.com"); !ok {
			return ""
		}
		rest = strings.TrimSuffix(rest, "."+region)
		if !strings.HasSuffix(rest, ".s3") {
			return ""
		}
	}
	return strings.TrimPrefix(strings.TrimSuffix(rest, ".s3"), ".")
}
