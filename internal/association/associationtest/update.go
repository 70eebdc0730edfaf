package associationtest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/problem"
)

func updateChanges(t *testing.T, s association.Store) {
	was := create(t, s, plain("shop", "cart"))
	is, err := s.Update(t.Context(), was.ID(), func(a *podid.Association) error {
		a.Role, a.Target, a.DisableSessionTags = other, target, true
		a.Policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`
		a.Tags = map[string]string{"team": "a"}
		// What the store sets is not the caller's to change.
		a.UID, a.Version, a.ClientToken = "x", "x", "x"
		a.CreatedAt = a.CreatedAt.AddDate(1, 0, 0)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if is.Version == was.Version {
		t.Error("the version is what it was")
	}
	if is.ModifiedAt.Before(was.ModifiedAt) {
		t.Errorf("modified at %v, before %v", is.ModifiedAt, was.ModifiedAt)
	}
	want := was
	want.Role, want.Target, want.DisableSessionTags = other, target, true
	want.Policy = is.Policy
	want.Tags = map[string]string{"team": "a"}
	want.Version, want.ModifiedAt = is.Version, is.ModifiedAt
	if diff := cmp.Diff(want, is); diff != "" {
		t.Errorf("updated (-want +got):\n%s", diff)
	}
	for name, get := range map[string]func() (podid.Association, error){
		"Find": func() (podid.Association, error) { return s.Find(t.Context(), "shop", "cart") },
		"Get":  func() (podid.Association, error) { return s.Get(t.Context(), was.ID()) },
	} {
		got, err := get()
		if diff := cmp.Diff(is, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-updated +got):\n%s", name, err, diff)
		}
	}
}

func failedUpdate(t *testing.T, s association.Store) {
	was := create(t, s, plain("shop", "cart"))
	no := errors.New("no")
	_, err := s.Update(t.Context(), was.ID(), func(a *podid.Association) error { a.Role = other; return no })
	if !errors.Is(err, no) {
		t.Errorf("error %v, want the one of the change", err)
	}
	for _, change := range []func(*podid.Association){
		func(a *podid.Association) { a.Namespace = "other" },
		func(a *podid.Association) { a.ServiceAccount = "other" },
		func(a *podid.Association) { a.Role = "" },
		func(a *podid.Association) { a.Target = "arn:aws:iam::1:role/x" },
		func(a *podid.Association) { a.Tags = map[string]string{"aws:x": ""} },
	} {
		_, err := s.Update(t.Context(), was.ID(), func(a *podid.Association) error { change(a); return nil })
		wantProblem(t, err, problem.AssociationInvalid)
	}
	got, err := s.Get(t.Context(), was.ID())
	if diff := cmp.Diff(was, got); err != nil || diff != "" {
		t.Errorf("Get: %v (-was +is):\n%s", err, diff)
	}
}

func emptyUpdate(t *testing.T, s association.Store) {
	was := create(t, s, plain("shop", "cart"))
	is, err := s.Update(t.Context(), was.ID(), func(a *podid.Association) error { a.Role = role; return nil })
	if diff := cmp.Diff(was, is); err != nil || diff != "" {
		t.Errorf("%v (-was +is):\n%s", err, diff)
	}
}

func concurrentUpdates(t *testing.T, s association.Store) {
	a := create(t, s, plain("shop", "cart"))
	const writers = 12
	var group sync.WaitGroup
	versions := make([]string, writers)
	for i := range writers {
		group.Go(func() {
			is, err := s.Update(t.Context(), a.ID(), func(a *podid.Association) error {
				if a.Tags == nil {
					a.Tags = map[string]string{}
				}
				a.Tags[fmt.Sprint("writer-", i)] = "was here"
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			versions[i] = is.Version
		})
	}
	group.Wait()
	got, err := s.Get(t.Context(), a.ID())
	if err != nil || len(got.Tags) != writers {
		t.Errorf("%v: %d of %d updates are there: %v", err, len(got.Tags), writers, got.Tags)
	}
	distinct := map[string]bool{a.Version: true}
	for _, v := range versions {
		distinct[v] = true
	}
	if len(distinct) != writers+1 {
		t.Errorf("%d versions for %d writes: %v", len(distinct), writers+1, versions)
	}
}
