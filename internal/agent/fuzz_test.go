package agent_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// FuzzRequest sends what net/http makes of any bytes: whoever does not show the token
// gets a problem, and in a form that SDKs print.
func FuzzRequest(f *testing.F) {
	raw := mint(f, workload(1))
	f.Add([]byte("GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: TOKEN\r\n\r\n"))
	f.Add([]byte("GET /v1/credentials HTTP/1.0\r\nAuthorization: a.b.c\r\n\r\n"))
	f.Add([]byte("POST http://evil.example/v1/credentials?x HTTP/1.1\r\nHost: [fd00:ec2::23]:80\r\nAuthorization: x\r\nAuthorization: y\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("GET /v1/../v1/credentials HTTP/1.1\r\nHost: localhost\r\nAuthorization: \r\n\r\n"))
	n := newNode(f)
	n.Log = nil
	n.Node = "node-1"
	f.Fuzz(func(t *testing.T, text []byte) {
		text = bytes.ReplaceAll(text, []byte("TOKEN"), []byte(raw))
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
		if err != nil {
			return
		}
		r = r.WithContext(t.Context())
		r.RemoteAddr = "none" // and so has the account of all for whom there is no room: it may be empty
		w := httptest.NewRecorder()
		n.ServeHTTP(w, r)
		var got reply
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("%v: %d %s", err, w.Code, w.Body)
		}
		if w.Code == http.StatusOK {
			if r.Header.Get("Authorization") != raw || r.Method != http.MethodGet || r.URL.Path != agent.Path || got.AccessKeyID == "" {
				t.Errorf("%q got %s", text, w.Body)
			}
		} else if w.Code < 400 || got.AccessKeyID != "" || !problem.Known(problem.Code(got.Code)) || got.Message == "" {
			t.Errorf("%q got %d %s", text, w.Code, w.Body)
		}
	})
}

// FuzzStream has the agent hear any lines: it does not panic, keeps what it has within
// bounds, and a pod that ended stays so.
func FuzzStream(f *testing.F) {
	for _, m := range []stream.Message{listed(map[int]stream.Version{1: version("a", 1), 2: {}}), changed(1, "b", 2), ended(2), {Ping: 1}} {
		var line bytes.Buffer
		if err := stream.Write(&line, m); err != nil {
			f.Fatal(err)
		}
		f.Add(line.String())
	}
	f.Add(`{"snapshot":{"cluster":"c","issuer":"i","keys":{"keys":[{"kty":"oct","k":"AA","kid":"x"}]},"pods":{"":{"association":"/9"}}}}`)
	f.Add(`{"pod":"p","association":"a/18446744073709551615"}` + "\n" + `{"podEnded":"p"}` + "\n" + `{"pod":"p"}`)
	raw := mint(f, workload(1))
	f.Fuzz(func(t *testing.T, lines string) {
		n := newListener(t)
		n.Log, n.Limits.Pods = nil, 8
		client := &agent.AuthClient{
			Endpoint: "https://podid-auth.test", Token: func() (string, error) { return "own", nil },
			HTTP: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				_, _ = w.WriteString(lines)
				return w.Result(), nil
			})},
		}
		said, err := client.Open(t.Context(), 0)
		for err == nil {
			var m stream.Message
			if m, err = said.Next(); err == nil {
				err = n.Hear(m)
			}
		}
		n.hears(t, listed(nil), ended(1))
		if pods, _ := n.Remembered(); pods > 8 {
			t.Errorf("%d pods are remembered", pods)
		}
		if got := n.ask(t, raw); got.Code != string(problem.PodGone) {
			t.Errorf("got %+v", got)
		}
		n.Close()
	})
}

// FuzzInherit has the agent inherit anything: what it then serves, it serves to who has
// a token that was verified.
func FuzzInherit(f *testing.F) {
	raw := mint(f, workload(1))
	old := newListener(f)
	old.Log = nil
	old.hears(f, listed(map[int]stream.Version{1: version("a", 1)}), ended(2))
	old.ask(f, raw)
	estate, err := old.Bequeath()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(estate))
	f.Add(strings.Replace(string(estate), `"Pods":[`, `"Pods":[{},`, 1))
	f.Add(`{"Format":1,"News":9223372036854775807,"Pods":[{"UID":"x","Answer":{}},{"UID":"x","Tokens":[{"Hash":"AA=="}]}]}`)
	f.Fuzz(func(t *testing.T, estate string) {
		n := newListener(t)
		n.Log, n.Limits.Pods = nil, 8
		n.answers(func(context.Context, agent.Ask) (agent.Reply, error) {
			return agent.Reply{}, problem.New(problem.AssociationMissing, "there is none")
		})
		_ = n.Inherit([]byte(estate))
		if pods, tokens := n.Remembered(); pods > 8 || tokens > 8*4 {
			t.Errorf("%d pods and %d tokens are remembered", pods, tokens)
		}
		if _, err := n.Bequeath(); err != nil {
			t.Errorf("what was inherited cannot be left: %v", err)
		}
		n.hears(t, listed(nil))
		n.ask(t, raw)
		n.ServeMetrics(httptest.NewRecorder(), nil)
		n.Close()
	})
}
