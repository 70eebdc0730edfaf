package kube

import (
	"context"
	"io"
	"net/http"
	"path"
	"strconv"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Watches looks on at the watches of an API server, and knows how old is what they tell. A
// watch that has nothing to tell and one that is broken look the same to whoever is told;
// resource versions do not tell them apart either, since those of a kind that nobody
// changes may stand still. So it counts what comes in: events and bookmarks, and that a
// watch is opened again, which each is within ten minutes.
type Watches struct {
	mu    sync.Mutex
	heard map[string]time.Time // by resource
	open  map[string]int
}

// Wrap is for rest.Config.Wrap.
func (w *Watches) Wrap(next http.RoundTripper) http.RoundTripper { return looking{next, w} }

// Heard is when a watch of a resource, such as pods, last said anything; zero if none has.
func (w *Watches) Heard(resource string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heard[resource]
}

// Quiet reports whether the watch of a resource is open and its API server answers: then
// nothing was said since there is nothing to say. Watch and question share a connection
// where HTTP/2 is spoken, so one that is half dead is found out.
func (w *Watches) Quiet(ctx context.Context, api client.Reader, resource string, list client.ObjectList) bool {
	if !w.isOpen(resource) {
		return false
	}
	return api.List(ctx, list, client.Limit(1)) == nil && w.isOpen(resource)
}

func (w *Watches) isOpen(resource string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open[resource] > 0
}

func (w *Watches) note(resource string, opened int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.heard == nil {
		w.heard, w.open = map[string]time.Time{}, map[string]int{}
	}
	w.heard[resource] = time.Now()
	w.open[resource] += opened
}

type looking struct {
	http.RoundTripper
	watches *Watches
}

func (l looking) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := l.RoundTripper.RoundTrip(r)
	if err != nil || response.StatusCode != http.StatusOK {
		return response, err
	}
	if watch, _ := strconv.ParseBool(r.URL.Query().Get("watch")); watch {
		resource := path.Base(r.URL.Path)
		l.watches.note(resource, 1)
		response.Body = &watched{ReadCloser: response.Body, watches: l.watches, resource: resource}
	}
	return response, nil
}

// WrappedRoundTripper lets client-go find what is inside.
func (l looking) WrappedRoundTripper() http.RoundTripper { return l.RoundTripper }

type watched struct {
	io.ReadCloser
	watches  *Watches
	resource string
	end      sync.Once
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.watches.note(b.resource, 0)
	}
	if err != nil {
		b.ended()
	}
	return n, err
}

func (b *watched) Close() error {
	b.ended()
	return b.ReadCloser.Close()
}

func (b *watched) ended() {
	b.end.Do(func() {
		b.watches.mu.Lock()
		defer b.watches.mu.Unlock()
		b.watches.open[b.resource]--
	})
}
