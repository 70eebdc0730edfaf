package s3

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"

	"github.com/openpodidentity/podid/internal/awswire"
)

type deleteRequest struct {
	XMLName xml.Name `xml:"Delete"`
	Quiet   bool
	Objects []struct {
		Key     string
		Unknown []unknown `xml:",any"` // VersionId, ETag, Size, LastModifiedTime
	} `xml:"Object"`
	Unknown []unknown `xml:",any"`
}

type deletedElement struct{ Key string }

type deleteError struct {
	Key, Code, Message string
}

// deleteObjects removes up to 1000 keys. Each is judged by itself; those that
// the caller may remove go in one commit.
func (h *Handler) deleteObjects(w http.ResponseWriter, c *call) error {
	var doc deleteRequest
	err := h.document(c, &doc)
	switch {
	case errors.Is(err, io.EOF), err == nil && (len(doc.Objects) == 0 || len(doc.Objects) > maxPage):
		return errMalformedXML()
	case err != nil:
		return err
	}
	if err := refuseUnknown(c.op.name, doc.Unknown); err != nil {
		return err
	}
	if err := c.requireDigest(); err != nil {
		return err
	}
	result := struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ DeleteResult"`
		Deleted []deletedElement
		Errors  []deleteError `xml:"Error"`
	}{}
	var keys []string
	seen := make(map[string]bool)
	for _, o := range doc.Objects {
		if seen[o.Key] {
			continue
		}
		seen[o.Key] = true
		if err := h.mayDelete(c, o.Key, o.Unknown); err != nil {
			e := awswire.AsError(err)
			result.Errors = append(result.Errors, deleteError{o.Key, e.Code, e.Message})
			continue
		}
		keys = append(keys, o.Key)
		if !doc.Quiet {
			result.Deleted = append(result.Deleted, deletedElement{o.Key})
		}
	}
	// Without any key that may be removed nothing is said of the bucket.
	if len(keys) > 0 {
		if err := h.state.deleteObjects(c.bucket, keys, conditions{}); err != nil {
			return err
		}
	}
	return writeXML(w, result)
}

func (h *Handler) mayDelete(c *call, key string, unknown []unknown) error {
	if key == "" {
		return errMalformedXML()
	}
	if err := checkKey(key); err != nil {
		return err
	}
	if err := h.allow(c, "DeleteObject", h.objectARN(c.bucket, key), nil); err != nil {
		return err
	}
	return refuseUnknown(c.op.name, unknown)
}

// requireDigest demands what S3 demands of a request that deletes: proof that
// the document came whole.
func (c *call) requireDigest() error {
	sent, err := c.sentChecksum()
	if err != nil {
		return err
	}
	if sent == "" && c.header.Get("Content-Md5") == "" {
		return errInvalidRequest("Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	return nil
}
