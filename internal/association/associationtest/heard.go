package associationtest

import (
	"testing"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// noneOlder: versions of one service account's association only grow, over its
// deletion too, and whoever has heard of one is not answered with less.
func noneOlder(t *testing.T, s association.Store) {
	var last stream.Version
	newer := func(is stream.Version, what string) {
		t.Helper()
		if !last.Older(is) {
			t.Errorf("%s: version %s does not come after %s", what, is, last)
		}
		last = is
	}
	known := func(a podid.Association, what string) {
		t.Helper()
		newer(association.VersionOf(a), what)
		if heard := s.Heard("shop", "cart"); heard != last {
			t.Errorf("%s: heard of %s, not of %s", what, heard, last)
		}
		found, err := s.FindAtLeast(t.Context(), "shop", "cart", last)
		if err != nil || association.VersionOf(found) != last {
			t.Errorf("%s: found %s, %v", what, association.VersionOf(found), err)
		}
	}
	a := create(t, s, plain("shop", "cart"))
	known(a, "created")
	a, err := s.Update(t.Context(), a.ID(), func(a *podid.Association) error { a.Role = other; return nil })
	if err != nil {
		t.Fatal(err)
	}
	known(a, "updated")

	// Nothing is lost if a version is one that this store never had: what it finds
	// where all replicas write is true as of then.
	ahead := stream.Version{UID: "other", Revision: last.Revision + 1_000_000}
	found, err := s.FindAtLeast(t.Context(), "shop", "cart", ahead)
	if err != nil || found.UID != a.UID || found.Role != other || association.VersionOf(found).Revision != ahead.Revision {
		t.Errorf("found %+v, %v", found, err)
	}

	if _, err := s.Delete(t.Context(), a.ID()); err != nil {
		t.Fatal(err)
	}
	gone := s.Heard("shop", "cart")
	if gone.UID != "" {
		t.Errorf("heard of %s after it was deleted", gone)
	}
	newer(gone, "deleted")
	_, err = s.FindAtLeast(t.Context(), "shop", "cart", gone)
	wantProblem(t, err, problem.AssociationMissing)
	known(create(t, s, plain("shop", "cart")), "made anew")
}
