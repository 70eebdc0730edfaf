package s3

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

// checkTags applies the rules for the tags of an object.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
func checkTags(tags []tag) error {
	if len(tags) > maxTags {
		return fail(400, "BadRequest", "Object tags cannot be greater than 10")
	}
	seen := make(map[string]bool)
	for _, t := range tags {
		switch {
		case seen[t.Key]:
			return fail(400, "InvalidTag", "Cannot provide multiple Tags with the same key", "TagKey", clip(t.Key))
		case t.Key == "" || utf8.RuneCountInString(t.Key) > 128 || !tagText(t.Key) || strings.HasPrefix(t.Key, "aws:"):
			return fail(400, "InvalidTag", "The TagKey you have provided is invalid", "TagKey", clip(t.Key))
		case utf8.RuneCountInString(t.Value) > 256 || !tagText(t.Value):
			return fail(400, "InvalidTag", "The TagValue you have provided is invalid", "TagKey", clip(t.Key), "TagValue", clip(t.Value))
		}
		seen[t.Key] = true
	}
	return nil
}

func tagText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.Is(unicode.Zs, r) && !strings.ContainsRune("_.:/=+-@", r)
	})
}

// tagKeys are condition keys for the tags.
func tagKeys(prefix string, tags []tag) map[string][]string {
	keys := make(map[string][]string)
	for _, t := range tags {
		keys[prefix+t.Key] = []string{t.Value}
	}
	return keys
}

type tagging struct {
	XMLName xml.Name  `xml:"Tagging"`
	TagSet  []tag     `xml:"TagSet>Tag"`
	Unknown []unknown `xml:",any"`
}

func (h *Handler) putObjectTagging(w http.ResponseWriter, c *call) error {
	var doc tagging
	err := h.document(c, &doc)
	if errors.Is(err, io.EOF) {
		err = errMalformedXML()
	}
	if err != nil {
		return err
	}
	keys := tagKeys("s3:RequestObjectTag/", doc.TagSet)
	for _, t := range doc.TagSet {
		keys["s3:RequestObjectTagKeys"] = append(keys["s3:RequestObjectTagKeys"], t.Key)
	}
	if err := h.allowObject(c, "PutObjectTagging", keys); err != nil {
		return err
	}
	if err := refuseUnknown(c.op.name, doc.Unknown); err != nil {
		return err
	}
	if err := checkTags(doc.TagSet); err != nil {
		return err
	}
	return h.retag(w, c, doc.TagSet, http.StatusOK)
}

func (h *Handler) deleteObjectTagging(w http.ResponseWriter, c *call) error {
	if err := h.allowRead(c, "DeleteObjectTagging"); err != nil {
		return err
	}
	return h.retag(w, c, nil, http.StatusNoContent)
}

func (h *Handler) retag(w http.ResponseWriter, c *call, tags []tag, status int) error {
	_, release, err := h.object(c, c.bucket, c.key)
	if err != nil {
		return err
	}
	defer release()
	if err := h.state.retag(c.bucket, c.key, tags); err != nil {
		return err
	}
	w.WriteHeader(status)
	return nil
}

func (h *Handler) getObjectTagging(w http.ResponseWriter, c *call) error {
	if err := h.allowRead(c, "GetObjectTagging"); err != nil {
		return err
	}
	o, release, err := h.object(c, c.bucket, c.key)
	if err != nil {
		return err
	}
	defer release()
	return writeXML(w, struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ Tagging"`
		TagSet  struct{ Tag []tag }
	}{TagSet: struct{ Tag []tag }{o.Tags}})
}
