package s3_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/internal/journal"
	locals3 "github.com/openpodidentity/podid/localaws/s3"
)

// nowhere is a response that nobody reads.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return io.Discard.Write(p) }
func (n nowhere) WriteHeader(int)             {}

// BenchmarkObject puts and gets 8 MiB, a part of the CLI's, without a front.
func BenchmarkObject(b *testing.B) {
	dir, err := journal.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	content := noise(8 * mib)
	for name, j := range map[string]*journal.Journal{"memory": nil, "journal": dir} {
		h, err := locals3.New(account, "us-east-1", j, allowAll)
		if err != nil {
			b.Fatal(err)
		}
		do(b, h, httptest.NewRequest("PUT", "/bucket", strings.NewReader("")))
		for _, method := range []string{"PUT", "GET"} {
			b.Run(name+"/"+method, func(b *testing.B) {
				b.SetBytes(int64(len(content)))
				b.ReportAllocs()
				for b.Loop() {
					r := httptest.NewRequest(method, "/bucket/key", bytes.NewReader(content))
					h.ServeHTTP(nowhere{http.Header{}}, r)
				}
			})
		}
	}
}
