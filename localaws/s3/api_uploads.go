package s3

import (
	"crypto/rand"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/openpodidentity/podid/internal/awswire"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// partNumber reads partNumber, 1 to 10000.
func (c *call) partNumber() (int, error) {
	text := c.query.Get("partNumber")
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPart {
		return 0, errInvalidArgument("partNumber", clip(text), "Part number must be an integer between 1 and 10000, inclusive")
	}
	return n, nil
}

func (h *Handler) createMultipartUpload(w http.ResponseWriter, c *call) error {
	d, err := c.describe()
	if err != nil {
		return err
	}
	if err := h.allowPut(c, d.tags); err != nil {
		return err
	}
	u := &upload{ID: rand.Text(), Key: c.key, Initiated: h.now(), Headers: d.headers, Metadata: d.metadata, Tags: d.tags}
	if err := c.uploadChecksum(u); err != nil {
		return err
	}
	if err := h.state.createUpload(c.bucket, u); err != nil {
		return err
	}
	if u.Declared {
		w.Header().Set("X-Amz-Checksum-Algorithm", string(u.Algorithm))
		w.Header().Set("X-Amz-Checksum-Type", u.Type)
	}
	return writeXML(w, struct {
		XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ InitiateMultipartUploadResult"`
		Bucket, Key, UploadId string
	}{Bucket: c.bucket, Key: c.key, UploadId: u.ID})
}

// uploadChecksum decides which checksum the object will have.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
func (c *call) uploadChecksum(u *upload) error {
	name, kind := c.header.Get("X-Amz-Checksum-Algorithm"), c.header.Get("X-Amz-Checksum-Type")
	if name == "" {
		if kind != "" {
			return errInvalidRequest("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
		}
		u.Algorithm, u.Type = defaultSum, fullObject
		return nil
	}
	var ok bool
	if u.Algorithm, ok = parseAlgorithm(name); !ok {
		return errNotImplemented("The checksum algorithm " + clip(name) + " of " + c.op.name)
	}
	u.Declared, u.Type = true, kind
	if kind == "" {
		u.Type = u.Algorithm.defaultType()
	}
	if !u.Algorithm.allows(u.Type) {
		return errInvalidRequest("The " + clip(u.Type) + " checksum type cannot be used with the " + strings.ToLower(string(u.Algorithm)) + " checksum algorithm.")
	}
	return nil
}

func (h *Handler) uploadPart(w http.ResponseWriter, c *call) error {
	number, err := c.partNumber()
	if err != nil {
		return err
	}
	if err := h.allowPut(c, nil); err != nil {
		return err
	}
	u, err := h.state.upload(c.bucket, c.key, c.query.Get("uploadId"))
	if err != nil {
		return err
	}
	sent, err := c.sentChecksum()
	if err != nil {
		return err
	}
	if sent != "" && sent != u.Algorithm && u.Declared {
		return errInvalidRequest("Checksum Type mismatch occurred, expected checksum Type: " + strings.ToLower(string(u.Algorithm)) + ", actual checksum Type: " + strings.ToLower(string(sent)))
	}
	segments, sums, err := h.receive(c, u.Algorithm)
	if err != nil {
		return err
	}
	p := part{Number: number, Size: c.r.ContentLength, ETag: sums.etag(), Modified: h.now(), Checksum: sums.value(u.Algorithm), Segments: segments}
	if err := h.state.putPart(c.bucket, u, p); err != nil {
		return err
	}
	w.Header().Set("Etag", quote(p.ETag))
	if sent == "" {
		sent = u.Algorithm
	}
	w.Header().Set(sent.header(), sums.value(sent))
	w.WriteHeader(http.StatusOK)
	return nil
}

type completeRequest struct {
	XMLName xml.Name `xml:"CompleteMultipartUpload"`
	Parts   []struct {
		PartNumber int
		ETag       string
		checksums
		Unknown []unknown `xml:",any"`
	} `xml:"Part"`
	Unknown []unknown `xml:",any"`
}

func (h *Handler) completeMultipartUpload(w http.ResponseWriter, c *call) error {
	var doc completeRequest
	err := h.document(c, &doc)
	switch {
	case errors.Is(err, io.EOF), err == nil && (len(doc.Parts) == 0 || len(doc.Parts) > maxPart):
		return errMalformedXML()
	case err != nil:
		return err
	}
	if err := h.allowPut(c, nil); err != nil {
		return err
	}
	done := completion{bucket: c.bucket, key: c.key, id: c.query.Get("uploadId"), size: -1, kind: c.header.Get("X-Amz-Checksum-Type")}
	if done.cond, err = c.writeConditions(); err != nil {
		return err
	}
	if text := c.header.Get("X-Amz-Mp-Object-Size"); text != "" {
		var ok bool
		if done.size, ok = position(text); !ok {
			return errInvalidArgument("x-amz-mp-object-size", clip(text), "x-amz-mp-object-size must be a number of bytes")
		}
	}
	if done.checksum, err = c.objectChecksum(); err != nil {
		return err
	}
	for _, p := range doc.Parts {
		if err := refuseUnknown(c.op.name, p.Unknown); err != nil {
			return err
		}
		done.parts = append(done.parts, chosenPart{p.PartNumber, unquote(p.ETag), p.given()})
	}
	if err := refuseUnknown(c.op.name, doc.Unknown); err != nil {
		return err
	}
	o, err := h.state.completeUpload(done, h.now())
	if err != nil {
		return err
	}
	return writeXML(w, struct {
		XMLName      xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUploadResult"`
		Location     string
		Bucket, Key  string
		ETag         string
		ChecksumType string
		checksums
	}{Location: "http://" + c.r.Host + c.r.URL.EscapedPath(), Bucket: c.bucket, Key: c.key, ETag: quote(o.ETag),
		ChecksumType: o.Checksum.Type, checksums: checksumOf(o.Checksum.Algorithm, o.Checksum.Value)})
}

// objectChecksum reads the checksum headers of a CompleteMultipartUpload: they
// are of the object, with a number of parts if composite.
func (c *call) objectChecksum() (map[algorithm]string, error) {
	sums := make(map[algorithm]string)
	for _, a := range algorithms {
		value := c.header.Get(a.header())
		if value == "" {
			continue
		}
		raw, _, _ := strings.Cut(value, "-")
		if !a.valid(raw) {
			return nil, errInvalidRequest("Value for " + a.header() + " header is invalid.")
		}
		sums[a] = value
	}
	return sums, nil
}

func (h *Handler) abortMultipartUpload(w http.ResponseWriter, c *call) error {
	if err := h.allowObject(c, "AbortMultipartUpload", nil); err != nil {
		return err
	}
	if err := h.state.abortUpload(c.bucket, c.key, c.query.Get("uploadId")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

type partElement struct {
	PartNumber   int
	LastModified string
	ETag         string
	Size         int64
	checksums
}

func (h *Handler) listParts(w http.ResponseWriter, c *call) error {
	if err := h.allowObject(c, "ListMultipartUploadParts", nil); err != nil {
		return err
	}
	most, err := c.number("max-parts", maxPage, 0, maxPage)
	if err != nil {
		return err
	}
	after, err := c.number("part-number-marker", 0, 0, maxPart)
	if err != nil {
		return err
	}
	encode, err := c.encoding()
	if err != nil {
		return err
	}
	u, err := h.state.upload(c.bucket, c.key, c.query.Get("uploadId"))
	if err != nil {
		return err
	}
	result := struct {
		XMLName                                xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListPartsResult"`
		Bucket, Key, UploadId                  string
		EncodingType                           string `xml:",omitempty"`
		Initiator, Owner                       owner
		StorageClass                           string
		ChecksumAlgorithm, ChecksumType        string `xml:",omitempty"`
		PartNumberMarker, NextPartNumberMarker int
		MaxParts                               int
		IsTruncated                            bool
		Parts                                  []partElement `xml:"Part"`
	}{Bucket: c.bucket, Key: encode(c.key), UploadId: u.ID, EncodingType: c.query.Get("encoding-type"), Initiator: h.owner(), Owner: h.owner(),
		StorageClass: "STANDARD", PartNumberMarker: after, MaxParts: most}
	if u.Declared {
		result.ChecksumAlgorithm, result.ChecksumType = string(u.Algorithm), u.Type
	}
	for _, p := range h.state.parts(u) {
		if p.Number <= after {
			continue
		}
		if len(result.Parts) == most {
			result.IsTruncated = most > 0
			break
		}
		result.NextPartNumberMarker = p.Number
		result.Parts = append(result.Parts, partElement{p.Number, awswire.ISOMillis(p.Modified), quote(p.ETag), p.Size, checksumOf(u.Algorithm, p.Checksum)})
	}
	return writeXML(w, result)
}

type uploadElement struct {
	Key, UploadId                   string
	Initiator, Owner                owner
	StorageClass                    string
	Initiated                       string
	ChecksumAlgorithm, ChecksumType string `xml:",omitempty"`
}

func (h *Handler) listMultipartUploads(w http.ResponseWriter, c *call) error {
	if err := h.allowBucket(c, "ListBucketMultipartUploads", nil); err != nil {
		return err
	}
	most, err := c.number("max-uploads", maxPage, 1, maxPage)
	if err != nil {
		return err
	}
	encode, err := c.encoding()
	if err != nil {
		return err
	}
	l := listing{Prefix: c.query.Get("prefix"), Delimiter: c.query.Get("delimiter"), After: c.query.Get("key-marker"), Max: most}
	marker := c.query.Get("upload-id-marker")
	if l.After == "" {
		marker = "" // S3 ignores it without a key
	}
	uploads, prefixes, truncated, err := h.state.listUploads(c.bucket, l, marker)
	if err != nil {
		return err
	}
	result := struct {
		XMLName                           xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListMultipartUploadsResult"`
		Bucket                            string
		EncodingType                      string `xml:",omitempty"`
		KeyMarker, UploadIdMarker         string
		NextKeyMarker, NextUploadIdMarker string `xml:",omitempty"`
		Prefix, Delimiter                 string `xml:",omitempty"`
		MaxUploads                        int
		IsTruncated                       bool
		Uploads                           []uploadElement `xml:"Upload"`
		CommonPrefixes                    []prefixElement
	}{Bucket: c.bucket, EncodingType: c.query.Get("encoding-type"), KeyMarker: encode(l.After), UploadIdMarker: marker,
		Prefix: encode(l.Prefix), Delimiter: encode(l.Delimiter), MaxUploads: most, IsTruncated: truncated}
	last, lastID := "", ""
	for _, u := range uploads {
		e := uploadElement{Key: encode(u.Key), UploadId: u.ID, Initiator: h.owner(), Owner: h.owner(), StorageClass: "STANDARD", Initiated: awswire.ISOMillis(u.Initiated)}
		if u.Declared {
			e.ChecksumAlgorithm, e.ChecksumType = string(u.Algorithm), u.Type
		}
		result.Uploads = append(result.Uploads, e)
		last, lastID = u.Key, u.ID
	}
	for _, prefix := range prefixes {
		result.CommonPrefixes = append(result.CommonPrefixes, prefixElement{encode(prefix)})
		if prefix > last {
			last, lastID = prefix, ""
		}
	}
	if truncated {
		result.NextKeyMarker, result.NextUploadIdMarker = encode(last), lastID
	}
	return writeXML(w, result)
}
