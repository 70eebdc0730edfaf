package stream_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/internal/stream"

	"github.com/google/go-cmp/cmp"
)

const uid = "0f8fad5b-d9cb-469f-a165-70867728950e"

func TestWhatIsWrittenIsRead(t *testing.T) {
	keys := json.RawMessage(`{"keys":[]}`)
	sent := []stream.Message{
		{Snapshot: &stream.Snapshot{Cluster: "lab", Issuer: "https://kubernetes.default.svc", Keys: keys,
			Pods: map[string]stream.Pod{uid: {Association: stream.Version{UID: "a-1", Revision: 7}}, "static": {}}}},
		{Pod: uid, Association: &stream.Version{UID: "a-1", Revision: 8}},
		{Pod: uid, Association: &stream.Version{Revision: 9}},
		{PodEnded: uid},
		{Keys: keys},
		{Ping: 1790000000},
		{Ping: 1790000010, Age: 42},
	}
	var wire bytes.Buffer
	for _, m := range sent {
		if err := stream.Write(&wire, m); err != nil {
			t.Fatal(err)
		}
	}
	want := `{"snapshot":{"cluster":"lab","issuer":"https://kubernetes.default.svc","keys":{"keys":[]},"pods":{"` + uid + `":{"association":"a-1/7"},"static":{"association":""}}}}
{"pod":"` + uid + `","association":"a-1/8"}
{"pod":"` + uid + `","association":"/9"}
{"podEnded":"` + uid + `"}
{"keys":{"keys":[]}}
{"ping":1790000000}
{"ping":1790000010,"age":42}
`
	if diff := cmp.Diff(want, wire.String()); diff != "" {
		t.Error(diff)
	}
	r := stream.NewReader(strings.NewReader(wire.String() + `{"future":1}` + "\n"))
	for _, m := range sent {
		got, err := r.Next()
		if diff := cmp.Diff(m, got); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	}
	if m, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("a line of a newer podid-auth is not skipped: %+v, %v", m, err)
	}
}

func TestWhatIsNoMessageEndsTheStream(t *testing.T) {
	pods := strings.Repeat(`"p":{},`, 1)
	for _, line := range []string{
		`x`, `[]`, `{"pod":7}`, `{"pod":"p","association":"a"}`, `{"pod":"p","association":"a/b"}`, `{"pod":"p","association":"a b/1"}`,
		`{"pod":"p","association":"a/-1"}`, `{"snapshot":{"pods":[` + pods + `]}}`, strings.Repeat(" ", stream.MaxLine+1),
	} {
		if m, err := stream.NewReader(strings.NewReader(line + "\n")).Next(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%.80q: got %+v, %v", line, m, err)
		}
	}
}

func TestNoneAsOfAVersionIsNewerThanWhatWasBefore(t *testing.T) {
	was, gone := stream.Version{UID: "a-1", Revision: 7}, stream.Version{Revision: 9}
	if !was.Older(gone) || gone.Older(was) || was.Older(was) {
		t.Error("the order is wrong")
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"snapshot":{"pods":{"u":{"association":"a/1"}},"keys":{}}}` + "\n" + `{"ping":1}`))
	f.Add([]byte(`{"pod":"u","association":"/2"}`))
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := stream.NewReader(bytes.NewReader(wire))
		for range 100 {
			m, err := r.Next()
			if err != nil {
				return
			}
			var again bytes.Buffer
			if err := stream.Write(&again, m); err != nil {
				continue // longer than it was: HTML characters are escaped
			}
			if _, err := stream.NewReader(&again).Next(); err != nil {
				t.Errorf("%s cannot be read back: %v", again.Bytes(), err)
			}
		}
	})
}

func FuzzParseVersion(f *testing.F) {
	for _, seed := range []string{"", "a-1/2", "/7", "a/b/1", "a/18446744073709551616"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := stream.ParseVersion(s)
		if err != nil {
			return
		}
		if again, err := stream.ParseVersion(v.String()); err != nil || again != v {
			t.Errorf("%q is %+v, and that is read back as %+v, %v", s, v, again, err)
		}
	})
}
