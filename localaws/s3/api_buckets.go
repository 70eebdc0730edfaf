package s3

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/openpodidentity/podid/internal/awswire"
)

const namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

func (h *Handler) createBucket(w http.ResponseWriter, c *call) error {
	var doc struct {
		XMLName            xml.Name `xml:"CreateBucketConfiguration"`
		LocationConstraint string
		Unknown            []unknown `xml:",any"`
	}
	// The caller's rights come first, and they may depend on the location.
	err := h.document(c, &doc)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var keys map[string][]string
	if doc.LocationConstraint != "" {
		keys = map[string][]string{"s3:locationconstraint": {doc.LocationConstraint}}
	}
	if err := h.allowBucket(c, "CreateBucket", keys); err != nil {
		return err
	}
	if err := refuseUnknown(c.op.name, doc.Unknown); err != nil {
		return err
	}
	if err := h.checkLocation(doc.LocationConstraint); err != nil {
		return err
	}
	if err := h.state.createBucket(c.bucket, h.now()); err != nil {
		return err
	}
	w.Header().Set("Location", "/"+c.bucket)
	w.Header().Set("X-Amz-Bucket-Arn", h.bucketARN(c.bucket))
	w.WriteHeader(http.StatusOK)
	return nil
}

// checkLocation applies AWS's rule: the constraint names the region of the
// endpoint, except in us-east-1, where there must be none.
func (h *Handler) checkLocation(constraint string) error {
	const first = "us-east-1"
	switch {
	case h.region == first && constraint == first:
		return fail(400, "InvalidLocationConstraint", "The specified location-constraint is not valid", "LocationConstraint", constraint)
	case h.region == first && constraint == "", h.region == constraint:
		return nil
	case constraint == "":
		constraint = "unspecified"
	}
	return fail(400, "IllegalLocationConstraintException", "The "+clip(constraint)+" location constraint is incompatible for the region specific endpoint this request was sent to.")
}

func (h *Handler) deleteBucket(w http.ResponseWriter, c *call) error {
	if err := h.allowBucket(c, "DeleteBucket", nil); err != nil {
		return err
	}
	if err := h.state.deleteBucket(c.bucket); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) headBucket(w http.ResponseWriter, c *call) error {
	if err := h.allowBucket(c, "ListBucket", nil); err != nil {
		return err
	}
	if err := h.state.checkBucket(c.bucket); err != nil {
		return err
	}
	w.Header().Set("X-Amz-Bucket-Region", h.region)
	w.Header().Set("X-Amz-Bucket-Arn", h.bucketARN(c.bucket))
	w.Header().Set("X-Amz-Access-Point-Alias", "false")
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(http.StatusOK)
	return nil
}

func (h *Handler) getBucketLocation(w http.ResponseWriter, c *call) error {
	if err := h.allowBucket(c, "GetBucketLocation", nil); err != nil {
		return err
	}
	if err := h.state.checkBucket(c.bucket); err != nil {
		return err
	}
	doc := struct {
		XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
		Location string   `xml:",chardata"`
	}{Location: h.region}
	if h.region == "us-east-1" {
		doc.Location = ""
	}
	return writeXML(w, doc)
}

type bucketElement struct {
	Name         string
	CreationDate string
	BucketRegion string
	BucketArn    string
}

func (h *Handler) listBuckets(w http.ResponseWriter, c *call) error {
	if err := h.allow(c, "ListAllMyBuckets", "*", nil); err != nil {
		return err
	}
	most, err := c.number("max-buckets", maxBuckets, 1, maxBuckets)
	if err != nil {
		return err
	}
	after, err := c.token()
	if err != nil {
		return err
	}
	doc := struct {
		XMLName           xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListAllMyBucketsResult"`
		Owner             owner
		Buckets           []bucketElement `xml:"Buckets>Bucket"`
		ContinuationToken string          `xml:",omitempty"`
		Prefix            string          `xml:",omitempty"`
	}{Owner: h.owner(), Prefix: c.query.Get("prefix")}
	if region := c.query.Get("bucket-region"); region == "" || region == h.region {
		list, truncated := h.state.listBuckets(doc.Prefix, after, most)
		for _, b := range list {
			doc.Buckets = append(doc.Buckets, bucketElement{b.name, awswire.ISOMillis(b.created), h.region, h.bucketARN(b.name)})
		}
		if truncated {
			doc.ContinuationToken = newToken(list[len(list)-1].name)
		}
	}
	return writeXML(w, doc)
}

// newToken makes a continuation token: the last entry that was given.
func newToken(last string) string {
	return base64.RawURLEncoding.EncodeToString([]byte("1:" + last))
}

// token reads the continuation token of a request; "" if there is none.
func (c *call) token() (last string, err error) {
	text := c.query.Get("continuation-token")
	if text == "" && !c.query.Has("continuation-token") {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	last, ok := strings.CutPrefix(string(raw), "1:")
	if err != nil || !ok {
		return "", errInvalidArgument("continuation-token", clip(text), "The continuation token provided is incorrect")
	}
	return last, nil
}
