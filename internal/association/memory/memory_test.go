package memory_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/association/associationtest"
	"github.com/openpodidentity/podid/internal/association/memory"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/problem"
)

const role = "arn:aws:iam::111122223333:role/reader"

func TestStore(t *testing.T) {
	associationtest.Run(t, func(t *testing.T) association.Store { return open(t, nil) })
}

func TestJournaledStore(t *testing.T) {
	t.Parallel() // it waits for the disk
	associationtest.Run(t, func(t *testing.T) association.Store { return open(t, openJournal(t, t.TempDir())) })
}

func open(t *testing.T, j *journal.Journal) *memory.Store {
	t.Helper()
	s, err := memory.New(j)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openJournal(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func TestARestartedStoreHoldsWhatWasAcknowledged(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	s := open(t, j)
	token := "0123456789abcdef0123456789abcdef0123"
	kept := must(t)(s.Create(t.Context(), podid.Association{
		Namespace: "shop", ServiceAccount: "cart", Role: role, ClientToken: token, Tags: map[string]string{"team": "a"}}))
	gone := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "till", Role: role}))
	kept = must(t)(s.Update(t.Context(), kept.ID(), func(a *podid.Association) error {
		a.Target = "arn:aws:iam::444455556666:role/target"
		return nil
	}))
	must(t)(s.Delete(t.Context(), gone.ID()))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, openJournal(t, dir))
	if diff := cmp.Diff(kept, must(t)(s.Find(t.Context(), "shop", "cart"))); diff != "" {
		t.Errorf("after the restart (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(kept, must(t)(s.Get(t.Context(), kept.ID()))); diff != "" {
		t.Errorf("by ID after the restart (-before +after):\n%s", diff)
	}
	if _, err := s.Find(t.Context(), "shop", "till"); !problem.Is(err, problem.AssociationMissing) {
		t.Errorf("the deleted one: %v", err)
	}
	again := must(t)(s.Create(t.Context(), podid.Association{Namespace: "x", ServiceAccount: "y", Role: role, ClientToken: token}))
	if again.UID != kept.UID {
		t.Errorf("the client token is forgotten: %+v", again)
	}
	changed := must(t)(s.Update(t.Context(), kept.ID(), func(a *podid.Association) error { a.Target = ""; return nil }))
	if changed.Version == kept.Version {
		t.Error("a version was given out twice")
	}
}

func TestAForeignRecordIsDamage(t *testing.T) {
	for name, op := range map[string]journal.Op{
		"not an association": journal.Put("associations/shop/cart", "text"),
		"another name":       journal.Put("associations/shop/cart", podid.Association{Namespace: "a", ServiceAccount: "b", UID: "u", Version: "1"}),
		"no version":         journal.Put("associations/shop/cart", podid.Association{Namespace: "shop", ServiceAccount: "cart", UID: "u"}),
	} {
		t.Run(name, func(t *testing.T) {
			j := openJournal(t, t.TempDir())
			if err := j.Commit(op); err != nil {
				t.Fatal(err)
			}
			if _, err := memory.New(j); !problem.Is(err, problem.DataDamaged) {
				t.Errorf("error %v, want %s", err, problem.DataDamaged)
			}
		})
	}
}

func TestWhatCannotBeKeptIsNotAcknowledged(t *testing.T) {
	j := openJournal(t, t.TempDir())
	s := open(t, j)
	a := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: role}))
	j.Close()
	if _, err := s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "till", Role: role}); err == nil {
		t.Error("created without a journal to keep it")
	}
	if _, err := s.Update(t.Context(), a.ID(), func(a *podid.Association) error { a.Role += "2"; return nil }); err == nil {
		t.Error("updated without a journal to keep it")
	}
	if _, err := s.Delete(t.Context(), a.ID()); err == nil {
		t.Error("deleted without a journal to keep it")
	}
	all, _, err := s.List(t.Context(), association.Filter{}, "", 10)
	if diff := cmp.Diff([]podid.Association{a}, all); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestEveryChangeIsReportedBeforeItIsAcknowledged(t *testing.T) {
	s := open(t, nil)
	var got []string
	s.OnChange = func(namespace, account string) {
		a, err := s.Find(context.Background(), namespace, account) // the hook may call the store
		line := namespace + "/" + account + " " + string(a.Role)
		if err != nil {
			line += string(problem.Of(err).Code)
		}
		got = append(got, line)
	}
	a := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: role}))
	must(t)(s.Update(t.Context(), a.ID(), func(a *podid.Association) error { a.Role += "2"; return nil }))
	must(t)(s.Update(t.Context(), a.ID(), func(*podid.Association) error { return nil })) // no change, no report
	must(t)(s.Delete(t.Context(), a.ID()))
	want := []string{"shop/cart " + role, "shop/cart " + role + "2", "shop/cart association-missing"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reported (-want +got):\n%s", diff)
	}
}

func must(t *testing.T) func(podid.Association, error) podid.Association {
	return func(a podid.Association, err error) podid.Association {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}
