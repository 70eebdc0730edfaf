package kube_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association"
	store "github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/problem"
)

// line is a way to the API server that can be cut.
type line struct {
	mu   sync.Mutex
	down bool
	open []io.Closer
}

func (l *line) config(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			l.mu.Lock()
			down := l.down
			l.mu.Unlock()
			if down {
				return nil, syscall.ECONNREFUSED
			}
			answer, err := next.RoundTrip(r)
			if err == nil && r.URL.Query().Get("watch") != "" {
				l.mu.Lock()
				l.open = append(l.open, answer.Body)
				l.mu.Unlock()
			}
			return answer, err
		})
	})
	return config
}

func (l *line) cut(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
	for _, body := range l.open {
		_ = body.Close()
	}
	l.open = nil
}

func brokenWatch(t *testing.T, c *associations) {
	c.clear(t)
	var mu sync.Mutex
	changes := map[string]int{}
	var l line
	s := c.open(t, l.config(c.Config()), func(_, account string) {
		mu.Lock()
		defer mu.Unlock()
		changes[account]++
	})
	other := c.open(t, c.Config())
	for _, account := range []string{"same", "changed", "deleted", "replaced"} {
		must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: account, Role: reader}))
	}
	mu.Lock()
	clear(changes)
	mu.Unlock()
	id := func(account string) string { return must(t)(other.Find(t.Context(), "shop", account)).ID() }
	l.cut(true)
	must(t)(other.Update(t.Context(), id("changed"), func(a *podid.Association) error { a.Role = writer; return nil }))
	must(t)(other.Delete(t.Context(), id("deleted")))
	must(t)(other.Delete(t.Context(), id("replaced")))
	must(t)(other.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "replaced", Role: writer}))
	must(t)(other.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "created", Role: writer}))
	for _, account := range []string{"same", "changed", "deleted", "replaced"} {
		if got := must(t)(s.Find(t.Context(), "shop", account)); got.Role != reader {
			t.Errorf("the watch is not broken: %+v", got)
		}
	}
	_, err := s.Find(t.Context(), "shop", "created")
	wantsCode(t, err, problem.ClusterUnavailable)

	l.cut(false)
	want := map[string]string{"same": reader, "changed": writer, "replaced": writer, "created": writer}
	eventually(t, "the watch tells what happened", func(ctx context.Context) error {
		page, _, err := s.List(ctx, association.Filter{}, "", 10)
		got := map[string]string{}
		for _, a := range page {
			got[a.ServiceAccount] = string(a.Role)
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			return fmt.Errorf("%v (-want +got):\n%s", err, diff)
		}
		return nil
	})
	eventually(t, "it is reported", func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if changes["same"] != 0 || changes["changed"] == 0 || changes["deleted"] == 0 || changes["replaced"] == 0 || changes["created"] == 0 {
			return fmt.Errorf("reported %v", changes)
		}
		return nil
	})
}

func away(t *testing.T, c *associations) {
	c.clear(t)
	var changes sync.Map
	s := c.open(t, c.Config(), func(_, account string) { changes.Store(account, true) })
	kept := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader}))
	gone := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "till", Role: reader}))
	page, cursor, err := s.List(t.Context(), association.Filter{}, "", 1)
	if err != nil || len(page) != 1 || cursor == "" {
		t.Fatal(page, cursor, err)
	}

	c.StopAPIServer()
	if diff := cmp.Diff(kept, must(t)(s.Find(t.Context(), "shop", "cart"))); diff != "" {
		t.Errorf("found while the API server is away (-want +got):\n%s", diff)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err = s.Find(ctx, "shop", "unknown")
	wantsCode(t, err, problem.ClusterUnavailable)
	_, err = s.Get(ctx, "a-00000000000000000")
	wantsCode(t, err, problem.ClusterUnavailable)
	_, err = s.Create(ctx, podid.Association{Namespace: "shop", ServiceAccount: "new", Role: reader})
	wantsCode(t, err, problem.ClusterUnavailable)
	_, err = s.Update(ctx, kept.ID(), func(a *podid.Association) error { a.Role = writer; return nil })
	wantsCode(t, err, problem.ClusterUnavailable)
	_, err = s.Delete(ctx, kept.ID())
	wantsCode(t, err, problem.ClusterUnavailable)

	if err := c.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A walk goes on where it was, here and at a replica that has just started.
	for _, replica := range []*store.Store{s, c.open(t, c.Config())} {
		page, next, err := replica.List(t.Context(), association.Filter{}, cursor, 1)
		if diff := cmp.Diff([]podid.Association{gone}, page); err != nil || next != "" || diff != "" {
			t.Errorf("the next page: %q %v (-want +got):\n%s", next, err, diff)
		}
	}
	changes.Clear()
	// What happens now arrives, by the watch that was broken.
	eventually(t, "a deletion arrives", func(ctx context.Context) error {
		err := c.admin.Delete(ctx, &v1alpha1.PodIdentityAssociation{ObjectMeta: meta.ObjectMeta{Namespace: "shop", Name: "till"}})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		if _, err := s.Find(ctx, "shop", "till"); !problem.Is(err, problem.AssociationMissing) {
			return fmt.Errorf("found: %w", err)
		}
		return nil
	})
	if _, told := changes.Load("till"); !told {
		t.Error("the deletion was not reported")
	}
	must(t)(s.Update(t.Context(), kept.ID(), func(a *podid.Association) error { a.Role = writer; return nil }))
}

// withoutKind comes last: the definition takes all associations with it.
func withoutKind(t *testing.T, c *associations) {
	c.clear(t)
	s := c.open(t, c.Config())
	c.kubectl(t, "delete", "-f", "../../deploy/crds")
	eventually(t, "the kind is gone", func(ctx context.Context) error {
		_, err := s.Find(ctx, "shop", "cart")
		if problem.Is(err, problem.ClusterUnavailable) {
			return nil
		}
		return fmt.Errorf("error %w", err)
	})
	_, err := s.Find(t.Context(), "shop", "cart")
	wantsCode(t, err, problem.ClusterUnavailable, "does not know the kind", "deploy/crds")
	_, err = s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader})
	wantsCode(t, err, problem.ClusterUnavailable, "does not know the kind")
}
