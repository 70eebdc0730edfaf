package s3

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestChecksumsAreThoseOfTheirDefinitions(t *testing.T) {
	// The check values of the CRC catalogue (https://reveng.sourceforge.io/crc-catalogue/)
	// and of FIPS 180, for "123456789" and "abc".
	for a, test := range map[algorithm]struct{ text, want string }{
		crc32IEEE: {"123456789", "y/Q5Jg=="},
		crc32C:    {"123456789", "4waSgw=="},
		crc64NVMe: {"123456789", "rosUhgp5mIg="},
		sha1Sum:   {"abc", "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="},
		sha256Sum: {"abc", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="},
	} {
		sum := a.new()
		_, _ = io.WriteString(sum, test.text)
		if got := base64.StdEncoding.EncodeToString(sum.Sum(nil)); got != test.want {
			t.Errorf("%s: %s, want %s", a, got, test.want)
		}
	}
}

func TestCombinedPartsHaveTheChecksumOfTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SampledFrom([]algorithm{crc32IEEE, crc32C, crc64NVMe}).Draw(t, "algorithm")
		pieces := rapid.SliceOfN(rapid.SliceOf(rapid.Byte()), 1, 5).Draw(t, "pieces")
		whole := a.new()
		var parts []part
		for i, piece := range pieces {
			whole.Write(piece)
			sum := a.new()
			sum.Write(piece)
			parts = append(parts, part{Number: i + 1, Size: int64(len(piece)), Checksum: base64.StdEncoding.EncodeToString(sum.Sum(nil))})
		}
		got, err := combined(a, fullObject, parts)
		if want := base64.StdEncoding.EncodeToString(whole.Sum(nil)); err != nil || got.Value != want {
			t.Fatalf("%s, want %s, %v", got.Value, want, err)
		}
	})
}

func TestBodiesKeepWhatWasWritten(t *testing.T) {
	for name, b := range map[string]bodies{"memory": newMemory(math.MaxInt64), "directory": directory(t.TempDir())} {
		t.Run(name, func(t *testing.T) {
			content := bytes.Repeat([]byte("0123456789"), 300_000)
			w, err := b.create(int64(len(content)))
			if err != nil {
				t.Fatal(err)
			}
			// Pieces that do not fit the chunks.
			for rest := content; len(rest) > 0; rest = rest[min(len(rest), 70_001):] {
				if _, err := w.Write(rest[:min(len(rest), 70_001)]); err != nil {
					t.Fatal(err)
				}
			}
			id, err := w.commit()
			if err != nil {
				t.Fatal(err)
			}
			for _, offset := range []int{0, 1, chunkSize - 1, chunkSize, len(content)} {
				r, err := b.open(id, int64(offset))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(r)
				if err != nil || !bytes.Equal(got, content[offset:]) {
					t.Errorf("from %d: %d bytes, %v", offset, len(got), err)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
			w, err = b.create(10)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = w.Write([]byte("x"))
			w.abort()
			if err := b.remove(id); err != nil {
				t.Fatal(err)
			}
			if _, err := b.open(id, 0); err == nil {
				t.Error("a removed body opens")
			}
			if m, ok := b.(*memory); ok && m.used != 0 {
				t.Errorf("%d bytes are still counted", m.used)
			}
		})
	}
}

func TestMemoryIsBounded(t *testing.T) {
	s, err := open(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.bodies = newMemory(100)
	kept, err := s.store(strings.NewReader(strings.Repeat("x", 60)), 60)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.store(strings.NewReader(strings.Repeat("x", 60)), 60); err == nil || !strings.Contains(err.Error(), "EntityTooLarge") {
		t.Errorf("over the bound: %v", err)
	}
	s.drop(kept)
	if _, err := s.store(strings.NewReader(strings.Repeat("x", 60)), 60); err != nil {
		t.Errorf("after making room: %v", err)
	}
}

func TestAnnouncedSizesCostNothing(t *testing.T) {
	s, err := open(nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.bodies.create(maxPut)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n := cap(w.(*memoryWriter).chunks.data[0]); n > chunkSize {
		t.Errorf("a byte of 5 GiB announced takes %d bytes", n)
	}
}

func TestAddressesAreFoundInHostAndPath(t *testing.T) {
	for _, test := range []struct{ host, path, bucket, key string }{
		{"localhost:1", "/", "", ""},
		{"localhost", "/bucket", "bucket", ""},
		{"localhost", "/bucket/", "bucket", ""},
		{"localhost", "/bucket/a/b", "bucket", "a/b"},
		{"localhost", "/bucket//a/", "bucket", "/a/"},
		{"127.0.0.1:1", "/bucket/a", "bucket", "a"},
		{"[::1]:1", "/bucket/a", "bucket", "a"},
		{"[::1]", "/bucket/a", "bucket", "a"},
		{"podid.default.svc:80", "/bucket/a", "bucket", "a"},
		{"s3.localhost:1", "/bucket/a", "bucket", "a"},
		{"bucket.s3.localhost:1", "/a/b", "bucket", "a/b"},
		{"Bucket.localhost", "/a", "bucket", "a"},
		{"my.bucket.localhost:1", "/", "my.bucket", ""},
		{"s3.eu-central-1.amazonaws.com", "/bucket/a", "bucket", "a"},
		{"bucket.s3.eu-central-1.amazonaws.com", "/a", "bucket", "a"},
		{"bucket.s3.amazonaws.com", "/a", "bucket", "a"},
		{"s3.amazonaws.com", "/bucket/a", "bucket", "a"},
	} {
		if bucket, key := address(test.host, test.path, "eu-central-1"); bucket != test.bucket || key != test.key {
			t.Errorf("%s %s: bucket %q key %q", test.host, test.path, bucket, key)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-", "bytes=-1", "bytes=1-2", "bytes=2-1", "bytes=0-0,2-3", "bytes=99999999999999999999-", "lines=1-2", "", "bytes=--1"} {
		f.Add(seed, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 || size > maxObject {
			return
		}
		s, whole, err := parseRange(header, size)
		if err != nil {
			return
		}
		if s.Offset < 0 || s.Size < 0 || s.Offset+s.Size > size || !whole && s.Size == 0 || whole && s.Size != size {
			t.Fatalf("%q of %d: %+v, whole %v", header, size, s, whole)
		}
	})
}

func TestAReaderErrorIsTheAnswer(t *testing.T) {
	s, err := open(nil)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the payload is not what was signed")
	if _, err := s.store(io.MultiReader(strings.NewReader("abc"), readerFunc(func([]byte) (int, error) { return 0, broken })), 3); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if m := s.bodies.(*memory); m.used != 0 || len(m.bodies) != 0 {
		t.Error("something was kept")
	}
}

func TestAFalseDigestKeepsNothing(t *testing.T) {
	made, err := New("111122223333", "us-east-1", nil, func(*http.Request, string, string, map[string][]string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	h := made.(*Handler)
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("PUT", "/bucket", nil))
	for name, value := range map[string]string{"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA==", "x-amz-checksum-crc32": "AAAAAA=="} {
		r := httptest.NewRequest("PUT", "/bucket/key", strings.NewReader("x"))
		r.Header.Set(name, value)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 400 || !strings.Contains(w.Body.String(), "BadDigest") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if m := h.state.bodies.(*memory); m.used != 0 || len(m.bodies) != 0 || len(h.state.refs) != 0 {
		t.Error("something was kept")
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
