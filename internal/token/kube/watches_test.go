package kube_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid/internal/token/kube"
)

// lists answers every list, or none.
type lists struct {
	client.Reader
	err error
}

func (l lists) List(context.Context, client.ObjectList, ...client.ListOption) error { return l.err }

// A client that lists and watches is not in the way of, and is looked on at.
func TestAnInformerIsLookedOnAt(t *testing.T) {
	const pod = `{"kind":"Pod","apiVersion":"v1","metadata":{"namespace":"shop","name":"%s","uid":"%s","resourceVersion":"%d"}}`
	another := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Query().Get("watch") == "":
			_, _ = io.WriteString(w, `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"5"},"items":[]}`)
		case r.URL.Query().Get("sendInitialEvents") != "": // as an API server that cannot
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
		default:
			w.(http.Flusher).Flush()
			select {
			case <-another:
				_, _ = fmt.Fprintf(w, `{"type":"ADDED","object":`+pod+"}\n", "cart", "1", 6)
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			case <-r.Context().Done():
			}
		}
	}))
	defer server.Close()
	var watches kube.Watches
	config := &rest.Config{Host: server.URL}
	config.Wrap(watches.Wrap)
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 1)
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(api.CoreV1().RESTClient(), "pods", "", fields.Everything()),
		ObjectType:    new(corev1.Pod),
		Handler:       cache.ResourceEventHandlerFuncs{AddFunc: func(o any) { told <- o.(*corev1.Pod).Name }},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		informer.RunWithContext(ctx)
	}()
	for watches.Heard("pods").IsZero() || !watches.Quiet(ctx, lists{}, "pods", new(corev1.PodList)) {
		time.Sleep(5 * time.Millisecond)
	}
	opened := watches.Heard("pods")
	close(another)
	if name := <-told; name != "cart" || !watches.Heard("pods").After(opened) {
		t.Errorf("told of %s, heard at %s, opened at %s", name, watches.Heard("pods"), opened)
	}
	cancel()
	<-done
	server.CloseClientConnections()
	if watches.Quiet(t.Context(), lists{}, "pods", new(corev1.PodList)) {
		t.Error("a watch that has ended is quiet")
	}
}

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
