package s3

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"strings"
)

// algorithm is one of S3's additional checksums
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html).
type algorithm string

const (
	crc32IEEE  algorithm = "CRC32"
	crc32C     algorithm = "CRC32C"
	crc64NVMe  algorithm = "CRC64NVME"
	sha1Sum    algorithm = "SHA1"
	sha256Sum  algorithm = "SHA256"
	defaultSum           = crc64NVMe // what S3 adds when the caller sends none
)

var algorithms = []algorithm{crc32IEEE, crc32C, crc64NVMe, sha1Sum, sha256Sum}

// Checksum types of an object that was uploaded in parts: of the parts'
// checksums, or of the content.
const (
	composite  = "COMPOSITE"
	fullObject = "FULL_OBJECT"
)

// Reversed polynomials, as package crc32 and crc64 take them.
const polyNVMe = 0x9a6c9329ac4bc9b5

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	nvme       = crc64.MakeTable(polyNVMe)
)

// parseAlgorithm reads an algorithm's name in any case.
func parseAlgorithm(s string) (algorithm, bool) {
	for _, a := range algorithms {
		if strings.EqualFold(s, string(a)) {
			return a, true
		}
	}
	return "", false
}

// header is the header that carries the checksum.
func (a algorithm) header() string { return "x-amz-checksum-" + strings.ToLower(string(a)) }

func (a algorithm) new() hash.Hash {
	switch a {
	case crc32IEEE:
		return crc32.NewIEEE()
	case crc32C:
		return crc32.New(castagnoli)
	case crc64NVMe:
		return crc64.New(nvme)
	case sha1Sum:
		return sha1.New()
	default:
		return sha256.New()
	}
}

// linear reports whether checksums of parts combine into that of the whole.
func (a algorithm) linear() bool { return a == crc32IEEE || a == crc32C || a == crc64NVMe }

// valid reports whether s is a checksum of a in base64.
func (a algorithm) valid(s string) bool {
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	return err == nil && len(raw) == a.new().Size()
}

// allows reports whether a multipart upload may have this checksum type.
func (a algorithm) allows(kind string) bool {
	switch kind {
	case fullObject:
		return a.linear()
	case composite:
		return a != crc64NVMe
	}
	return false
}

// defaultType is the checksum type of an upload that names none.
func (a algorithm) defaultType() string {
	if a.allows(composite) {
		return composite
	}
	return fullObject
}

// checksum is what an object keeps of its content beside the ETag.
type checksum struct {
	Algorithm algorithm `json:"algorithm"`
	Value     string    `json:"value"` // base64; with "-PARTS" if composite
	Type      string    `json:"type"`
}

// combined is the checksum of an object made of parts.
func combined(a algorithm, kind string, parts []part) (checksum, error) {
	sum := a.new()
	var crc uint64
	for i, p := range parts {
		raw, err := base64.StdEncoding.DecodeString(p.Checksum)
		if err != nil || len(raw) != sum.Size() {
			return checksum{}, fmt.Errorf("checksum of part %d is malformed", p.Number)
		}
		switch {
		case kind == composite:
			sum.Write(raw)
		case i == 0:
			crc = bigEndian(raw)
		default:
			crc = a.combine(crc, bigEndian(raw), p.Size)
		}
	}
	if kind == composite {
		value := base64.StdEncoding.EncodeToString(sum.Sum(nil))
		return checksum{a, fmt.Sprintf("%s-%d", value, len(parts)), kind}, nil
	}
	raw := binary.BigEndian.AppendUint64(nil, crc)
	return checksum{a, base64.StdEncoding.EncodeToString(raw[8-sum.Size():]), kind}, nil
}

func bigEndian(raw []byte) (n uint64) {
	for _, b := range raw {
		n = n<<8 | uint64(b)
	}
	return n
}

// combine is the CRC of a text whose first part has the CRC first and whose
// second part, of length bytes, has the CRC second: first·x^(8·length) + second
// modulo the polynomial, with bits reversed.
func (a algorithm) combine(first, second uint64, length int64) uint64 {
	poly, top := uint64(polyNVMe), uint64(1)<<63
	switch a {
	case crc32IEEE:
		poly, top = crc32.IEEE, 1<<31
	case crc32C:
		poly, top = crc32.Castagnoli, 1<<31
	}
	times := func(x, y uint64) (product uint64) {
		for bit := top; bit != 0; bit >>= 1 {
			if x&bit != 0 {
				product ^= y
			}
			low := y & 1
			y >>= 1
			if low != 0 {
				y ^= poly
			}
		}
		return product
	}
	shift, square := top, top>>8 // 1 and x^8
	for n := uint64(length); n > 0; n >>= 1 {
		if n&1 != 0 {
			shift = times(shift, square)
		}
		square = times(square, square)
	}
	return times(shift, first) ^ second
}
