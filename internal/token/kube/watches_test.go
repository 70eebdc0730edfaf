package kube_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid/internal/token/kube"
)

// lists answers every list, or none.
type lists struct {
	client.Reader
	err error
}

func (l lists) List(context.Context, client.ObjectList, ...client.ListOption) error { return l.err }

func TestAWatchThatSaysNothingIsToldFromOneThatIsBroken(t *testing.T) {
	send, end := make(chan string), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "" {
			return
		}
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		for {
			select {
			case text := <-send:
				_, _ = io.WriteString(w, text)
				w.(http.Flusher).Flush()
			case <-end:
				return
			}
		}
	}))
	defer server.Close()
	var watches kube.Watches
	http := &http.Client{Transport: watches.Wrap(http.DefaultTransport)}
	quiet := func(err error) bool { return watches.Quiet(t.Context(), lists{err: err}, "pods", new(corev1.PodList)) }

	if response, err := http.Get(server.URL + "/api/v1/pods"); err != nil || response.Body.Close() != nil {
		t.Fatal(err)
	}
	if !watches.Heard("pods").IsZero() || quiet(nil) {
		t.Error("a list is taken for a watch")
	}
	response, err := http.Get(server.URL + "/api/v1/pods?watch=true")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	opened := watches.Heard("pods")
	if opened.IsZero() || !watches.Heard("secrets").IsZero() {
		t.Error("that the watch is open is not noted")
	}
	if !quiet(nil) || quiet(errors.New("connection refused")) {
		t.Error("a watch is quiet if it is open and the API server answers")
	}
	time.Sleep(10 * time.Millisecond)
	send <- "{}\n"
	if _, err := io.ReadFull(response.Body, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	if !watches.Heard("pods").After(opened) {
		t.Error("an event is not noted")
	}
	close(end)
	if _, err := io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	if quiet(nil) {
		t.Error("a watch that has ended is quiet")
	}
}
