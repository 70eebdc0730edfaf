package sigv4

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strconv"
	"strings"
)

const (
	// MaxSignedChunk is the most that a signed chunk may hold, in bytes: it is
	// kept until its signature holds, before any of it is handed out. SDKs send 64
	// KiB to 1 MiB.
	MaxSignedChunk = 8 << 20

	minChunk    = 8192 // bytes of every chunk but the last
	maxLine     = 512  // bytes of a chunk's header, and of a trailer
	maxTrailers = 8    // lines
)

// frames decodes an aws-chunked payload
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html).
type frames struct {
	body    *body
	raw     *bufio.Reader
	chain   *chain // nil if the chunks are unsigned
	trailer bool

	data []byte // of a signed chunk: proved, not yet handed out
	buf  []byte // what data is of
	left int64  // of an unsigned chunk: bytes not yet read
}

// chain is the signatures of the chunks, each of which signs the one before.
type chain struct {
	claim *claim
	key   []byte
	last  [64]byte // hexadecimal
}

func newFrames(b *body, mode string, signingKey []byte) *frames {
	f := &frames{body: b, raw: bufio.NewReaderSize(b.raw, 4096), trailer: strings.HasSuffix(mode, "-TRAILER")}
	if mode != streamUnsignedTrailer {
		f.chain = &chain{claim: b.claim, key: signingKey}
		hex.Encode(f.chain.last[:], b.claim.signature[:])
	}
	return f
}

// fill hands out decoded bytes; there are body.left more to come.
func (f *frames) fill(p []byte) (int, *Error) {
	if f.chain != nil {
		if len(f.data) == 0 {
			if fault := f.nextSigned(); fault != nil {
				return 0, fault
			}
		}
		n := copy(p, f.data)
		f.data = f.data[n:]
		return n, nil
	}
	if f.left == 0 {
		size, _, fault := f.next()
		if fault != nil {
			return 0, fault
		}
		f.left = size
	}
	n, err := f.raw.Read(p[:min(int64(len(p)), f.left)])
	if n == 0 && err != nil {
		return 0, f.body.broken(err)
	}
	f.left -= int64(n)
	if f.left == 0 && n > 0 {
		return n, f.endOfLine()
	}
	return n, nil
}

// nextSigned reads a whole chunk and proves it.
func (f *frames) nextSigned() *Error {
	size, signature, fault := f.next()
	if fault != nil {
		return fault
	}
	if size > MaxSignedChunk {
		return f.body.claim.refuse(chunkSize, "A signed chunk may hold up to "+strconv.Itoa(MaxSignedChunk)+" bytes")
	}
	if int64(cap(f.buf)) < size {
		f.buf = make([]byte, size)
	}
	f.buf = f.buf[:size]
	if _, err := io.ReadFull(f.raw, f.buf); err != nil {
		return f.body.broken(err)
	}
	if fault := f.endOfLine(); fault != nil {
		return fault
	}
	if fault := f.chain.prove(f.buf, signature); fault != nil {
		return fault
	}
	f.data = f.buf
	return nil
}

// next reads the header of a chunk with data.
func (f *frames) next() (size int64, signature string, fault *Error) {
	size, signature, fault = f.header()
	left := f.body.left
	switch {
	case fault != nil:
	case size == 0:
		fault = f.body.broken(errors.New("the final chunk came early"))
	case size > left:
		fault = f.invalid("the chunks hold more than x-amz-decoded-content-length says")
	case size < minChunk && size < left:
		fault = f.body.claim.refuse(chunkSize, "Only the last chunk is allowed to have a size less than 8192 bytes")
	}
	return size, signature, fault
}

// header reads "SIZE" or "SIZE;chunk-signature=SIGNATURE".
func (f *frames) header() (int64, string, *Error) {
	line, fault := f.line()
	if fault != nil {
		return 0, "", fault
	}
	digits, extension, extended := strings.Cut(line, ";")
	// ParseUint alone would take "+1", "_" and a width without end.
	if digits == "" || len(digits) > 16 || strings.Trim(digits, "0123456789abcdefABCDEF") != "" {
		return 0, "", f.invalid("a chunk's size is not a hexadecimal number")
	}
	size, err := strconv.ParseUint(digits, 16, 63)
	if err != nil {
		return 0, "", f.invalid("a chunk's size is out of range")
	}
	signature, isSignature := strings.CutPrefix(extension, "chunk-signature=")
	if extended != (f.chain != nil) || extended && !isSignature {
		return 0, "", f.invalid("a chunk is signed otherwise than x-amz-content-sha256 says")
	}
	return int64(size), signature, nil
}

