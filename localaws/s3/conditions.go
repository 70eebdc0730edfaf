package s3

import (
	"strconv"
	"strings"
	"time"
)

// conditions are the If- headers of a request; the zero value always holds.
//
// Source: RFC 9110 section 13, as
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html narrows it.
type conditions struct {
	match, noneMatch     string // lists of ETags, or *
	modified, unmodified time.Time
}

type verdict int

const (
	holds verdict = iota
	preconditionFailed
	notModified
)

// read judges the conditions of a GET, a HEAD or a copy's source.
func (c conditions) read(etag string, changed time.Time) verdict {
	if c.match != "" {
		if !etagIn(c.match, etag) {
			return preconditionFailed
		}
	} else if !c.unmodified.IsZero() && changed.After(c.unmodified) {
		return preconditionFailed
	}
	if c.noneMatch != "" {
		if etagIn(c.noneMatch, etag) {
			return notModified
		}
	} else if !c.modified.IsZero() && !changed.After(c.modified) {
		return notModified
	}
	return holds
}

// write judges the conditions of a PUT or a DELETE of key; current is nil if
// there is no such object.
func (c conditions) write(key string, current *object) error {
	switch {
	case c.noneMatch != "" && current != nil:
		return errPreconditionFailed("If-None-Match")
	case c.match != "" && current == nil:
		return errNoSuchKey(key)
	case c.match != "" && !etagIn(c.match, current.ETag):
		return errPreconditionFailed("If-Match")
	}
	return nil
}

// etagIn reports whether the list of a condition has the (unquoted) ETag.
func etagIn(list, etag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimSpace(one)
		if one == "*" || strings.Trim(strings.TrimPrefix(one, "W/"), `"`) == etag {
			return true
		}
	}
	return false
}

// span is a part of an object's content.
type span struct{ Offset, Size int64 }

// parseRange reads a Range header for an object of size bytes. whole means that
// the header asks for nothing S3 knows (another unit, several ranges, not a
// range) and is to be ignored; err is InvalidRange.
func parseRange(header string, size int64) (s span, whole bool, err error) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	first, last, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok || !dash {
		return span{0, size}, true, nil
	}
	if first == "" {
		n, ok := position(last)
		if !ok {
			return span{0, size}, true, nil
		}
		if n == 0 || size == 0 {
			return span{}, false, errInvalidRange(header, size)
		}
		n = min(n, size)
		return span{size - n, n}, false, nil
	}
	from, ok := position(first)
	to := size - 1
	if last != "" && ok {
		to, ok = position(last)
	}
	switch {
	case !ok || last != "" && to < from:
		return span{0, size}, true, nil
	case from >= size:
		return span{}, false, errInvalidRange(header, size)
	}
	return span{from, min(to, size-1) - from + 1}, false, nil
}

// position reads a byte position: digits alone, at most 18 of them.
func position(s string) (int64, bool) {
	if s == "" || len(s) > 18 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
