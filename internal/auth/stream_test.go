package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/auth"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"

	"github.com/google/go-cmp/cmp"
)

// streaming is a world with a stream, served over HTTP/2.
type streaming struct {
	*world
	nodes  *auth.Nodes
	server *httptest.Server
	keys   string
}

func newStreaming(t *testing.T) *streaming {
	t.Helper()
	s := &streaming{world: newWorld(t), keys: `{"keys":[1]}`}
	s.nodes = &auth.Nodes{Cluster: "lab", Issuer: issuerURL, JWKS: func() json.RawMessage { return json.RawMessage(s.keys) }, Heard: s.store.Heard}
	s.store.OnChange = s.nodes.Associated
	s.handler.Nodes = s.nodes
	for _, p := range s.pods {
		s.nodes.Pod(p)
	}
	s.server = httptest.NewUnstartedServer(s.handler)
	s.server.EnableHTTP2 = true
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	return s
}

type lines struct {
	*stream.Reader
	io.Closer
}

func (s *streaming) listen(t *testing.T) (stream.Snapshot, lines) {
	t.Helper()
	response := s.get(t, s.bearer, "")
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != stream.ContentType || response.ProtoMajor != 2 {
		t.Fatalf("%s %v", response.Status, response.Header)
	}
	t.Cleanup(func() { response.Body.Close() })
	l := lines{stream.NewReader(response.Body), response.Body}
	first, err := l.Next()
	if err != nil || first.Snapshot == nil {
		t.Fatalf("%+v, %v", first, err)
	}
	return *first.Snapshot, l
}

func (s *streaming) get(t *testing.T, bearer, within string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.URL+stream.Path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", bearer)
	if within != "" {
		r.Header.Set(stream.HeaderWithin, within)
	}
	response, err := s.server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func (l lines) want(t *testing.T, want stream.Message) {
	t.Helper()
	got, err := l.Next()
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v %s", err, diff)
	}
}

func (l lines) wantEnd(t *testing.T) {
	t.Helper()
	for {
		m, err := l.Next()
		if err != nil {
			return
		}
		if m.Ping == 0 && m.PodEnded == "" {
			t.Fatalf("got %+v, want the end", m)
		}
	}
}

func TestAnAgentIsToldOfItsOwnNode(t *testing.T) {
	s := newStreaming(t)
	s.nodes.Pod(token.Pod{Namespace: reader.Namespace, Name: "r2", UID: "on-2", ServiceAccount: reader.ServiceAccount, Node: "node-2"})
	snapshot, l := s.listen(t)
	want := stream.Snapshot{Cluster: "lab", Issuer: issuerURL, Keys: json.RawMessage(s.keys),
		Pods: map[string]stream.Pod{reader.PodUID: {}, agentOn1.PodUID: {}}}
	if diff := cmp.Diff(want, snapshot); diff != "" {
		t.Error(diff)
	}
	a := s.associate(t)
	v := s.store.Heard(a.Namespace, a.ServiceAccount)
	l.want(t, stream.Message{Pod: reader.PodUID, Association: &v})
	if _, err := s.store.Delete(t.Context(), a.ID()); err != nil {
		t.Fatal(err)
	}
	v = s.store.Heard(a.Namespace, a.ServiceAccount)
	if v.UID != "" {
		t.Errorf("heard %s of what is deleted", v)
	}
	l.want(t, stream.Message{Pod: reader.PodUID, Association: &v})

	another := token.Pod{Namespace: "n", Name: "another", UID: "another", ServiceAccount: "s", Node: "node-1"}
	s.nodes.Pod(token.Pod{Namespace: "n", Name: "another", UID: "another", ServiceAccount: "s"}) // not on its node yet
	s.nodes.Pod(another)
	none := s.store.Heard("n", "s")
	l.want(t, stream.Message{Pod: "another", Association: &none})
	another.Finished = true
	s.nodes.Pod(another)
	l.want(t, stream.Message{PodEnded: "another"})
	s.nodes.Gone("another")
	s.keys = `{"keys":[2]}`
	s.nodes.KeysChanged()
	l.want(t, stream.Message{Keys: json.RawMessage(s.keys)})
	s.nodes.Gone(reader.PodUID)
	l.want(t, stream.Message{PodEnded: reader.PodUID})
}

