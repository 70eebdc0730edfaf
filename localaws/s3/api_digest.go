package s3

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"strings"
)

// digests computes what a content is known by while it is read: its MD5, the
// checksum that is stored, and those that the caller sent to compare.
type digests struct {
	md5    hash.Hash
	sums   map[algorithm]hash.Hash
	stored algorithm
}

func newDigests(stored algorithm) *digests {
	return &digests{md5: md5.New(), stored: stored, sums: map[algorithm]hash.Hash{stored: stored.new()}}
}

func (d *digests) Write(p []byte) (int, error) {
	d.md5.Write(p)
	for _, sum := range d.sums {
		sum.Write(p)
	}
	return len(p), nil
}

func (d *digests) etag() string { return hex.EncodeToString(d.md5.Sum(nil)) }

func (d *digests) value(a algorithm) string {
	return base64.StdEncoding.EncodeToString(d.sums[a].Sum(nil))
}

// checksum is the one that is stored, of a content that came in one piece.
func (d *digests) checksum() checksum { return checksum{d.stored, d.value(d.stored), fullObject} }

// isChecksumHeader reports whether name is a checksum of content.
func isChecksumHeader(name string) bool {
	rest, ok := strings.CutPrefix(name, "X-Amz-Checksum-")
	_, known := parseAlgorithm(rest)
	return ok && known
}

// sentChecksum is the algorithm of the checksum that a request carries: at most
// one is allowed, and in an upload with a trailer it comes after the content.
func (c *call) sentChecksum() (a algorithm, err error) {
	for _, one := range algorithms {
		v := c.header.Get(one.header())
		if v == "" {
			continue
		}
		if a != "" {
			return "", errInvalidRequest("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		if !one.valid(v) {
			return "", errInvalidRequest("Value for " + one.header() + " header is invalid.")
		}
		a = one
	}
	if a != "" {
		return a, nil
	}
	for name := range strings.SplitSeq(c.header.Get("X-Amz-Trailer"), ",") {
		rest, ok := strings.CutPrefix(http.CanonicalHeaderKey(strings.TrimSpace(name)), "X-Amz-Checksum-")
		if !ok {
			continue
		}
		if a, ok = parseAlgorithm(rest); !ok {
			return "", errNotImplemented("The checksum " + clip(rest) + " of " + c.op.name)
		}
	}
	return a, nil
}

// digests prepares to compute the digests of the request's content. The stored
// algorithm is the caller's, or else the default, if stored is empty.
func (c *call) digests(stored algorithm) (*digests, error) {
	sent, err := c.sentChecksum()
	if err != nil {
		return nil, err
	}
	if text := c.header.Get("Content-Md5"); text != "" {
		if raw, err := base64.StdEncoding.DecodeString(text); err != nil || len(raw) != md5.Size {
			return nil, fail(400, "InvalidDigest", "The Content-MD5 you specified was invalid.", "Content-MD5", clip(text))
		}
	}
	asked := c.header.Get("X-Amz-Sdk-Checksum-Algorithm")
	named, ok := parseAlgorithm(asked)
	if asked != "" && !ok {
		return nil, errNotImplemented("The checksum algorithm " + clip(asked) + " of " + c.op.name)
	}
	if stored == "" {
		stored = cmp.Or(sent, named, defaultSum)
	}
	d := newDigests(stored)
	if sent != "" {
		d.sums[sent] = sent.new()
	}
	return d, nil
}

// check compares what was computed with what the caller sent, in headers or, now
// that the content is read, in the trailer.
func (d *digests) check(c *call) error {
	if text := c.header.Get("Content-Md5"); text != "" {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !bytes.Equal(raw, d.md5.Sum(nil)) {
			return errBadDigest("Content-MD5")
		}
	}
	for a := range d.sums {
		for _, sent := range []string{c.header.Get(a.header()), c.r.Trailer.Get(a.header())} {
			if sent != "" && sent != d.value(a) {
				return errBadDigest(strings.ToUpper(string(a)))
			}
		}
	}
	return nil
}
