package s3

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// keptHeaders are stored with an object and come back with it.
var keptHeaders = []string{"Content-Type", "Content-Encoding", "Content-Disposition", "Content-Language", "Cache-Control", "Expires"}

// description is what a request says of an object beside its content.
type description struct {
	headers, metadata map[string]string
	tags              []tag
}

// describe reads the headers, the metadata and the tags for an object.
func (c *call) describe() (d description, err error) {
	d.headers, d.metadata = make(map[string]string), make(map[string]string)
	for _, name := range keptHeaders {
		value := strings.Join(c.header.Values(name), ",")
		if name == "Content-Encoding" {
			value = withoutChunked(value)
		}
		if value != "" {
			d.headers[name] = value
		}
		if !utf8.ValidString(value) {
			return d, errInvalidArgument(name, "", "The header "+name+" is not UTF-8.")
		}
	}
	size := 0
	for name, values := range c.header {
		rest, ok := strings.CutPrefix(name, metaPrefix)
		if !ok {
			continue
		}
		value := strings.Join(values, ",")
		if rest == "" || !utf8.ValidString(rest) || !utf8.ValidString(value) {
			return d, errInvalidArgument(clip(strings.ToValidUTF8(name, "?")), "", "Metadata names must not be empty, and names and values must be UTF-8.")
		}
		d.metadata[strings.ToLower(rest)] = value
		size += len(rest) + len(value)
	}
	if size > maxMetadata {
		return d, fail(400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size",
			"Size", strconv.Itoa(size), "MaxSizeAllowed", strconv.Itoa(maxMetadata))
	}
	d.tags, err = headerTags(c.header.Get("X-Amz-Tagging"))
	return d, err
}

// withoutChunked removes aws-chunked, which is how the content came and not what
// it is.
func withoutChunked(encoding string) string {
	var kept []string
	for one := range strings.SplitSeq(encoding, ",") {
		if one = strings.TrimSpace(one); one != "" && !strings.EqualFold(one, "aws-chunked") {
			kept = append(kept, one)
		}
	}
	return strings.Join(kept, ",")
}

// putKeys are the condition keys of a request that writes an object.
func (c *call) putKeys(tags []tag) map[string][]string {
	keys := tagKeys("s3:RequestObjectTag/", tags)
	if len(tags) > 0 {
		for _, t := range tags {
			keys["s3:RequestObjectTagKeys"] = append(keys["s3:RequestObjectTagKeys"], t.Key)
		}
	}
	for _, name := range []string{"x-amz-acl", "x-amz-storage-class", "x-amz-copy-source", "x-amz-metadata-directive", "x-amz-content-sha256", "if-none-match", "if-match"} {
		if value := c.header.Get(name); value != "" {
			keys["s3:"+name] = []string{value}
		}
	}
	return keys
}

// allowPut asks for what writing an object with these tags needs.
func (h *Handler) allowPut(c *call, tags []tag) error {
	keys := c.putKeys(tags)
	if err := h.allowObject(c, "PutObject", keys); err != nil {
		return err
	}
	if len(tags) > 0 {
		return h.allowObject(c, "PutObjectTagging", keys)
	}
	return nil
}

