package kube_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/internal/stream"
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
