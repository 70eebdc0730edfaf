package informer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/openpodidentity/podid/internal/informer"
)

var pods = schema.GroupResource{Resource: "pods"}

// server is an API server with pods, by name, that can be away.
type server struct {
	mu      sync.Mutex
	pods    map[string]bool
	version int
	away    func() (watch.Interface, error) // nil: it is there
	watches []*watch.RaceFreeFakeWatcher
	asked   int
}

// is changes how the server is; who watches is cut off.
func (s *server) is(away func() (watch.Interface, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.asked = away, 0
	for _, w := range s.watches {
		w.Stop()
	}
	s.watches = nil
}

func (s *server) list(context.Context, metav1.ListOptions) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.away != nil {
		_, err := s.away()
		if err == nil {
			err = context.DeadlineExceeded
		}
		return nil, err
	}
	list := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: fmt.Sprint(s.version)}}
	for name := range s.pods {
		list.Items = append(list.Items, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, ResourceVersion: "1"}})
	}
	return list, nil
}

func (s *server) watch(_ context.Context, options metav1.ListOptions) (watch.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	switch {
	case s.away != nil:
		return s.away()
	case options.SendInitialEvents != nil: // as one that cannot
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "ListOptions"}, "", nil)
	case options.ResourceVersion != fmt.Sprint(s.version):
		return nil, apierrors.NewResourceExpired("too old")
	}
	w := watch.NewRaceFreeFake()
	s.watches = append(s.watches, w)
	return w, nil
}

func TestAnInformerFollowsAgainSoonAfterTheAPIServerWasAway(t *testing.T) {
	refused := func() (watch.Interface, error) { return nil, fmt.Errorf("dial: %w", syscall.ECONNREFUSED) }
	for name, away := range map[string]func() (watch.Interface, error){
		"refuses":      refused,
		"unreachable":  func() (watch.Interface, error) { return nil, errors.New("no route to host") },
		"silent":       func() (watch.Interface, error) { return watch.NewEmptyWatch(), nil },
		"starting":     func() (watch.Interface, error) { return nil, apierrors.NewServiceUnavailable("starting") },
		"busy":         func() (watch.Interface, error) { return nil, apierrors.NewTooManyRequests("initializing", 1) },
		"knows nobody": func() (watch.Interface, error) { return nil, apierrors.NewForbidden(pods, "", errors.New("RBAC")) },
		"lacks a kind": func() (watch.Interface, error) { return nil, apierrors.NewNotFound(pods, "") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{pods: map[string]bool{"stays": true, "goes": true}, version: 5}
				gone := make(chan string, 1)
				i := informer.New(&cache.ListWatch{ListWithContextFunc: s.list, WatchFuncWithContext: s.watch}, new(corev1.Pod), 0, nil)
				_, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(given any) {
					if unknown, is := given.(cache.DeletedFinalStateUnknown); is {
						given = unknown.Obj
					}
					gone <- given.(*corev1.Pod).Name
				}})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { i.RunWithContext(ctx) })
				time.Sleep(time.Minute)
				if !i.HasSynced() || len(i.GetStore().ListKeys()) != 2 {
					t.Fatal("it does not follow")
				}

				s.is(away)
				time.Sleep(10 * time.Minute)
				s.mu.Lock()
				if s.asked < 200 || s.asked > 601 {
					t.Errorf("asked %d times in ten minutes", s.asked)
				}
				delete(s.pods, "goes")
				s.version++
				s.mu.Unlock()
				s.is(nil)
				back := time.Now()
				if name := <-gone; name != "goes" || time.Since(back) > 5*time.Second {
					t.Errorf("the end of %s is known after %s", name, time.Since(back))
				}
				cancel()
				running.Wait()
			})
		})
	}
}

func TestWhoIsToldToEndDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.is(func() (watch.Interface, error) { return nil, errors.New("no route to host") })
		from, is := informer.Patient(&cache.ListWatch{ListWithContextFunc: s.list, WatchFuncWithContext: s.watch}).(cache.ListerWatcherWithContext)
		if !is {
			t.Fatal("its context is not passed on")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		if _, err := from.ListWithContext(ctx, metav1.ListOptions{}); err == nil || time.Since(start) != 10*time.Second {
			t.Errorf("list: %v after %s", err, time.Since(start))
		}
		if _, err := from.WatchWithContext(ctx, metav1.ListOptions{}); err == nil || time.Since(start) != 10*time.Second {
			t.Errorf("watch: %v after %s", err, time.Since(start))
		}
	})
}