// receive stores the request's content. The bodies of the result are held.
func (h *Handler) receive(c *call, stored algorithm) ([]segment, *digests, error) {
	size := c.r.ContentLength
	switch {
	case size < 0:
		return nil, nil, fail(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
	case size > maxPut:
		return nil, nil, errEntityTooLarge(size, maxPut)
	}
	sums, err := c.digests(stored)
	if err != nil {
		return nil, nil, err
	}
	segments, err := h.state.store(io.TeeReader(c.r.Body, sums), size)
	if err != nil {
		return nil, nil, err
	}
	if err := sums.check(c); err != nil {
		h.state.drop(segments)
		return nil, nil, err
	}
	return segments, sums, nil
}

func (h *Handler) putObject(w http.ResponseWriter, c *call) error {
	d, err := c.describe()
	if err != nil {
		return err
	}
	if err := h.allowPut(c, d.tags); err != nil {
		return err
	}
	cond, err := c.writeConditions()
	if err != nil {
		return err
	}
	// Before the content is read; putObject judges again, under the lock.
	current, err := h.state.current(c.bucket, c.key)
	if err != nil {
		return err
	}
	if err := cond.write(c.key, current); err != nil {
		return err
	}
	segments, sums, err := h.receive(c, "")
	if err != nil {
		return err
	}
	o := &object{Key: c.key, Size: c.r.ContentLength, ETag: sums.etag(), Modified: h.now(), Headers: d.headers,
		Metadata: d.metadata, Tags: d.tags, Checksum: sums.checksum(), Segments: segments}
	if err := h.state.putObject(c.bucket, o, cond); err != nil {
		return err
	}
	w.Header().Set("Etag", quote(o.ETag))
	setChecksum(w.Header(), o.Checksum)
	w.WriteHeader(http.StatusOK)
	return nil
}

func setChecksum(header http.Header, sum checksum) {
	header.Set(sum.Algorithm.header(), sum.Value)
	header.Set("X-Amz-Checksum-Type", sum.Type)
}

func (h *Handler) getObject(w http.ResponseWriter, c *call) error {
	return h.get(w, c, func(o *object, part span) error {
		_, err := h.state.read(o.Segments, part).WriteTo(w)
		return err
	})
}

func (h *Handler) headObject(w http.ResponseWriter, c *call) error {
	return h.get(w, c, func(*object, span) error { return nil })
}

// get answers GET and HEAD: everything but the content, which send gives.
func (h *Handler) get(w http.ResponseWriter, c *call, send func(*object, span) error) error {
	if err := h.allowRead(c, "GetObject"); err != nil {
		return err
	}
	o, release, err := h.object(c, c.bucket, c.key)
	if err != nil {
		return err
	}
	defer release()
	header := w.Header()
	header.Set("Etag", quote(o.ETag))
	header.Set("Last-Modified", o.Modified.Format(http.TimeFormat))
	switch c.conditions("").read(o.ETag, o.Modified) {
	case preconditionFailed:
		return errPreconditionFailed("If-Match or If-Unmodified-Since")
	case notModified:
		return errNotModified()
	}
	part, partial, err := c.wanted(o)
	if err != nil {
		return err
	}
	o.describe(header)
	if err := c.override(header); err != nil {
		return err
	}
	if mode := c.header.Get("X-Amz-Checksum-Mode"); strings.EqualFold(mode, "ENABLED") && !partial {
		setChecksum(header, o.Checksum)
	}
	header.Set("Accept-Ranges", "bytes")
	header.Set("Content-Length", strconv.FormatInt(part.Size, 10))
	status := http.StatusOK
	if partial {
		header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", part.Offset, part.Offset+part.Size-1, o.Size))
		status = http.StatusPartialContent
	}
	if c.query.Has("partNumber") && len(o.Parts) > 0 {
		header.Set("X-Amz-Mp-Parts-Count", strconv.Itoa(len(o.Parts)))
	}
	w.WriteHeader(status)
	if err := send(o, part); err != nil {
		return fmt.Errorf("%w: %w", errAnswered, err)
	}
	return nil
}

// allowRead asks for an action on an object, whose tags may decide.
func (h *Handler) allowRead(c *call, action string) error {
	return h.allowObject(c, action, h.existingTags(c.bucket, c.key))
}

// existingTags are the condition keys of an object that is there.
func (h *Handler) existingTags(bucket, key string) map[string][]string {
	o, err := h.state.current(bucket, key)
	if err != nil || o == nil {
		return nil
	}
	return tagKeys("s3:ExistingObjectTag/", o.Tags)
}

// readActions are those of allowRead.
var readActions = []string{"s3:getobject", "s3:getobjectattributes", "s3:getobjecttagging", "s3:deleteobjecttagging"}

// Keys are the condition keys that follow from an action and the ARN of what it
// is asked for: s3:ExistingObjectTag/ of an object that is there.
func (h *Handler) Keys(action, resource string) map[string][]string {
	path, ok := strings.CutPrefix(resource, h.bucketARN(""))
	if !ok || !slices.Contains(readActions, strings.ToLower(action)) {
		return nil
	}
	bucket, key, _ := strings.Cut(path, "/")
	return h.existingTags(bucket, key)
}

// describe sets the headers that say what the object is.
func (o *object) describe(header http.Header) {
	header.Set("Content-Type", "binary/octet-stream")
	for name, value := range o.Headers {
		header.Set(name, value)
	}
	for name, value := range o.Metadata {
		header.Set(metaPrefix+name, value)
	}
	if len(o.Tags) > 0 {
		header.Set("X-Amz-Tagging-Count", strconv.Itoa(len(o.Tags)))
	}
}

// wanted is the part of the object that the request asks for.
func (c *call) wanted(o *object) (part span, partial bool, err error) {
	asked := c.header.Get("Range")
	if c.query.Has("partNumber") {
		if asked != "" {
			return span{}, false, errInvalidRequest("Cannot specify both Range header and partNumber query parameter")
		}
		return c.wantedPart(o)
	}
	if asked == "" || !c.rangeApplies(o) {
		return span{0, o.Size}, false, nil
	}
	part, whole, err := parseRange(asked, o.Size)
	return part, !whole, err
}

// rangeApplies judges If-Range (RFC 9110 section 13.1.5).
func (c *call) rangeApplies(o *object) bool {
	condition := c.header.Get("If-Range")
	if t, err := http.ParseTime(condition); err == nil {
		return o.Modified.Equal(t)
	}
	return condition == "" || condition == quote(o.ETag)
}

func (c *call) wantedPart(o *object) (part span, partial bool, err error) {
	number, err := c.partNumber()
	if err != nil {
		return span{}, false, err
	}
	i := slices.IndexFunc(o.Parts, func(p partInfo) bool { return p.Number == number })
	switch {
	case len(o.Parts) == 0 && number == 1:
		return span{0, o.Size}, o.Size > 0, nil
	case i < 0:
		return span{}, false, fail(416, "InvalidPartNumber", "The requested partnumber is not satisfiable", "PartNumberRequested", strconv.Itoa(number), "ActualPartCount", strconv.Itoa(max(1, len(o.Parts))))
	}
	for _, p := range o.Parts[:i] {
		part.Offset += p.Size
	}
	part.Size = o.Parts[i].Size
	return part, part.Size > 0, nil
}

// override applies the response- parameters.
func (c *call) override(header http.Header) error {
	for _, name := range keptHeaders {
		value := c.query.Get("response-" + strings.ToLower(name))
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return errInvalidArgument("response-"+strings.ToLower(name), "", "Header value cannot be represented using ISO-8859-1.")
		}
		if value != "" {
			header.Set(name, value)
		}
	}
	return nil
}

func (h *Handler) deleteObject(w http.ResponseWriter, c *call) error {
	if err := h.allowObject(c, "DeleteObject", nil); err != nil {
		return err
	}
	cond, err := c.writeConditions()
	if err != nil {
		return err
	}
	if err := h.state.deleteObjects(c.bucket, []string{c.key}, cond); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// headerTags reads x-amz-tagging, which is encoded as a query string.
func headerTags(text string) ([]tag, error) {
	if text == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, errInvalidArgument("x-amz-tagging", clip(text), "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.")
	}
	var tags []tag
	for _, key := range sortedKeys(values) {
		for _, value := range values[key] {
			tags = append(tags, tag{key, value})
		}
	}
	return tags, checkTags(tags)
}
