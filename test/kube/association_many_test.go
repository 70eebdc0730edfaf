package kube_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/problem"
)

func fiveThousand(t *testing.T, c *associations) {
	c.clear(t)
	s := c.open(t, c.Config())
	began := time.Now()
	const makers = 8
	var group sync.WaitGroup
	want := make([]string, 0, association.MaxAssociations)
	for i := range association.MaxAssociations - 100 {
		want = append(want, fmt.Sprintf("ns-%d/stays-%d", i%50, i))
	}
	for m := range makers {
		group.Go(func() {
			for i := m; i < len(want); i += makers {
				namespace, account, _ := strings.Cut(want[i], "/")
				if _, err := s.Create(t.Context(), podid.Association{Namespace: namespace, ServiceAccount: account, Role: reader}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d created by %d in %v", len(want), makers, time.Since(began).Round(time.Millisecond))

	// Another replica reads them all at its start, and lists them while others come and go.
	began = time.Now()
	other := c.open(t, c.Config())
	t.Logf("read at the start of a replica in %v", time.Since(began).Round(time.Millisecond))
	ctx, stop := context.WithCancel(t.Context())
	var changes int
	group.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			account := fmt.Sprint("comes-and-goes-", i%50)
			a, err := s.Create(ctx, podid.Association{Namespace: fmt.Sprint("ns-", i%50), ServiceAccount: account, Role: reader})
			if err == nil {
				_, err = s.Delete(ctx, a.ID())
			}
			if err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
			changes += 2
		}
	})
	began = time.Now()
	const walks = 5
	for range walks {
		var got []string
		for cursor := ""; ; {
			page, next, err := other.List(t.Context(), association.Filter{}, cursor, 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range page {
				if !strings.HasPrefix(a.ServiceAccount, "comes-and-goes-") {
					got = append(got, a.Namespace+"/"+a.ServiceAccount)
				}
			}
			if cursor = next; next == "" {
				break
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("listed (-want +got):\n%s", diff)
		}
	}
	took := time.Since(began)
	stop()
	group.Wait()
	// One more, during which the API server goes and comes again.
	seen, pages := map[string]int{}, 0
	for cursor := ""; ; pages++ {
		switch pages {
		case 10:
			c.StopAPIServer()
		case 30:
			if err := c.StartAPIServer(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		page, next, err := other.List(t.Context(), association.Filter{}, cursor, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page {
			seen[a.Namespace+"/"+a.ServiceAccount]++
		}
		if cursor = next; next == "" {
			break
		}
	}
	for _, name := range want {
		if seen[name] != 1 {
			t.Errorf("%s is listed %d times across a restart", name, seen[name])
		}
	}
	t.Logf("%d walks over 50 pages of 100 in %v, with %d changes meanwhile", walks, took.Round(time.Millisecond), changes)
	// Of a replica that has read nothing yet, what is on the last page.
	blind := c.start(t, unheard(c.Config()))
	last := must(t)(s.Find(t.Context(), "ns-9", "stays-9"))
	if diff := cmp.Diff(last, must(t)(blind.Get(t.Context(), last.ID()))); diff != "" {
		t.Errorf("described by a replica that has read nothing (-want +got):\n%s", diff)
	}
	_, _, err := blind.List(t.Context(), association.Filter{}, "", 10)
	wantsCode(t, err, problem.ClusterUnavailable)
	_, err = blind.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader})
	wantsCode(t, err, problem.ClusterUnavailable)
	began = time.Now()
	if _, err := s.Get(t.Context(), "a-00000000000000000"); !problem.Is(err, problem.AssociationNotFound) {
		t.Errorf("error %v, want %s", err, problem.AssociationNotFound)
	}
	t.Logf("an unknown ID among %d is refused after %v", len(want), time.Since(began).Round(time.Millisecond))
	c.clear(t)
}