func TestAStreamEndsWithWhatProvedItsAgent(t *testing.T) {
	for name, end := range map[string]func(*streaming){
		"its pod ends":             func(s *streaming) { s.nodes.Gone(agentOn1.PodUID) },
		"its key is withdrawn":     func(s *streaming) { s.nodes.Verifies = func(string) bool { return false }; s.nodes.KeysChanged() },
		"podid-auth is to stop":    func(s *streaming) { s.nodes.Drain() },
		"its token expires":        nil,
		"podid-auth stops already": nil,
	} {
		t.Run(name, func(t *testing.T) {
			s := newStreaming(t)
			switch name {
			case "its token expires":
				raw, err := s.issuer.Mint(agentOn1, podid.AudienceAuth, time.Now().Add(-time.Minute), time.Minute+2*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				s.bearer = "Bearer " + raw
			case "podid-auth stops already":
				s.nodes.Drain()
			}
			_, l := s.listen(t)
			if end != nil {
				end(s)
			}
			l.wantEnd(t)
		})
	}
}

func TestANodeHasFewStreams(t *testing.T) {
	s := newStreaming(t)
	var all []lines
	for range 6 {
		_, l := s.listen(t)
		all = append(all, l)
	}
	all[0].wantEnd(t)
	all[1].wantEnd(t)
	s.keys = `{"keys":[3]}`
	s.nodes.KeysChanged()
	for _, l := range all[2:] {
		l.want(t, stream.Message{Keys: json.RawMessage(s.keys)})
	}
}

func TestAStreamIsForProvedAgentsAlone(t *testing.T) {
	s := newStreaming(t)
	var audit strings.Builder
	s.handler.Audit = &auth.Audit{W: &audit}
	for _, bearer := range []string{"", "Bearer x", "Bearer " + s.mint(t, reader, podid.AudienceAuth), "Bearer " + s.mint(t, agentOn1, podid.AudiencePods)} {
		response := s.get(t, bearer, "")
		body := decode(t, response)
		if response.StatusCode != http.StatusBadRequest || body["code"] != string(problem.CallerUnproven) {
			t.Errorf("%.20s: %s %v", bearer, response.Status, body)
		}
	}
	if n := strings.Count(audit.String(), `"kind":"stream"`); n != 4 || strings.Count(audit.String(), `"decision":"refused"`) != 4 {
		t.Errorf("the audit log has %s", audit.String())
	}
	s.handler.Ready = func() error { return problem.New(problem.ClusterUnavailable, "no news") }
	if response := s.get(t, s.bearer, ""); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a replica that cannot tell answers %s", response.Status)
	}
}

func TestWhoWantsNewerNewsThanThereAreIsSentElsewhere(t *testing.T) {
	s := newStreaming(t)
	var age atomic.Int64
	s.handler.Age = func() time.Duration { return time.Duration(age.Load()) }
	_, l := s.listen(t)
	age.Store(int64(45*time.Second + 600*time.Millisecond))
	s.keys = `{"keys":[2]}`
	s.nodes.KeysChanged()
	l.want(t, stream.Message{Keys: json.RawMessage(s.keys), Age: 45}) // who listens already learns how old they are

	response := s.get(t, s.bearer, "30")
	if body := decode(t, response); response.StatusCode != 503 || body["code"] != string(problem.ClusterUnavailable) {
		t.Errorf("%s %v", response.Status, body)
	}
	if response := s.get(t, "Bearer x", "30"); response.StatusCode != http.StatusBadRequest {
		t.Errorf("who is not proved is told %s", response.Status)
	}
	for _, within := range []string{"-1", "1h", "99999999999"} {
		if response := s.get(t, s.bearer, within); decode(t, response)["code"] != string(problem.RequestInvalid) {
			t.Errorf("%s: %s", within, response.Status)
		}
	}
	for _, within := range []string{"60", ""} { // it is better than none
		response := s.get(t, s.bearer, within)
		if first, err := stream.NewReader(response.Body).Next(); err != nil || first.Snapshot == nil || first.Age != 45 {
			t.Errorf("%q: %s, %+v, %v", within, response.Status, first, err)
		}
		response.Body.Close()
	}
}

// slowReader is a response that nobody reads.
type slowReader struct {
	http.ResponseWriter
	deadlines []time.Time
	written   int
}

func (s *slowReader) SetWriteDeadline(at time.Time) error {
	if !at.IsZero() {
		s.deadlines = append(s.deadlines, at)
	}
	return nil
}

func (s *slowReader) Write(p []byte) (int, error) {
	if s.written++; s.written > 1 {
		return 0, errors.New("i/o timeout") // what a write past its deadline ends with
	}
	return len(p), nil
}

func (s *slowReader) Flush() {}

func TestWhoDoesNotReadIsCutOffAndCostsNoMoreThanItsPods(t *testing.T) {
	s := newStreaming(t)
	slow := &slowReader{ResponseWriter: httptest.NewRecorder()}
	r := httptest.NewRequest(http.MethodGet, stream.Path, nil)
	r.Header.Set("Authorization", s.bearer)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.handler.ServeHTTP(slow, r)
	}()
	for range 1000 {
		s.nodes.Associated(reader.Namespace, reader.ServiceAccount)
	}
	deadline := time.After(20 * time.Second)
	for {
		s.nodes.Associated(reader.Namespace, reader.ServiceAccount)
		select {
		case <-done:
		case <-deadline:
			t.Fatal("it is not cut off")
		case <-time.After(10 * time.Millisecond):
			continue
		}
		break
	}
	if slow.written != 2 || len(slow.deadlines) != 2 || !slices.IsSortedFunc(slow.deadlines, time.Time.Compare) {
		t.Errorf("%d lines, deadlines %v", slow.written, slow.deadlines)
	}
}
