package certificate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/certificate"
)

// kept is a state with a retired authority, one that issues, and one to come.
func kept(t testing.TB) certificate.State {
	t.Helper()
	var r certificate.Rotation
	var s certificate.State
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for range 4 {
		var err error
		if s, _, err = r.Advance(s, namespace, now, true); err != nil {
			t.Fatal(err)
		}
		s, _ = s.Publish(now, false)
		now = now.Add(10 * time.Minute)
	}
	if len(s.Authorities) != 3 {
		t.Fatalf("%d authorities", len(s.Authorities))
	}
	return s
}

func TestAStateIsReadAsItWasWritten(t *testing.T) {
	s := kept(t)
	text, err := certificate.EncodeState(s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := certificate.ParseState(text)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range s.Authorities {
		b := got.Authorities[i]
		if !a.Certificate.Equal(b.Certificate) || (a.Key == nil) != (b.Key == nil) || !a.Published.Equal(b.Published) || !a.Retired.Equal(b.Retired) {
			t.Errorf("authority %d: %+v became %+v", i, a, b)
		}
	}
	if n := strings.Count(string(text), "PRIVATE KEY-----\\n\""); n != 2 {
		t.Errorf("%d keys are kept: that of a retired authority is to be destroyed", n)
	}
}

func TestAStateThatIsDamagedIsRefusedAsAWhole(t *testing.T) {
	encoded, err := certificate.EncodeState(kept(t))
	if err != nil {
		t.Fatal(err)
	}
	text := string(encoded)
	for what, damaged := range map[string]string{
		"nothing":         "",
		"an object":       "{}",
		"cut off":         text[:len(text)/2],
		"an unknown key":  strings.Replace(text, `"published"`, `"issued"`, 1),
		"no key":          strings.Replace(text, `"key"`, `"retired2"`, 1),
		"swapped":         strings.Replace(text, "BEGIN CERTIFICATE", "BEGIN PRIVATE KEY", 1),
		"other key":       swapKeys(text),
		"retired anew":    strings.Replace(text, `"retired"`, `"published"`, 1),
		"a broken header": strings.Replace(text, "MII", "XII", 1),
	} {
		if _, err := certificate.ParseState([]byte(damaged)); err == nil {
			t.Errorf("%s is read", what)
		}
	}
}

func swapKeys(text string) string {
	parts := strings.Split(text, `"key": "`)
	if len(parts) != 3 {
		return ""
	}
	one, rest1, _ := strings.Cut(parts[1], `"`)
	two, rest2, _ := strings.Cut(parts[2], `"`)
	return parts[0] + `"key": "` + two + `"` + rest1 + `"key": "` + one + `"` + rest2
}

func FuzzParseState(f *testing.F) {
	text, err := certificate.EncodeState(kept(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("[]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := certificate.ParseState(text)
		if err != nil {
			return
		}
		if _, err := certificate.EncodeState(s); err != nil {
			t.Error(err)
		}
		s.Bundle()
	})
}
