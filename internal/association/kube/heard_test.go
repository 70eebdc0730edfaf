package kube_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

func TestVersionsGrowOverADeletionToo(t *testing.T) {
	s, events := kube.Told(nil)
	heard := func(what string, want stream.Version) {
		t.Helper()
		if got := s.Heard("shop", "cart"); got != want {
			t.Errorf("%s: heard of %s, want %s", what, got, want)
		}
	}
	heard("nothing yet", stream.Version{})
	first := object("cart", "1", "10", 1)
	events.OnAdd(first, true)
	heard("there", stream.Version{UID: "1", Revision: 10})
	events.OnUpdate(first, object("cart", "1", "12", 2))
	heard("changed", stream.Version{UID: "1", Revision: 12})
	ending := object("cart", "1", "13", 3)
	ending.DeletionTimestamp = new(metav1.NewTime(created))
	events.OnUpdate(first, ending)
	heard("ending", stream.Version{Revision: 13})
	events.OnDelete(object("cart", "1", "14", 3))
	heard("gone", stream.Version{Revision: 14})
	events.OnAdd(object("cart", "2", "20", 1), false)
	heard("made anew", stream.Version{UID: "2", Revision: 20})
	// It was deleted while the watch was broken: some time after it was last seen.
	events.OnDelete(cache.DeletedFinalStateUnknown{Key: "shop/cart", Obj: object("cart", "2", "20", 1)})
	heard("gone while nobody told us", stream.Version{Revision: 21})
	if got := s.Heard("shop", "till"); got != (stream.Version{}) {
		t.Errorf("of another: %s", got)
	}
}

func TestAnEventThatIsOnItsWayIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, events := kube.Told(nil) // asking its API server would panic: it has none
		was := object("cart", "1", "10", 1)
		events.OnAdd(was, true)
		go func() {
			time.Sleep(5 * time.Millisecond)
			events.OnAdd(object("till", "2", "11", 1), false) // of another
			time.Sleep(5 * time.Millisecond)
			events.OnUpdate(was, object("cart", "1", "12", 2))
		}()
		a, err := s.FindAtLeast(t.Context(), "shop", "cart", stream.Version{UID: "1", Revision: 12})
		if err != nil || a.Version != "12" {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

func TestWhatIsToldWhileTheAPIServerFailsCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, events := kube.ToldAnd(failing(300 * time.Millisecond))
		was := object("cart", "1", "10", 1)
		events.OnAdd(was, true)
		heard := stream.Version{UID: "1", Revision: 12}
		if _, err := s.FindAtLeast(t.Context(), "shop", "cart", heard); !problem.Is(err, problem.ReplicaBehind) {
			t.Errorf("got %v", err)
		}
		go func() {
			time.Sleep(200 * time.Millisecond)
			events.OnUpdate(was, object("cart", "1", "12", 2))
		}()
		if a, err := s.FindAtLeast(t.Context(), "shop", "cart", heard); err != nil || a.Version != "12" {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// failing is an API server that takes its time to fail.
func failing(after time.Duration) client.Client {
	return interceptor.NewClient(nil, interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			time.Sleep(after)
			return errors.New("connection refused")
		},
	})
}
