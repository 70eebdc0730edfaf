package kube_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/problem"
)

func object(account, uid, version string, generation int64) *v1alpha1.PodIdentityAssociation {
	o := kube.Object(podid.Association{Namespace: "shop", ServiceAccount: account, Role: role})
	o.UID, o.ResourceVersion, o.Generation, o.CreationTimestamp = types.UID(uid), version, generation, metav1.NewTime(created)
	return o
}

func TestOnlyChangesOfTheSpecAndOfWhatThereIsAreReported(t *testing.T) {
	var got []string
	_, events := kube.Told(func(namespace, account string) { got = append(got, namespace+"/"+account) })
	wants := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		got = nil
	}
	first := object("cart", "1", "10", 1)
	events.OnAdd(first, true)
	wants("at the start")
	events.OnAdd(object("till", "2", "11", 1), false)
	wants("created", "shop/till")
	events.OnUpdate(first, first)
	wants("told again")
	events.OnUpdate(first, object("cart", "1", "12", 1))
	wants("a label")
	events.OnUpdate(first, object("cart", "1", "13", 2))
	wants("the spec", "shop/cart")
	events.OnUpdate(first, object("cart", "3", "15", 2))
	wants("made again while nobody told us", "shop/cart")
	ending := object("cart", "3", "16", 3)
	ending.DeletionTimestamp = new(metav1.NewTime(created))
	events.OnUpdate(first, ending)
	wants("deleted, with finalizers", "shop/cart")
	events.OnDelete(ending)
	wants("its finalizers are gone")
	events.OnDelete(cache.DeletedFinalStateUnknown{Key: "shop/till", Obj: object("till", "2", "11", 1)})
	wants("deleted while nobody told us", "shop/till")
}

// After a broken watch all that there is comes in the order of names.
func TestTheEventOfAnotherObjectIsNotTaken(t *testing.T) {
	s, events := kube.Told(nil)
	was, is := object("cart", "1", "10", 1), object("cart", "1", "15", 2)
	has := func(what string, want bool) {
		t.Helper()
		if got := s.Has(kube.Association(is)); got != want {
			t.Errorf("%s: %t", what, got)
		}
	}
	has("nothing yet", false)
	events.OnAdd(was, false)
	has("an older version", false)
	events.OnAdd(object("bank", "2", "20", 1), false)
	has("a newer one of another", false)
	events.OnUpdate(was, is)
	has("the version", true)
	events.OnDelete(object("cart", "1", "21", 2))
	has("it was deleted", true)
}

func TestWhatIsDeletedIsForgottenByNameByIDAndByToken(t *testing.T) {
	s, events := kube.Told(nil)
	token := strings.Repeat("t", 36)
	o := object("cart", "1", "10", 1)
	o.Annotations = map[string]string{kube.TokenAnnotation: token}
	events.OnAdd(o, false)
	id := kube.Association(o).ID()
	if a, err := s.Find(t.Context(), "shop", "cart"); err != nil || a.ClientToken != token {
		t.Errorf("found %+v, %v", a, err)
	}
	if a, err := s.Get(t.Context(), id); err != nil || a.UID != "1" {
		t.Errorf("got %+v, %v", a, err)
	}
	if got := s.Made(token, "shop", "cart"); got != "1" {
		t.Errorf("made %q", got)
	}
	events.OnDelete(o)
	if page, _, err := s.List(t.Context(), association.Filter{}, "", 10); err != nil || len(page) != 0 {
		t.Errorf("listed %v, %v", page, err)
	}
	if got := s.Made(token, "shop", "cart"); got != "" {
		t.Errorf("made %q", got)
	}
}

func TestACopiedTokenLeadsToTheNameAskedForAndElseToTheOldest(t *testing.T) {
	s, events := kube.Told(nil)
	token := strings.Repeat("t", 36)
	for i, account := range []string{"copy", "original", "later"} {
		o := object(account, account, "10", 1)
		o.CreationTimestamp = metav1.NewTime(created.Add(time.Duration((i+2)%3) * time.Minute))
		o.Annotations = map[string]string{kube.TokenAnnotation: token}
		events.OnAdd(o, false)
	}
	for account, want := range map[string]string{"copy": "copy", "later": "later", "another": "original"} {
		if got := s.Made(token, "shop", account); got != want {
			t.Errorf("%s leads to %q, want %q", account, got, want)
		}
	}
}

func TestAnObjectThatBreaksARuleGivesNoRoleAndABadTagTakesNone(t *testing.T) {
	s, events := kube.Told(nil)
	bad := object("cart", "1", "10", 1)
	bad.Spec.RoleARN = "arn:aws:iam::111122223333:user/jane"
	events.OnAdd(bad, false)
	tagged := object("till", "2", "11", 1)
	tagged.Spec.Tags = map[string]v1alpha1.TagValue{"k<": "v"}
	events.OnAdd(tagged, false)
	if _, err := s.Find(t.Context(), "shop", "cart"); !problem.Is(err, problem.AssociationInvalid) {
		t.Errorf("error %v, want %s", err, problem.AssociationInvalid)
	}
	if _, err := s.Find(t.Context(), "shop", "till"); err != nil {
		t.Errorf("error %v", err)
	}
	if err := kube.Check(tagged); !problem.Is(err, problem.AssociationInvalid) {
		t.Errorf("error %v, want %s", err, problem.AssociationInvalid)
	}
	if page, _, err := s.List(t.Context(), association.Filter{}, "", 10); err != nil || len(page) != 2 {
		t.Errorf("listed %v, %v", page, err)
	}
}

// The store has no API server here: what is asked of it would panic.
func TestANameThatNoObjectCanHaveIsMissing(t *testing.T) {
	s, _ := kube.Told(nil)
	for _, name := range [][2]string{{"", "cart"}, {"shop", ""}, {"shop", "../till"}, {"..", "cart"}, {"shop", "a/b"}, {"shop", "100%"}} {
		if _, err := s.Find(t.Context(), name[0], name[1]); !problem.Is(err, problem.AssociationMissing) {
			t.Errorf("%q: error %v, want %s", name, err, problem.AssociationMissing)
		}
	}
	for _, id := range []string{"", "a-", "a-0000000000000000A", "b-00000000000000000"} {
		if _, err := s.Get(t.Context(), id); !problem.Is(err, problem.AssociationNotFound) {
			t.Errorf("%q: error %v, want %s", id, err, problem.AssociationNotFound)
		}
	}
}
