package s3

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"

	"github.com/openpodidentity/podid/internal/awswire"
)

const copySource = "X-Amz-Copy-Source"

// copySourceHeaders are understood by the operations that copy.
var copySourceHeaders = []string{
	copySource, copySource + "-If-Match", copySource + "-If-None-Match",
	copySource + "-If-Modified-Since", copySource + "-If-Unmodified-Since", "X-Amz-Source-Expected-Bucket-Owner",
}

// source reads x-amz-copy-source: BUCKET/KEY, percent-encoded, with or without a
// slash before it.
func (h *Handler) source(c *call) (bucket, key string, err error) {
	text, version, versioned := strings.Cut(strings.TrimPrefix(c.header.Get(copySource), "/"), "?")
	if versioned {
		return "", "", errNotImplemented("The copy source with ?" + clip(version) + " of " + c.op.name)
	}
	text, err = url.PathUnescape(text)
	if err != nil {
		return "", "", errInvalidArgument("x-amz-copy-source", "", "Invalid copy source encoding.")
	}
	if strings.HasPrefix(text, "arn:") {
		return "", "", errNotImplemented("The copy source " + clip(text) + " (an access point) of " + c.op.name)
	}
	bucket, key, _ = strings.Cut(text, "/")
	if !validBucketName(bucket) || key == "" {
		return "", "", errInvalidArgument("x-amz-copy-source", clip(strings.ToValidUTF8(text, "?")), "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	}
	if owner := c.header.Get("X-Amz-Source-Expected-Bucket-Owner"); owner != "" && owner != h.account {
		return "", "", fail(403, "AccessDenied", "Access Denied")
	}
	return bucket, key, checkKey(key)
}

// openSource finds the object to copy, for a caller who may read it, if the
// conditions of the copy hold.
func (h *Handler) openSource(c *call, bucket, key string) (*object, func(), error) {
	var keys map[string][]string
	if o, err := h.state.current(bucket, key); err == nil && o != nil {
		keys = tagKeys("s3:ExistingObjectTag/", o.Tags)
	}
	if err := h.allow(c, "GetObject", h.objectARN(bucket, key), keys); err != nil {
		return nil, nil, err
	}
	o, release, err := h.object(c, bucket, key)
	if err != nil {
		return nil, nil, err
	}
	if c.conditions(copySource+"-").read(o.ETag, o.Modified) != holds {
		release()
		return nil, nil, errPreconditionFailed("x-amz-copy-source-if-…")
	}
	return o, release, nil
}

// directive reads a header that says COPY (or nothing) or REPLACE.
func (c *call) directive(name string) (replace bool, err error) {
	switch value := c.header.Get(name); value {
	case "", "COPY":
		return false, nil
	case "REPLACE":
		return true, nil
	default:
		return false, errInvalidArgument(strings.ToLower(name), clip(value), "Unknown directive.")
	}
}

func (h *Handler) copyObject(w http.ResponseWriter, c *call) error {
	bucket, key, err := h.source(c)
	if err != nil {
		return err
	}
	given, err := c.describe()
	if err != nil {
		return err
	}
	replaceMeta, err := c.directive("X-Amz-Metadata-Directive")
	if err != nil {
		return err
	}
	replaceTags, err := c.directive("X-Amz-Tagging-Directive")
	if err != nil {
		return err
	}
	if !replaceTags {
		given.tags = nil
	}
	cond, err := c.writeConditions()
	if err != nil {
		return err
	}
	src, release, err := h.openSource(c, bucket, key)
	if err != nil {
		return err
	}
	defer release()
	if !replaceTags && len(src.Tags) > 0 {
		if err := h.allow(c, "GetObjectTagging", h.objectARN(bucket, key), tagKeys("s3:ExistingObjectTag/", src.Tags)); err != nil {
			return err
		}
		given.tags = src.Tags
	}
	if err := h.allowPut(c, given.tags); err != nil {
		return err
	}
	if !replaceMeta {
		if bucket == c.bucket && key == c.key {
			return errInvalidRequest("This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
		}
		given.headers, given.metadata = src.Headers, src.Metadata
	}
	o, err := h.duplicate(c, src, given)
	if err != nil {
		return err
	}
	if err := h.state.putObject(c.bucket, o, cond); err != nil {
		return err
	}
	return writeXML(w, copyResult{XMLName: xml.Name{Space: namespace, Local: "CopyObjectResult"}, LastModified: awswire.ISOMillis(o.Modified),
		ETag: quote(o.ETag), ChecksumType: o.Checksum.Type, checksums: checksumOf(o.Checksum.Algorithm, o.Checksum.Value)})
}

type copyResult struct {
	XMLName      xml.Name
	LastModified string
	ETag         string
	ChecksumType string `xml:",omitempty"`
	checksums
}

// duplicate is the request's object with src's content. The bodies are shared,
// and held for the copy; what was uploaded in parts is read once, since as an
// object of one piece it has another ETag and checksum.
func (h *Handler) duplicate(c *call, src *object, d description) (*object, error) {
	if src.Size > maxPut {
		return nil, errInvalidRequest("The specified copy source is larger than the maximum allowable size for a copy source: 5368709120")
	}
	o := &object{Key: c.key, Size: src.Size, ETag: src.ETag, Modified: h.now(), Headers: d.headers, Metadata: d.metadata,
		Tags: d.tags, Checksum: src.Checksum, Segments: src.Segments}
	wanted := src.Checksum.Algorithm
	if text := c.header.Get("X-Amz-Checksum-Algorithm"); text != "" {
		var ok bool
		if wanted, ok = parseAlgorithm(text); !ok {
			return nil, errNotImplemented("The checksum algorithm " + clip(text) + " of " + c.op.name)
		}
	}
	if len(src.Parts) > 0 || wanted != src.Checksum.Algorithm {
		sums := newDigests(wanted)
		if _, err := h.state.read(src.Segments, span{0, src.Size}).WriteTo(sums); err != nil {
			return nil, err
		}
		o.ETag, o.Checksum = sums.etag(), sums.checksum()
	}
	h.state.hold(o.Segments)
	return o, nil
}

func (h *Handler) uploadPartCopy(w http.ResponseWriter, c *call) error {
	number, err := c.partNumber()
	if err != nil {
		return err
	}
	bucket, key, err := h.source(c)
	if err != nil {
		return err
	}
	src, release, err := h.openSource(c, bucket, key)
	if err != nil {
		return err
	}
	defer release()
	if err := h.allowPut(c, nil); err != nil {
		return err
	}
	u, err := h.state.upload(c.bucket, c.key, c.query.Get("uploadId"))
	if err != nil {
		return err
	}
	wanted := span{0, src.Size}
	if text := c.header.Get(copySource + "-Range"); text != "" {
		if wanted, err = copyRange(text, src.Size); err != nil {
			return err
		}
	}
	if wanted.Size > maxPut {
		return errEntityTooLarge(wanted.Size, maxPut)
	}
	sums := newDigests(u.Algorithm)
	if _, err := h.state.read(src.Segments, wanted).WriteTo(sums); err != nil {
		return err
	}
	p := part{Number: number, Size: wanted.Size, ETag: sums.etag(), Modified: h.now(), Checksum: sums.value(u.Algorithm), Segments: h.state.cut(src.Segments, wanted)}
	h.state.hold(p.Segments)
	if err := h.state.putPart(c.bucket, u, p); err != nil {
		return err
	}
	return writeXML(w, copyResult{XMLName: xml.Name{Space: namespace, Local: "CopyPartResult"}, LastModified: awswire.ISOMillis(p.Modified),
		ETag: quote(p.ETag), checksums: checksumOf(u.Algorithm, p.Checksum)})
}

// copyRange reads x-amz-copy-source-range, which must be bytes=FIRST-LAST within
// the source.
func copyRange(text string, size int64) (span, error) {
	spec, ok := strings.CutPrefix(text, "bytes=")
	first, last, dash := strings.Cut(spec, "-")
	from, ok1 := position(first)
	to, ok2 := position(last)
	switch {
	case !ok || !dash || !ok1 || !ok2 || to < from:
		return span{}, errInvalidArgument("x-amz-copy-source-range", clip(text), "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
	case to >= size:
		return span{}, errInvalidArgument("x-amz-copy-source-range", clip(text), "Range specified is not valid for source object of size: "+itoa(size))
	}
	return span{from, to - from + 1}, nil
}
