package s3

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openpodidentity/podid/internal/awswire"
)

const metaPrefix = "X-Amz-Meta-"

// sortedKeys makes refusals the same each time.
func sortedKeys[K cmp.Ordered, V any, M ~map[K]V](m M) []K { return slices.Sorted(maps.Keys(m)) }

// clip keeps what a caller sent from filling an answer.
func clip(s string) string {
	const most = 128
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// canonicalUser derives the 64 digits that S3 knows an account by.
func canonicalUser(account string) string {
	sum := sha256.Sum256([]byte("podid canonical user " + account))
	return hex.EncodeToString(sum[:])
}

type owner struct {
	ID          string
	DisplayName string `xml:",omitempty"`
}

func quote(etag string) string { return `"` + etag + `"` }

func unquote(etag string) string { return strings.Trim(strings.TrimSpace(etag), `"`) }

// number reads a parameter that is a number from least to most; missing if it is
// absent, most if it is more.
func (c *call) number(name string, missing, least, most int) (int, error) {
	text := c.query.Get(name)
	if text == "" {
		return missing, nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case errors.Is(err, strconv.ErrRange) && text[0] != '-':
		return most, nil
	case err != nil:
		return 0, errInvalidArgument(name, clip(text), "Provided "+name+" not an integer or within integer range")
	case n < least:
		return 0, errInvalidArgument(name, clip(text), "Argument "+name+" must be an integer of at least "+strconv.Itoa(least))
	}
	return min(n, most), nil
}

// encoding reads encoding-type, and gives what writes keys in that encoding.
func (c *call) encoding() (encode func(string) string, err error) {
	slashes := strings.NewReplacer("%2F", "/", "+", "%20")
	switch kind := c.query.Get("encoding-type"); kind {
	case "":
		return func(s string) string { return s }, nil
	case "url":
		// Slashes stay as they are, as S3 leaves them. A space is %20, which both
		// kinds of decoders understand.
		return func(s string) string { return slashes.Replace(url.QueryEscape(s)) }, nil
	default:
		return nil, errInvalidArgument("encoding-type", clip(kind), "Invalid Encoding Method specified in Request")
	}
}

// conditions reads the If- headers whose names begin with prefix.
func (c *call) conditions(prefix string) conditions {
	when := func(name string) time.Time {
		t, err := http.ParseTime(c.header.Get(prefix + name))
		if err != nil {
			return time.Time{} // RFC 9110: ignored
		}
		return t
	}
	return conditions{
		match:      c.header.Get(prefix + "If-Match"),
		noneMatch:  c.header.Get(prefix + "If-None-Match"),
		modified:   when("If-Modified-Since"),
		unmodified: when("If-Unmodified-Since"),
	}
}

// writeConditions reads the If- headers of a PUT or a DELETE.
func (c *call) writeConditions() (conditions, error) {
	for _, name := range []string{"If-Modified-Since", "If-Unmodified-Since"} {
		if c.header.Get(name) != "" {
			return conditions{}, errNotImplemented("The header " + name + " of " + c.op.name)
		}
	}
	cond := c.conditions("")
	if cond.noneMatch != "" && cond.noneMatch != "*" {
		return conditions{}, errNotImplemented("The header If-None-Match with anything but * of " + c.op.name)
	}
	if cond.noneMatch != "" && cond.match != "" {
		return conditions{}, errInvalidRequest("If-Match and If-None-Match exclude each other.")
	}
	return cond, nil
}

// document reads a small XML request, and judges its checksums as those of any
// content. Elements that the type does not know are its own to refuse.
func (h *Handler) document(c *call, into any) error {
	if c.r.ContentLength > maxDocument {
		return errMalformedXML()
	}
	sums := newDigests(defaultSum)
	if c.op.body {
		var err error
		if sums, err = c.digests(""); err != nil {
			return err
		}
	}
	body, err := io.ReadAll(io.LimitReader(io.TeeReader(c.r.Body, sums), maxDocument+1))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errIncompleteBody()
	case err != nil:
		return err
	case len(body) > maxDocument:
		return errMalformedXML()
	}
	if c.op.body {
		if err := sums.check(c); err != nil {
			return err
		}
	}
	if len(body) == 0 {
		return io.EOF
	}
	if err := xml.Unmarshal(body, into); err != nil {
		return errMalformedXML()
	}
	return nil
}

// unknown is an element of a request that nobody knows.
type unknown struct{ XMLName xml.Name }

func refuseUnknown(op string, elements []unknown) error {
	if len(elements) == 0 {
		return nil
	}
	return errNotImplemented("The element " + clip(elements[0].XMLName.Local) + " of " + op)
}

func writeXML(w http.ResponseWriter, document any) error {
	awswire.WriteXML(w, http.StatusOK, document)
	return nil
}

// checksums are the elements that carry an object's checksum in documents.
type checksums struct {
	ChecksumCRC32     string `xml:",omitempty"`
	ChecksumCRC32C    string `xml:",omitempty"`
	ChecksumCRC64NVME string `xml:",omitempty"`
	ChecksumSHA1      string `xml:",omitempty"`
	ChecksumSHA256    string `xml:",omitempty"`
}

func (c *checksums) field(a algorithm) *string {
	return map[algorithm]*string{crc32IEEE: &c.ChecksumCRC32, crc32C: &c.ChecksumCRC32C, crc64NVMe: &c.ChecksumCRC64NVME,
		sha1Sum: &c.ChecksumSHA1, sha256Sum: &c.ChecksumSHA256}[a]
}

func checksumOf(a algorithm, value string) (c checksums) {
	if field := c.field(a); field != nil {
		*field = value
	}
	return c
}

// given are the checksums that a request's document names.
func (c checksums) given() map[algorithm]string {
	given := make(map[algorithm]string)
	for _, a := range algorithms {
		if value := *c.field(a); value != "" {
			given[a] = value
		}
	}
	return given
}
