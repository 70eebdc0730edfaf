package sigv4

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzVerify: whatever comes over the wire is refused with an *Error, or says
// what one of the seeds says: no other request is signed.
func FuzzVerify(f *testing.F) {
	known := map[string]bool{}
	for name, text := range wires(f) {
		signed, err := receive(text)
		if err != nil {
			f.Fatalf("%s: %v", name, err)
		}
		known[signed] = true
		if len(text) < 3000 {
			f.Add(text)
		}
	}
	f.Add(chunkedHead)
	f.Fuzz(func(t *testing.T, text string) {
		signed, err := receive(text)
		if err == nil {
			if !known[signed] {
				t.Fatalf("believed:\n%s", signed)
			}
			return
		}
		if e, ok := errors.AsType[*Error](err); ok {
			if e.Status < 400 || e.Status > 599 || e.Code == "" || e.Message == "" {
				t.Fatalf("%+v", e)
			}
			if strings.Contains(e.Error(), testSecret) || len(e.Message) > 1000 {
				t.Fatalf("%v", e)
			}
		}
	})
}

// FuzzChunked: an aws-chunked body gives what it holds, whatever the sizes of the
// reads, or an *Error.
func FuzzChunked(f *testing.F) {
	modes := []string{streamSigned, streamSignedTrailer, streamUnsignedTrailer}
	signed := map[string]bool{}
	for _, data := range []string{"", "hello", string(content(8192 + 5))} {
		signed[data] = true
		for i, mode := range modes {
			f.Add([]byte(chunk(data, mode, strings.Repeat("0", 64), "20260901T120000Z")), uint32(len(data)), byte(i))
		}
	}
	f.Add([]byte("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"), uint32(5), byte(2))
	f.Add([]byte("ffffffffffffffff\r\n"), uint32(5), byte(2))
	f.Fuzz(func(t *testing.T, raw []byte, n uint32, m byte) {
		mode := modes[int(m)%len(modes)]
		whole, err := io.ReadAll(frameBody(bytes.NewReader(raw), mode, int64(n)))
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("%T: %v", err, err)
			}
		} else if len(whole) != int(n) || mode != streamUnsignedTrailer && !signed[string(whole)] {
			t.Fatalf("%d bytes believed where %d were said", len(whole), n)
		}
		if len(raw) > 1<<16 {
			return
		}
		bytewise, again := io.ReadAll(iotest.OneByteReader(frameBody(iotest.HalfReader(bytes.NewReader(raw)), mode, int64(n))))
		if (err == nil) != (again == nil) || err == nil && !bytes.Equal(whole, bytewise) {
			t.Fatalf("read at once: %d bytes, %v; byte by byte: %d bytes, %v", len(whole), err, len(bytewise), again)
		}
	})
}
