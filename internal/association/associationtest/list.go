package associationtest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/problem"
)

// walk lists all pages and checks the form of each.
func walk(t *testing.T, s association.Store, f association.Filter, pageSize int) []podid.Association {
	t.Helper()
	var all []podid.Association
	cursor := ""
	for range association.MaxAssociations + 1 {
		page, next, err := s.List(t.Context(), f, cursor, pageSize)
		if err != nil {
			t.Fatalf("list after %q: %v", cursor, err)
		}
		if len(page) > pageSize || next != "" && len(page) != pageSize {
			t.Fatalf("a page of %d with next cursor %q, asked for %d", len(page), next, pageSize)
		}
		all = append(all, page...)
		if next == "" {
			return all
		}
		cursor = next
	}
	t.Fatal("the listing does not end")
	return nil
}

func names(as []podid.Association) []string {
	var out []string
	for _, a := range as {
		out = append(out, a.Namespace+"/"+a.ServiceAccount)
	}
	return out
}

func pagesMakeTheWhole(t *testing.T, s association.Store) {
	var want []string
	for _, ns := range []string{"b", "a", "a-b", "ab"} {
		for _, sa := range []string{"z", "m", "m.n", "m-n"} {
			create(t, s, plain(ns, sa))
			want = append(want, ns+"/"+sa)
		}
	}
	whole := walk(t, s, association.Filter{}, 1000)
	got := names(whole)
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	for _, size := range []int{1, 3, 4, 15, 16, 17} {
		if diff := cmp.Diff(whole, walk(t, s, association.Filter{}, size)); diff != "" {
			t.Errorf("pages of %d (-whole +pages):\n%s", size, diff)
		}
	}
	for _, f := range []association.Filter{
		{Namespace: "a"}, {Namespace: "a-b"}, {Namespace: "zz"}, {ServiceAccount: "m"}, {ServiceAccount: "zz"},
		{Namespace: "a", ServiceAccount: "m"}, {Namespace: "a", ServiceAccount: "zz"},
	} {
		var want []podid.Association
		for _, a := range whole {
			if (f.Namespace == "" || a.Namespace == f.Namespace) && (f.ServiceAccount == "" || a.ServiceAccount == f.ServiceAccount) {
				want = append(want, a)
			}
		}
		for _, size := range []int{1, 2, 4, 100} {
			if diff := cmp.Diff(want, walk(t, s, f, size)); diff != "" {
				t.Errorf("%+v in pages of %d (-want +got):\n%s", f, size, diff)
			}
		}
	}
}

func listingUnderChange(t *testing.T, s association.Store) {
	// Those of "stay" are there throughout; between the pages others come and go.
	for i := range 40 {
		create(t, s, plain("stay", fmt.Sprintf("sa-%02d", i)))
		create(t, s, plain("stay", fmt.Sprintf("sa-%02d-goes", i)))
	}
	var seen []string
	cursor := ""
	for round := range 200 {
		page, next, err := s.List(t.Context(), association.Filter{}, cursor, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page {
			if a.Namespace == "stay" && len(a.ServiceAccount) == len("sa-00") {
				seen = append(seen, a.ServiceAccount)
			}
		}
		if next == "" {
			break
		}
		cursor = next
		// Delete what the cursor may rest on, and insert before and after it.
		for _, a := range page {
			if len(a.ServiceAccount) > len("sa-00") {
				if _, err := s.Delete(t.Context(), a.ID()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if round < 40 {
			create(t, s, plain("before", fmt.Sprint("sa-", round)))
			create(t, s, plain("stay", fmt.Sprintf("sa-%02d-came", round)))
		}
	}
	var want []string
	for i := range 40 {
		want = append(want, fmt.Sprintf("sa-%02d", i))
	}
	slices.Sort(seen)
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
}

func foreignCursor(t *testing.T, s association.Store) {
	create(t, s, plain("shop", "cart"))
	create(t, s, plain("shop", "till"))
	_, next, err := s.List(t.Context(), association.Filter{}, "", 1)
	if err != nil || next == "" {
		t.Fatalf("next cursor %q, %v", next, err)
	}
	for _, cursor := range []string{"x", "2", "AAAA", "!", next + "A", next[:len(next)-1], next + "=", "MS8v"} {
		_, _, err := s.List(t.Context(), association.Filter{}, cursor, 1)
		wantProblem(t, err, problem.RequestInvalid)
	}
}
