package s3

import (
	"encoding/xml"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

type attributesResult struct {
	XMLName      xml.Name            `xml:"http://s3.amazonaws.com/doc/2006-03-01/ GetObjectAttributesResponse"`
	ETag         string              `xml:",omitempty"`
	Checksum     *attributesChecksum `xml:",omitempty"`
	ObjectParts  *attributesParts    `xml:",omitempty"`
	StorageClass string              `xml:",omitempty"`
	ObjectSize   *int64              `xml:",omitempty"`
}

type attributesChecksum struct {
	checksums
	ChecksumType string
}

type attributesParts struct {
	PartsCount           int
	PartNumberMarker     int
	NextPartNumberMarker int `xml:",omitempty"`
	MaxParts             int
	IsTruncated          bool
	Parts                []attributesPart `xml:"Part"`
}

type attributesPart struct {
	checksums
	PartNumber int
	Size       int64
}

func (h *Handler) getObjectAttributes(w http.ResponseWriter, c *call) error {
	for _, action := range []string{"GetObject", "GetObjectAttributes"} {
		if err := h.allowRead(c, action); err != nil {
			return err
		}
	}
	var wanted []string
	for name := range strings.SplitSeq(strings.Join(c.header.Values("X-Amz-Object-Attributes"), ","), ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains([]string{"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}, name) {
			return errInvalidArgument("x-amz-object-attributes", clip(name), "Invalid attribute name specified.")
		}
		wanted = append(wanted, name)
	}
	o, release, err := h.object(c, c.bucket, c.key)
	if err != nil {
		return err
	}
	defer release()
	var result attributesResult
	for _, name := range wanted {
		switch name {
		case "ETag":
			result.ETag = o.ETag
		case "Checksum":
			result.Checksum = &attributesChecksum{checksumOf(o.Checksum.Algorithm, o.Checksum.Value), o.Checksum.Type}
		case "ObjectParts":
			if result.ObjectParts, err = c.attributesParts(o); err != nil {
				return err
			}
		case "StorageClass":
			result.StorageClass = "STANDARD"
		case "ObjectSize":
			result.ObjectSize = new(o.Size)
		}
	}
	w.Header().Set("Last-Modified", o.Modified.Format(http.TimeFormat))
	return writeXML(w, result)
}

// attributesParts lists the parts of an object; nil if it came in one piece.
func (c *call) attributesParts(o *object) (*attributesParts, error) {
	if len(o.Parts) == 0 {
		return nil, nil
	}
	bounded := func(name string, missing, most int) (int, error) {
		text := c.header.Get(name)
		if text == "" {
			return missing, nil
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return 0, errInvalidArgument(strings.ToLower(name), clip(text), "It must be a number.")
		}
		return min(n, most), nil
	}
	most, err := bounded("X-Amz-Max-Parts", maxPage, maxPage)
	if err != nil {
		return nil, err
	}
	after, err := bounded("X-Amz-Part-Number-Marker", 0, maxPart)
	if err != nil {
		return nil, err
	}
	list := &attributesParts{PartsCount: len(o.Parts), PartNumberMarker: after, MaxParts: most}
	for _, p := range o.Parts {
		if p.Number <= after {
			continue
		}
		if len(list.Parts) == most {
			list.IsTruncated = most > 0
			break
		}
		list.Parts = append(list.Parts, attributesPart{checksumOf(o.Checksum.Algorithm, p.Checksum), p.Number, p.Size})
		list.NextPartNumberMarker = p.Number
	}
	return list, nil
}
