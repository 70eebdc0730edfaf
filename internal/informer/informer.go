// Package informer makes informers that follow an API server again soon after it was
// away. client-go's own wait longer each time they do not reach it, at last up to a
// minute, so as to spare it thousands of clients; podid's replicas are a few, and a role
// that was withdrawn is handed out until they are told.
package informer

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/watchlist"
	"k8s.io/klog/v2"
)

const (
	// shortest and longest are how long it waits between two tries.
	shortest, longest = time.Second, 3 * time.Second
	// tellEvery is how often the log has that an API server is still away.
	tellEvery = time.Minute
)

// New is a shared informer, fit for NewInformer of controller-runtime's cache.Options.
func New(from cache.ListerWatcher, of runtime.Object, resync time.Duration, indexers cache.Indexers) cache.SharedIndexInformer {
	return cache.NewSharedIndexInformer(Patient(from), of, resync, indexers)
}

// Patient lists and watches as from does, and where the API server is away, or cannot
// answer yet, asks again every few seconds until it does. An informer does not hear of
// that, and so waits no longer for having met it before.
func Patient(from cache.ListerWatcher) cache.ListerWatcher {
	return patient{from, cache.ToListerWatcherWithContext(from)}
}

type patient struct {
	cache.ListerWatcher
	from cache.ListerWatcherWithContext
}

// ListWithContext implements cache.ListerWithContext.
func (p patient) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	return untilAnswered(ctx, func() (runtime.Object, error) { return p.from.ListWithContext(ctx, options) })
}

// WatchWithContext implements cache.WatcherWithContext.
func (p patient) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	return untilAnswered(ctx, func() (watch.Interface, error) {
		w, err := p.from.WatchWithContext(ctx, options)
		if reflect.TypeOf(w) == unanswered {
			return nil, errUnanswered
		}
		return w, err
	})
}

// IsWatchListSemanticsUnSupported hands on what client-go asks of a fake.
func (p patient) IsWatchListSemanticsUnSupported() bool {
	return watchlist.DoesClientNotSupportWatchListSemantics(p.ListerWatcher)
}

// unanswered is what client-go gives in place of a watch when its connection timed out or
// broke.
var unanswered = reflect.TypeOf(watch.NewEmptyWatch())

var errUnanswered = errors.New("the connection timed out or broke")

func untilAnswered[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	var told time.Time
	for {
		answer, err := ask()
		if err == nil || answered(err) || ctx.Err() != nil {
			return answer, err
		}
		if now := time.Now(); now.Sub(told) >= tellEvery {
			told = now
			klog.FromContext(ctx).Info("the API server cannot be followed for now, asking again every few seconds", "cause", err.Error())
		}
		select {
		case <-ctx.Done():
			return answer, err
		case <-time.After(shortest + rand.N(longest-shortest)):
		}
	}
}

// answered says that an informer has to go on another way than by asking the same again:
// what it has is too old, or newer than the API server, or is not to be had so. All else
// may heal, a permission too: an API server that starts knows none for a moment.
func answered(err error) bool {
	if apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		return true
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch status.Status().Code {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusGone,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}
