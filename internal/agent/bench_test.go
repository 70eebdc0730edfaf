package agent_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"testing"

	"github.com/openpodidentity/podid/internal/agent"
)

// discard is a ResponseWriter that costs nothing itself.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func realistic(_ context.Context, ask agent.Ask) (agent.Reply, error) {
	r := given(ask, 1)
	r.Credentials.SessionToken = sessionToken
	return r, nil
}

var sessionToken = func() string {
	b := make([]byte, 900)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return string(b)
}()

// BenchmarkHit is the handler alone: what a cached answer costs.
func BenchmarkHit(b *testing.B) {
	n := newNode(b)
	n.Limits.Rate, n.Limits.Burst = 1_000_000, 1_000_000
	n.answers(realistic)
	raw := mint(b, workload(1))
	n.ask(b, raw)
	r := httptest.NewRequest(http.MethodGet, "http://169.254.170.23"+agent.Path, nil)
	r.Header.Set("Authorization", raw)
	w := discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		n.ServeHTTP(w, r)
	}
}

// BenchmarkHTTP compares cached answers over HTTP with a bare handler that writes
// the same bytes.
func BenchmarkHTTP(b *testing.B) {
	n := newNode(b)
	n.Limits.Rate, n.Limits.Burst = 1_000_000, 1_000_000
	n.answers(realistic)
	raw := mint(b, workload(1))
	n.ask(b, raw)
	recorder := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "http://169.254.170.23"+agent.Path, nil)
	r.Header.Set("Authorization", raw)
	n.ServeHTTP(recorder, r)
	body := recorder.Body.Bytes()
	bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
	for name, handler := range map[string]http.Handler{"hit": n, "bare": bare} {
		b.Run(name, func(b *testing.B) {
			server := httptest.NewServer(handler)
			defer server.Close()
			client := server.Client()
			b.ReportAllocs()
			for b.Loop() {
				request, _ := http.NewRequest(http.MethodGet, server.URL+agent.Path, nil)
				request.Header.Set("Authorization", raw)
				response, err := client.Do(request)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
		})
	}
}

func BenchmarkMemory(b *testing.B) {
	const pods = 1000
	tokens := make([]string, pods)
	for i := range tokens {
		tokens[i] = mint(b, workload(i))
	}
	for b.Loop() {
		n := newListener(b)
		n.Log, n.Limits.Pods = nil, pods
		n.hears(b, listed(nil))
		n.answers(realistic)
		before := heap()
		for i, raw := range tokens {
			n.hears(b, changed(i, "0f8fad5b-d9cb-469f-a165-70867728950e", 1_000_000))
			// As net/http hands it over: nobody else keeps it.
			if got := n.ask(b, string([]byte(raw))); got.Status != http.StatusOK {
				b.Fatalf("%+v", got)
			}
		}
		b.ReportMetric(float64(heap()-before)/pods, "B/workload")
		b.ReportMetric(float64(len(tokens[0])), "B/token")
		n.Close()
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
