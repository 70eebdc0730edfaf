package s3

import (
	"encoding/xml"
	"net/http"
	"strconv"

	"github.com/openpodidentity/podid/internal/awswire"
)

type objectElement struct {
	Key               string
	LastModified      string
	ETag              string
	ChecksumAlgorithm string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
	Size              int64
	Owner             *owner `xml:",omitempty"`
	StorageClass      string
}

type prefixElement struct{ Prefix string }

// listBucketResult is the answer of both versions of ListObjects.
type listBucketResult struct {
	XMLName      xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name         string
	Prefix       string
	Delimiter    string `xml:",omitempty"`
	EncodingType string `xml:",omitempty"`
	MaxKeys      int
	IsTruncated  bool
	// Version 1.
	Marker     *string `xml:",omitempty"`
	NextMarker string  `xml:",omitempty"`
	// Version 2.
	KeyCount              *int   `xml:",omitempty"`
	StartAfter            string `xml:",omitempty"`
	ContinuationToken     string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`

	Contents       []objectElement
	CommonPrefixes []prefixElement
}

// list asks for the right to list, answers the question, and fills in what both
// versions say alike.
func (h *Handler) list(c *call, after string, owners bool) (*listBucketResult, page, error) {
	keys := make(map[string][]string)
	for _, name := range []string{"prefix", "delimiter", "max-keys"} {
		if c.query.Has(name) {
			keys["s3:"+name] = []string{c.query.Get(name)}
		}
	}
	if err := h.allowBucket(c, "ListBucket", keys); err != nil {
		return nil, page{}, err
	}
	encode, err := c.encoding()
	if err != nil {
		return nil, page{}, err
	}
	most, err := c.number("max-keys", maxPage, 0, maxPage)
	if err != nil {
		return nil, page{}, err
	}
	l := listing{Prefix: c.query.Get("prefix"), Delimiter: c.query.Get("delimiter"), After: after, Max: most}
	p, objects, err := h.state.list(c.bucket, l)
	if err != nil {
		return nil, page{}, err
	}
	result := &listBucketResult{Name: c.bucket, Prefix: encode(l.Prefix), Delimiter: encode(l.Delimiter),
		EncodingType: c.query.Get("encoding-type"), MaxKeys: most, IsTruncated: p.Truncated}
	var own *owner
	if owners {
		own = new(h.owner())
	}
	for _, o := range objects {
		result.Contents = append(result.Contents, objectElement{Key: encode(o.Key), LastModified: awswire.ISOMillis(o.Modified),
			ETag: quote(o.ETag), ChecksumAlgorithm: string(o.Checksum.Algorithm), ChecksumType: o.Checksum.Type,
			Size: o.Size, Owner: own, StorageClass: "STANDARD"})
	}
	for _, prefix := range p.Prefixes {
		result.CommonPrefixes = append(result.CommonPrefixes, prefixElement{encode(prefix)})
	}
	return result, p, nil
}

func (h *Handler) listObjects(w http.ResponseWriter, c *call) error {
	marker := c.query.Get("marker")
	result, p, err := h.list(c, marker, true)
	if err != nil {
		return err
	}
	encode, err := c.encoding()
	if err != nil {
		return err
	}
	result.Marker = new(encode(marker))
	// Without a delimiter the last key is the next marker, and S3 leaves it out.
	if p.Truncated && result.Delimiter != "" {
		result.NextMarker = encode(p.Last)
	}
	return writeXML(w, result)
}

func (h *Handler) listObjectsV2(w http.ResponseWriter, c *call) error {
	if kind := c.query.Get("list-type"); kind != "2" {
		return errInvalidArgument("list-type", clip(kind), "Invalid List Type specified in Request")
	}
	after, err := c.token()
	if err != nil {
		return err
	}
	if !c.query.Has("continuation-token") {
		after = c.query.Get("start-after")
	}
	owners := false
	if text := c.query.Get("fetch-owner"); text != "" {
		if owners, err = strconv.ParseBool(text); err != nil {
			return errInvalidArgument("fetch-owner", clip(text), "fetch-owner must be true or false")
		}
	}
	result, p, err := h.list(c, after, owners)
	if err != nil {
		return err
	}
	encode, err := c.encoding()
	if err != nil {
		return err
	}
	result.KeyCount = new(len(p.Objects) + len(p.Prefixes))
	result.StartAfter = encode(c.query.Get("start-after"))
	result.ContinuationToken = c.query.Get("continuation-token")
	if p.Truncated {
		result.NextContinuationToken = newToken(p.Last)
	}
	return writeXML(w, result)
}
