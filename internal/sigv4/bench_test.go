package sigv4

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func BenchmarkVerify(b *testing.B) {
	for _, name := range []string{"get", "form", "presigned"} {
		b.Run(name, func(b *testing.B) {
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(wires(b)[name])))
			if err != nil {
				b.Fatal(err)
			}
			c, _ := parseClaim(r)
			content, err := io.ReadAll(r.Body)
			if err != nil {
				b.Fatal(err)
			}
			v := &Verifier{Now: func() time.Time { return signedAt }, Lookup: lookup(c.token)}
			b.ReportAllocs()
			for b.Loop() {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(string(content))), int64(len(content))
				if _, err := v.Verify(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkChunked(b *testing.B) {
	data := string(content(1 << 20))
	for _, mode := range []string{streamSigned, streamUnsignedTrailer} {
		raw := chunk(data, mode, strings.Repeat("0", 64), "20260901T120000Z")
		b.Run(mode, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.Copy(io.Discard, frameBody(strings.NewReader(raw), mode, int64(len(data)))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
