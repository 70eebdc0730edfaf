package sigv4

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// checksums are S3's algorithms by the end of their header's name
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html).
var checksums = []struct {
	suffix, algorithm string
	new               func() hash.Hash
}{
	{"crc32", "CRC32", func() hash.Hash { return crc32.NewIEEE() }},
	{"crc32c", "CRC32C", func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }},
	{"crc64nvme", "CRC64NVME", func() hash.Hash { return crc64.New(nvme()) }},
	{"sha1", "SHA1", sha1.New},
	{"sha256", "SHA256", sha256.New},
	{"sha512", "SHA512", sha512.New},
	{"md5", "MD5", md5.New},
	{"xxhash64", "XXHASH64", nil},
	{"xxhash3", "XXHASH3", nil},
	{"xxhash128", "XXHASH128", nil},
}

// nvme is the table of CRC-64/NVME, its polynomial bit-reversed.
var nvme = sync.OnceValue(func() *crc64.Table { return crc64.MakeTable(0x9a6c9329ac4bc9b5) })

const checksumHeader = "x-amz-checksum-"

// digest is one sum over the decoded payload.
type digest struct {
	hash hash.Hash
	want []byte // nil until the trailer was read
	text string // want in base64
	// header is where it was announced; algorithm is empty for what is not one
	// of S3's checksums (x-amz-content-sha256, Content-MD5).
	header, algorithm string
}

type digests []*digest

func contentHash(sum []byte) *digest {
	return &digest{hash: sha256.New(), want: sum, header: "x-amz-content-sha256"}
}

// read adds the sums that the head of the request gives or announces.
func (ds *digests) read(r *http.Request, c *claim, trailer bool) *Error {
	if value, ok := single(r.Header, "Content-Md5"); value != "" {
		sum, err := base64.StdEncoding.DecodeString(value)
		if err != nil || len(sum) != md5.Size || !ok {
			return c.refuse(invalidDigest, "The Content-MD5 you specified was invalid.")
		}
		*ds = append(*ds, &digest{hash: md5.New(), want: sum, header: "Content-MD5"})
	}
	sum, fault := checksumOf(r, c)
	if fault != nil {
		return fault
	}
	if trailer {
		announced, ok := single(r.Header, "X-Amz-Trailer")
		d, fault := newChecksum(c, strings.ToLower(strings.TrimSpace(announced)))
		if fault != nil {
			return fault
		}
		if !ok || d == nil {
			return c.refuse(invalidRequest, "The value specified in the x-amz-trailer header is not supported")
		}
		if sum != nil {
			return c.refuse(invalidRequest, "Expecting a single x-amz-checksum- header")
		}
		sum = d
	}
	if sum != nil {
		*ds = append(*ds, sum)
	}
	return nil
}

// checksumOf is the checksum that a header gives; nil if there is none. One in
// the query of a presigned URL says nothing: SDKs put there that of the empty body
// they had when they signed, and S3 ignores it
// (https://github.com/aws/aws-sdk-go-v2/issues/2610).
func checksumOf(r *http.Request, c *claim) (*digest, *Error) {
	// The checksum of a CompleteMultipartUpload is the object's, not the body's.
	if r.Method == http.MethodPost && c.has("uploadId") {
		return nil, nil
	}
	var found *digest
	for name, values := range r.Header {
		if !strings.HasPrefix(name, "X-Amz-Checksum-") {
			continue
		}
		d, fault := newChecksum(c, strings.ToLower(name))
		switch {
		case fault != nil:
			return nil, fault
		case d == nil:
			continue
		case found != nil:
			return nil, c.refuse(invalidRequest, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		case len(values) != 1 || !d.set(values[0]):
			return nil, c.refuse(invalidRequest, "Value for "+d.header+" header is invalid.")
		}
		found = d
	}
	return found, nil
}

func (c *claim) has(name string) bool {
	return slices.ContainsFunc(c.query, func(p parameter) bool { return p.name == name })
}

// newChecksum is nil for a header that is not one of S3's checksums.
func newChecksum(c *claim, header string) (*digest, *Error) {
	suffix, ok := strings.CutPrefix(header, checksumHeader)
	if !ok {
		return nil, nil
	}
	for _, sum := range checksums {
		if sum.suffix != suffix {
			continue
		}
		if sum.new == nil {
			return nil, c.refuse(notImplemented, "The checksum algorithm "+sum.algorithm+" is not implemented here.")
		}
		return &digest{hash: sum.new(), header: header, algorithm: sum.algorithm}, nil
	}
	return nil, nil
}

// set takes the wanted sum in base64; false if it is not one.
func (d *digest) set(text string) bool {
	sum, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(sum) != d.hash.Size() {
		return false
	}
	d.want, d.text = sum, text
	return true
}

func (ds digests) write(p []byte) {
	for _, d := range ds {
		d.hash.Write(p)
	}
}

func (ds digests) check(c *claim) *Error {
	for _, d := range ds {
		if bytes.Equal(d.hash.Sum(nil), d.want) {
			continue
		}
		switch {
		case d.algorithm != "":
			return c.refuse(badDigest, "The "+d.algorithm+" you specified did not match the calculated checksum.")
		case d.header == "Content-MD5":
			return c.refuse(badDigest, "The Content-MD5 you specified did not match what we received.")
		}
		return c.refuse(payloadHash, "")
	}
	return nil
}

// announced is the checksum that the trailer must give: there is one wherever
// there is a trailer.
func (ds digests) announced() *digest {
	return ds[slices.IndexFunc(ds, func(d *digest) bool { return d.want == nil })]
}
