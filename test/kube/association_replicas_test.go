package kube_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	store "github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/problem"
)

func replicasCreate(t *testing.T, c *associations) {
	c.clear(t)
	const replicas, accounts = 8, 50
	stores := make([]*store.Store, replicas)
	for i := range stores {
		stores[i] = c.open(t, c.Config())
	}
	var mu sync.Mutex
	winners := map[string][]string{} // IDs by account
	losers := map[string][]error{}
	var group sync.WaitGroup
	began := time.Now()
	for r, s := range stores {
		group.Go(func() {
			for i := range accounts {
				account := fmt.Sprint("sa-", i)
				a, err := s.Create(t.Context(), podid.Association{
					Namespace: "shop", ServiceAccount: account, Role: reader, ClientToken: fmt.Sprintf("replica-%030d", r*accounts+i)})
				mu.Lock()
				if err == nil {
					winners[account] = append(winners[account], a.ID())
				} else {
					losers[account] = append(losers[account], err)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	t.Logf("%d creates by %d replicas in %v", replicas*accounts, replicas, time.Since(began).Round(time.Millisecond))
	for i := range accounts {
		account := fmt.Sprint("sa-", i)
		if len(winners[account]) != 1 || len(losers[account]) != replicas-1 {
			t.Fatalf("%s: %d won and %d lost, want one winner", account, len(winners[account]), len(losers[account]))
		}
		for _, err := range losers[account] {
			wantsCode(t, err, problem.AssociationExists, winners[account][0])
		}
		for r, s := range stores {
			if a, err := s.Find(t.Context(), "shop", account); err != nil || a.ID() != winners[account][0] {
				t.Errorf("replica %d finds %s, %v, want %s", r, a.ID(), err, winners[account][0])
			}
		}
	}
}

func replicasUpdate(t *testing.T, c *associations) {
	c.clear(t)
	const replicas, each = 4, 8
	var stores []*store.Store
	for range replicas {
		stores = append(stores, c.open(t, c.Config()))
	}
	a := must(t)(stores[0].Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader}))
	var group sync.WaitGroup
	for _, s := range stores {
		group.Go(func() {
			for range each {
				is, err := s.Update(t.Context(), a.ID(), func(a *podid.Association) error {
					a.Tags = map[string]string{"count": fmt.Sprint(count(*a) + 1)}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				// Who wrote reads what it wrote.
				if got, err := s.Find(t.Context(), "shop", "cart"); err != nil || count(got) < count(is) {
					t.Errorf("%v: %d is found after %d was written", err, count(got), count(is))
				}
			}
		})
	}
	group.Wait()
	if got := must(t)(stores[0].Update(t.Context(), a.ID(), func(*podid.Association) error { return nil })); count(got) != replicas*each {
		t.Errorf("counted to %d, want %d", count(got), replicas*each)
	}
}

func count(a podid.Association) int {
	n, _ := strconv.Atoi(a.Tags["count"])
	return n
}

// otherReplicasID is what Terraform does behind a load balancer: create here, describe there.
func otherReplicasID(t *testing.T, c *associations) {
	c.clear(t)
	here := c.open(t, c.Config())
	there := c.open(t, held(c.Config(), make(chan struct{})))
	a := must(t)(here.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader, ClientToken: strings.Repeat("t", 36)}))
	if diff := cmp.Diff(a, must(t)(there.Get(t.Context(), a.ID()))); diff != "" {
		t.Errorf("described (-created +got):\n%s", diff)
	}
	if got := must(t)(there.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader, ClientToken: a.ClientToken})); got.UID != a.UID {
		t.Error("a retry at another replica made another association")
	}
	updated := must(t)(there.Update(t.Context(), a.ID(), func(a *podid.Association) error { a.Role = writer; return nil }))
	eventually(t, "the change arrives", func(ctx context.Context) error {
		if got, err := here.Find(ctx, "shop", "cart"); err != nil || got.Version != updated.Version {
			return fmt.Errorf("%+v, %w", got, err)
		}
		return nil
	})
	// What was made again is not what a replica that is behind was asked to change.
	behind := c.open(t, held(c.Config(), make(chan struct{})))
	must(t)(there.Delete(t.Context(), a.ID()))
	again := must(t)(there.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader}))
	if got := must(t)(behind.Find(t.Context(), "shop", "cart")); got.UID != a.UID {
		t.Errorf("the replica is not behind: %+v", got)
	}
	_, err := behind.Update(t.Context(), a.ID(), func(a *podid.Association) error { a.Role = writer; return nil })
	wantsCode(t, err, problem.AssociationNotFound)
	_, err = behind.Delete(t.Context(), a.ID())
	wantsCode(t, err, problem.AssociationNotFound)
	must(t)(there.Delete(t.Context(), again.ID()))
	eventually(t, "the end arrives", func(ctx context.Context) error {
		if _, err := here.Find(ctx, "shop", "cart"); !problem.Is(err, problem.AssociationMissing) {
			return fmt.Errorf("found: %w", err)
		}
		return nil
	})
}

// unheard is a configuration whose watches deliver nothing at all.
func unheard(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Get("watch") != "" {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return next.RoundTrip(r)
		})
	})
	return config
}

// held is a configuration whose watches deliver nothing after their first list until
// release is closed.
func held(config *rest.Config, release <-chan struct{}) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			answer, err := next.RoundTrip(r)
			if err == nil && r.URL.Query().Get("watch") != "" {
				answer.Body = &heldBody{
					ReadCloser: answer.Body, lines: bufio.NewReader(answer.Body), release: release, ctx: r.Context(),
					hold: r.URL.Query().Get("sendInitialEvents") != "true",
				}
			}
			return answer, err
		})
	})
	return config
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type heldBody struct {
	io.ReadCloser
	lines   *bufio.Reader // of events
	rest    []byte        // of the line that is being read
	hold    bool          // from now on
	release <-chan struct{}
	ctx     context.Context
}

func (b *heldBody) Read(p []byte) (n int, err error) {
	if len(b.rest) == 0 {
		if b.hold {
			select {
			case <-b.release:
			case <-b.ctx.Done():
				return 0, b.ctx.Err()
			}
		}
		b.rest, err = b.lines.ReadBytes('\n')
		b.hold = b.hold || bytes.Contains(b.rest, []byte(meta.InitialEventsAnnotationKey))
	}
	n = copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, err
}

func noEvents(t *testing.T, c *associations) {
	c.clear(t)
	release := make(chan struct{})
	s := c.open(t, held(c.Config(), release))
	a := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader}))
	if diff := cmp.Diff(a, must(t)(s.Find(t.Context(), "shop", "cart"))); diff != "" {
		t.Errorf("found (-created +found):\n%s", diff)
	}
	if _, err := s.Find(t.Context(), "shop", "till"); !problem.Is(err, problem.AssociationMissing) {
		t.Errorf("error %v, want %s", err, problem.AssociationMissing)
	}
	if page, _, err := s.List(t.Context(), association.Filter{}, "", 10); err != nil || len(page) != 0 {
		t.Errorf("the events are not held: %v, %v", page, err)
	}
	close(release)
	eventually(t, "it is listed", func(ctx context.Context) error {
		if page, _, err := s.List(ctx, association.Filter{}, "", 10); err != nil || len(page) != 1 {
			return fmt.Errorf("%v, %w", page, err)
		}
		return nil
	})
}
