package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestOneClientLeavesRoomForOthers(t *testing.T) {
	b := &budget{total: 100, perClient: 60}
	hold := make(chan struct{})
	inside := make(chan struct{})
	handler := b.guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			inside <- struct{}{}
			<-hold
		}
	}))
	ask := func(path, from string, size int) int {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(strings.Repeat("x", size)))
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	done := make(chan int)
	go func() { done <- ask("/slow", "10.0.0.1:1000", 50) }()
	<-inside
	for _, c := range []struct {
		from string
		size int
		want int
	}{
		{"10.0.0.1:2000", 11, 503}, // its share is used up, whatever the port
		{"10.0.0.1:2000", 10, 200},
		{"10.0.0.2:1000", 50, 200},
		{"10.0.0.2:1000", 51, 503}, // there is not so much left
	} {
		if got := ask("/", c.from, c.size); got != c.want {
			t.Errorf("%d bytes of %s: %d, not %d", c.size, c.from, got, c.want)
		}
	}
	close(hold)
	if got := <-done; got != 200 {
		t.Error(got)
	}
	if b.taken != 0 || len(b.of) != 0 {
		t.Errorf("%d bytes are kept for nobody: %v", b.taken, b.of)
	}
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x"))
	r.ContentLength = -1
	w := httptest.NewRecorder()
	if handler.ServeHTTP(w, r); w.Code != 503 {
		t.Errorf("a request of unknown size: %d", w.Code)
	}
}