// finish reads the final chunk and the trailer, and proves them.
func (f *frames) finish() *Error {
	size, signature, fault := f.header()
	switch {
	case fault != nil:
		return fault
	case size != 0:
		return f.invalid("the chunks hold more than x-amz-decoded-content-length says")
	}
	if f.chain != nil {
		if fault := f.chain.prove(nil, signature); fault != nil {
			return fault
		}
	}
	if f.trailer {
		fault = f.readTrailer()
	} else {
		fault = f.endOfLine()
	}
	if fault != nil {
		return fault
	}
	switch _, err := f.raw.ReadByte(); {
	case err == nil:
		return f.invalid("there is more after the end of the chunks")
	case err != io.EOF:
		return f.body.broken(err)
	}
	return nil
}

// readTrailer reads the announced checksum, and its signature where chunks are
// signed.
func (f *frames) readTrailer() *Error {
	announced := f.body.digests.announced()
	var value, signature string
	for n := 0; ; n++ {
		line, fault := f.line()
		if fault != nil {
			return fault
		}
		if line == "" {
			break
		}
		name, text, ok := strings.Cut(line, ":")
		name, text = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(text)
		switch {
		case n == maxTrailers || !ok:
			return f.malformedTrailer()
		case name == announced.header && value == "":
			value = text
		case name == "x-amz-trailer-signature" && f.chain != nil && signature == "":
			signature = text
		default:
			return f.malformedTrailer()
		}
	}
	if value == "" || f.chain != nil && signature == "" {
		return f.malformedTrailer()
	}
	if f.chain != nil {
		if fault := f.chain.proveTrailer(announced.header+":"+value+"\n", signature); fault != nil {
			return fault
		}
	}
	if !announced.set(value) {
		return f.body.claim.refuse(invalidRequest, "Value for "+announced.header+" trailing header is invalid.")
	}
	return nil
}

// line reads one line without its end.
func (f *frames) line() (string, *Error) {
	line, err := f.raw.ReadSlice('\n')
	switch {
	case len(line) > maxLine || errors.Is(err, bufio.ErrBufferFull):
		return "", f.invalid("a line between the chunks is too long")
	case err != nil:
		return "", f.body.broken(err)
	}
	return strings.TrimSuffix(string(line[:len(line)-1]), "\r"), nil
}

// endOfLine reads the line end after a chunk's data.
func (f *frames) endOfLine() *Error {
	line, fault := f.line()
	if fault == nil && line != "" {
		fault = f.invalid("a chunk holds more than its size says")
	}
	return fault
}

func (f *frames) invalid(why string) *Error {
	return f.body.claim.refuse(invalidRequest, "The aws-chunked body is malformed: "+why+".")
}

func (f *frames) malformedTrailer() *Error {
	return f.body.claim.refuse(malformedTrailer, "The request contained trailing data that was not well-formed or did not conform to our published schema.")
}

// prove checks the signature of the next chunk.
func (c *chain) prove(data []byte, signature string) *Error {
	b := c.begin(algorithm + "-PAYLOAD")
	b = append(b, emptyHash...)
	b = append(b, '\n')
	sum := sha256.Sum256(data)
	return c.check(hex.AppendEncode(b, sum[:]), signature)
}

// proveTrailer checks the signature of the canonical trailer.
func (c *chain) proveTrailer(canonical, signature string) *Error {
	b := c.begin(algorithm + "-TRAILER")
	return c.check(append(b, hexHash([]byte(canonical))...), signature)
}

func (c *chain) begin(algorithm string) []byte {
	b := c.claim.appendHead(make([]byte, 0, 384), algorithm)
	b = append(b, c.last[:]...)
	return append(b, '\n')
}

func (c *chain) check(stringToSign []byte, given string) *Error {
	hex.Encode(c.last[:], signature(c.key, stringToSign))
	if !hmac.Equal(c.last[:], []byte(given)) {
		return c.claim.refuse(mismatch, "")
	}
	return nil
}
