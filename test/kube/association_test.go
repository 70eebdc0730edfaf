//go:build unix

package kube_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/association/associationtest"
	store "github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/kube"
)

const (
	reader = "arn:aws:iam::111122223333:role/reader"
	writer = "arn:aws:iam::111122223333:role/team/writer"
	target = "arn:aws:iam::444455556666:role/target"
	allow  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
)

// associations is a control plane that knows PodIdentityAssociation.
type associations struct {
	*kube.ControlPlane
	admin client.Client
}

func newAssociations(t testing.TB) *associations {
	t.Helper()
	log.SetLogger(logr.Discard()) // it complains once if nobody sets one
	cp := kube.New(t, kube.Options{})
	c := &associations{ControlPlane: cp}
	serveAssociations(t, cp)
	c.admin = c.client(t, cp.Config())
	for _, namespace := range []string{"shop", "a", "b", "a-b", "ab", "before", "stay"} {
		makeNamespace(t, kubernetes.NewForConfigOrDie(cp.Config()), namespace)
	}
	for i := range 50 {
		makeNamespace(t, kubernetes.NewForConfigOrDie(cp.Config()), fmt.Sprint("ns-", i))
	}
	return c
}

// serveAssociations has a control plane know PodIdentityAssociation.
func serveAssociations(t testing.TB, cp *kube.ControlPlane) {
	t.Helper()
	for _, args := range [][]string{{"apply", "-f", "../../deploy/crds"}, {"wait", "--for=condition=Established", "--timeout=60s", "-f", "../../deploy/crds"}} {
		if out, err := cp.Kubectl(t.Context(), args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	known := scheme(t)
	eventually(t, "associations are served", func(ctx context.Context) error { // a moment after they are established
		api, err := client.New(cp.Config(), client.Options{Scheme: known})
		if err != nil {
			return err
		}
		return api.List(ctx, new(v1alpha1.PodIdentityAssociationList), client.Limit(1))
	})
}

func scheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	if err := core.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	return s
}

func (c *associations) client(t testing.TB, config *rest.Config) client.Client {
	t.Helper()
	api, err := client.New(config, client.Options{Scheme: scheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// open is a replica: a store with a cache of its own, which ends with the test.
func (c *associations) open(t *testing.T, config *rest.Config, onChange ...func(namespace, account string)) *store.Store {
	t.Helper()
	s := c.start(t, config, onChange...)
	eventually(t, "the store has read what there is", func(context.Context) error {
		if !s.Synced() {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	return s
}

func (c *associations) start(t *testing.T, config *rest.Config, onChange ...func(namespace, account string)) *store.Store {
	t.Helper()
	informers, err := cache.New(config, cache.Options{
		Scheme:   scheme(t),
		ByObject: map[client.Object]cache.ByObject{&v1alpha1.PodIdentityAssociation{}: {Transform: store.Trim}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.New(t.Context(), informers, c.client(t, config))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range onChange {
		s.OnChange = f
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := informers.Start(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return s
}

// clear deletes all associations.
func (c *associations) clear(t *testing.T) {
	t.Helper()
	var namespaces core.NamespaceList
	if err := c.admin.List(t.Context(), &namespaces); err != nil {
		t.Fatal(err)
	}
	for _, namespace := range namespaces.Items {
		if err := c.admin.DeleteAllOf(t.Context(), new(v1alpha1.PodIdentityAssociation), client.InNamespace(namespace.Name)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAssociations shares one control plane, which its last parts stop and start.
func TestAssociations(t *testing.T) {
	c := newAssociations(t)
	t.Run("Store", func(t *testing.T) {
		associationtest.Run(t, func(t *testing.T) association.Store {
			c.clear(t)
			return c.open(t, c.Config())
		})
	})
	for _, part := range []struct {
		name string
		run  func(*testing.T, *associations)
	}{
		{"OfManyReplicasThatCreateOneWins", replicasCreate},
		{"ReplicasUpdateOneAssociationAndLoseNothing", replicasUpdate},
		{"OneReplicasWriteIsAnothersID", otherReplicasID},
		{"WhatIsWrittenIsFoundThoughNoEventComes", noEvents},
		{"FiveThousandAreListedWhileOthersChange", fiveThousand},
		{"EveryChangeIsReportedBeforeItIsAcknowledged", reported},
		{"WhatKubectlDoesCounts", behindOurBack},
		{"AnAssociationThatIsEndingGivesNoRole", ending},
		{"TheSchemaRefusesByName", kubectlRefused},
		{"SchemaAndRulesAgree", schemaAgrees},
		{"SchemaAndRulesAgreeOnWhatIsMadeUp", schemaAgreesOnAnything},
		{"ANamespaceThatIsNotThereIsRefusedByName", namespaceRefused},
		{"ForbiddenWritesAreDeniedAndForbiddenReadsAreNoRefusal", forbidden},
		{"WhatHappenedWhileTheWatchWasBrokenCounts", brokenWatch},
		{"AnObjectOlderThanTheSchemaGivesNoRole", olderThanTheSchema},
		{"AnAPIServerThatIsAwayRefusesNobody", away},
		{"AWithdrawnKindRefusesNobody", withoutKind},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, c) })
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

func wantsCode(t *testing.T, err error, code problem.Code, says ...string) {
	t.Helper()
	if !problem.Is(err, code) {
		t.Errorf("error %v, want problem %s", err, code)
		return
	}
	for _, text := range says {
		if message := problem.Of(err).Message(); !strings.Contains(message, text) {
			t.Errorf("message %q does not say %q", message, text)
		}
	}
}

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

func reported(t *testing.T, c *associations) {
	c.clear(t)
	var mu sync.Mutex
	var got []string
	var s *store.Store
	s = c.start(t, c.Config(), func(namespace, account string) {
		a, err := s.Find(context.Background(), namespace, account)
		line := namespace + "/" + account + " " + string(a.Role)
		if err != nil {
			line += string(problem.Of(err).Code)
		}
		mu.Lock()
		got = append(got, line)
		mu.Unlock()
	})
	eventually(t, "synced", func(context.Context) error {
		if !s.Synced() {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	wants := func(want ...string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("reported (-want +got):\n%s", diff)
		}
		got = nil
	}
	a := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader}))
	wants("shop/cart " + reader)
	must(t)(s.Update(t.Context(), a.ID(), func(a *podid.Association) error { a.Role = writer; return nil }))
	wants("shop/cart " + writer)
	must(t)(s.Update(t.Context(), a.ID(), func(*podid.Association) error { return nil }))
	wants()
	// Labels and a status are no change of the spec; the role after them is.
	c.kubectl(t, "label", "pia", "cart", "-n", "shop", "team=a")
	o := c.get(t, "shop", "cart")
	o.Status = store.Status(o, podid.Cluster{Name: "lab", Region: "eu-central-1", Account: "111122223333"}, nil, time.Now())
	if err := c.admin.Status().Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	must(t)(s.Update(t.Context(), a.ID(), func(a *podid.Association) error { a.Role = reader; return nil }))
	wants("shop/cart " + reader)
	must(t)(s.Delete(t.Context(), a.ID()))
	wants("shop/cart association-missing")
}

func (c *associations) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %v: %v: %s", args, err, out)
	}
	return string(out)
}

func (c *associations) get(t *testing.T, namespace, account string) *v1alpha1.PodIdentityAssociation {
	t.Helper()
	o := new(v1alpha1.PodIdentityAssociation)
	if err := c.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: account}, o); err != nil {
		t.Fatal(err)
	}
	return o
}

func behindOurBack(t *testing.T, c *associations) {
	c.clear(t)
	s := c.open(t, c.Config())
	a := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader, Tags: map[string]string{"team": "a"}}))
	finds := func(what string, check func(podid.Association) bool) {
		t.Helper()
		eventually(t, what, func(ctx context.Context) error {
			if got, err := s.Find(ctx, "shop", "cart"); err != nil || !check(got) {
				return fmt.Errorf("%+v, %w", got, err)
			}
			return nil
		})
	}
	c.kubectl(t, "patch", "pia", "cart", "-n", "shop", "--type=merge", "-p", `{"spec":{"roleARN":"`+writer+`"}}`)
	finds("the role is another", func(got podid.Association) bool {
		return got.Role == writer && got.Version != a.Version && got.UID == a.UID
	})
	c.kubectl(t, "label", "pia", "cart", "-n", "shop", "team=a")
	updated := must(t)(s.Update(t.Context(), a.ID(), func(a *podid.Association) error { a.Tags = nil; a.Target = target; return nil }))
	if updated.Role != writer || updated.Tags != nil || updated.Target != target {
		t.Errorf("updated: %+v", updated)
	}
	if o := c.get(t, "shop", "cart"); o.Labels["team"] != "a" {
		t.Errorf("an update took the labels: %+v", o.ObjectMeta)
	}

	// A grammar that no schema holds: the object is there, gives no role, and can be mended.
	c.kubectl(t, "patch", "pia", "cart", "-n", "shop", "--type=merge", "-p", `{"spec":{"policy":"{}","disableSessionTags":true}}`)
	eventually(t, "the policy is refused", func(ctx context.Context) error {
		if _, err := s.Find(ctx, "shop", "cart"); !problem.Is(err, problem.SessionPolicyInvalid) {
			return fmt.Errorf("%w", err)
		}
		return nil
	})
	if got := must(t)(s.Get(t.Context(), a.ID())); got.Policy != "{}" {
		t.Errorf("described: %+v", got)
	}
	must(t)(s.Update(t.Context(), a.ID(), func(a *podid.Association) error { a.Policy = allow; return nil }))
	finds("it is mended", func(got podid.Association) bool { return got.Policy == allow })

	// A token that nobody could have sent is none; another object's is not worth more than the name.
	c.kubectl(t, "annotate", "pia", "cart", "-n", "shop", store.TokenAnnotation+"=short")
	finds("no token", func(got podid.Association) bool { return got.ClientToken == "" })
	token := strings.Repeat("t", 36)
	till := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "till", Role: reader, ClientToken: token}))
	c.kubectl(t, "annotate", "--overwrite", "pia", "cart", "-n", "shop", store.TokenAnnotation+"="+token)
	finds("the token of another", func(got podid.Association) bool { return got.ClientToken == token })
	if got := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "till", Role: reader, ClientToken: token})); got.UID != till.UID {
		t.Errorf("a copied token leads to %s", got.ServiceAccount)
	}

	// Deleted and made again it is another.
	c.kubectl(t, "delete", "pia", "cart", "-n", "shop")
	c.apply(t, manifest("shop", "cart", "roleARN: "+reader))
	finds("another association", func(got podid.Association) bool { return got.UID != a.UID && got.Role == reader })
	if _, err := s.Get(t.Context(), a.ID()); !problem.Is(err, problem.AssociationNotFound) {
		t.Errorf("the old ID: %v", err)
	}
	if _, err := s.Delete(t.Context(), a.ID()); !problem.Is(err, problem.AssociationNotFound) {
		t.Errorf("the old ID: %v", err)
	}
}

func manifest(namespace, account string, spec ...string) string {
	return "apiVersion: podid.dev/v1alpha1\nkind: PodIdentityAssociation\nmetadata:\n  name: " + account +
		"\n  namespace: " + namespace + "\nspec:\n  " + strings.Join(spec, "\n  ") + "\n"
}

func (c *associations) apply(t *testing.T, text string) {
	t.Helper()
	if out, err := c.tryApply(t, text); err != nil {
		t.Fatalf("kubectl apply: %v: %s", err, out)
	}
}

func (c *associations) tryApply(t *testing.T, text string) (string, error) {
	cmd := c.Kubectl(t.Context(), "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func ending(t *testing.T, c *associations) {
	c.clear(t)
	s := c.open(t, c.Config())
	token := strings.Repeat("e", 36)
	a := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader, ClientToken: token}))
	c.kubectl(t, "patch", "pia", "cart", "-n", "shop", "--type=merge", "-p", `{"metadata":{"finalizers":["test.podid.dev/hold"]}}`)
	must(t)(s.Delete(t.Context(), a.ID()))
	_, err := s.Find(t.Context(), "shop", "cart")
	wantsCode(t, err, problem.AssociationMissing)
	_, err = s.Get(t.Context(), a.ID())
	wantsCode(t, err, problem.AssociationNotFound)
	_, err = s.Delete(t.Context(), a.ID())
	wantsCode(t, err, problem.AssociationNotFound)
	if page, _, err := s.List(t.Context(), association.Filter{}, "", 10); err != nil || len(page) != 0 {
		t.Errorf("listed: %v, %v", page, err)
	}
	_, err = s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader, ClientToken: token})
	wantsCode(t, err, problem.AssociationExists, "being deleted", "finalizers")
	c.kubectl(t, "patch", "pia", "cart", "-n", "shop", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	if again := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader, ClientToken: token})); again.UID == a.UID {
		t.Error("the ended association came back")
	}
}

func kubectlRefused(t *testing.T, c *associations) {
	c.clear(t)
	for _, test := range []struct {
		name string
		spec []string
		says string
	}{
		{"a field of another spelling", []string{"roleArn: " + reader}, `unknown field "spec.roleArn"`},
		{"an unknown field", []string{"roleARN: " + reader, "serviceAccount: cart"}, `unknown field "spec.serviceAccount"`},
		{"no role", []string{"disableSessionTags: true"}, "spec.roleARN: Required value"},
		{"a user", []string{"roleARN: arn:aws:iam::111122223333:user/jane"}, "this is not the ARN of a role, arn:aws:iam::ACCOUNT:role/NAME"},
		{"a session", []string{"roleARN: arn:aws:sts::111122223333:assumed-role/reader/x"}, "this is the ARN of a role session"},
		{"a policy with session tags", []string{"roleARN: " + reader, "policy: '" + allow + "'"}, "set disableSessionTags: true together with policy"},
		{"a reserved tag", []string{"roleARN: " + reader, "tags: {'AWS:team': a}"}, "reserved for AWS"},
		{"a number for a role", []string{"roleARN: 5"}, "must be of type string"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := c.tryApply(t, manifest("shop", "cart", test.spec...))
			if err == nil || !strings.Contains(out, test.says) {
				t.Errorf("%v: %q does not say %q", err, out, test.says)
			}
		})
	}
	c.apply(t, manifest("shop", "cart", "roleARN: "+reader, "tags: {team: a}"))
	if out := c.kubectl(t, "get", "pia", "-n", "shop"); !strings.Contains(out, reader) || !strings.Contains(out, "ACCEPTED") {
		t.Errorf("kubectl get:\n%s", out)
	}
}

func namespaceRefused(t *testing.T, c *associations) {
	c.clear(t)
	s := c.open(t, c.Config())
	_, err := s.Create(t.Context(), podid.Association{Namespace: "nowhere", ServiceAccount: "cart", Role: reader})
	wantsCode(t, err, problem.AssociationInvalid, `namespace "nowhere" does not exist`, "kubectl create namespace nowhere")
	_, err = s.Find(t.Context(), "nowhere", "cart")
	wantsCode(t, err, problem.AssociationMissing)
	if page, _, err := s.List(t.Context(), association.Filter{Namespace: "nowhere"}, "", 10); err != nil || len(page) != 0 {
		t.Errorf("listed: %v, %v", page, err)
	}
	// Nothing runs that would end a namespace: it stays in the state between.
	makeNamespace(t, kubernetes.NewForConfigOrDie(c.Config()), "ends")
	if err := kubernetes.NewForConfigOrDie(c.Config()).CoreV1().Namespaces().Delete(t.Context(), "ends", meta.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace ends", func(ctx context.Context) error {
		_, err := s.Create(ctx, podid.Association{Namespace: "ends", ServiceAccount: "cart", Role: reader})
		if err == nil {
			return fmt.Errorf("created")
		}
		if !strings.Contains(err.Error(), `namespace "ends" is being deleted`) && !problem.Is(err, problem.AssociationExists) {
			t.Errorf("error %v", err)
		}
		return nil
	})
}

func forbidden(t *testing.T, c *associations) {
	c.clear(t)
	admin := c.open(t, c.Config())
	cart := must(t)(admin.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader}))
	config, err := c.ConfigFor("reader-only")
	if err != nil {
		t.Fatal(err)
	}
	clientset := kubernetes.NewForConfigOrDie(c.Config())
	_, err = clientset.RbacV1().ClusterRoles().Create(t.Context(), &rbac.ClusterRole{
		ObjectMeta: meta.ObjectMeta{Name: "reader-only"},
		Rules:      []rbac.PolicyRule{{APIGroups: []string{"podid.dev"}, Resources: []string{"podidentityassociations"}, Verbs: []string{"get", "list", "watch"}}},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = clientset.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbac.ClusterRoleBinding{
		ObjectMeta: meta.ObjectMeta{Name: "reader-only"},
		Subjects:   []rbac.Subject{{Kind: "User", APIGroup: rbac.GroupName, Name: "reader-only"}},
		RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: "reader-only"},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := c.open(t, config) // with no more rights than doc.go says
	if got := must(t)(s.Find(t.Context(), "shop", "cart")); got.UID != cart.UID {
		t.Errorf("found %+v", got)
	}
	_, err = s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "till", Role: reader})
	wantsCode(t, err, problem.PermissionDenied, "reader-only")
	_, err = s.Update(t.Context(), cart.ID(), func(a *podid.Association) error { a.Role = writer; return nil })
	wantsCode(t, err, problem.PermissionDenied, "reader-only")
	_, err = s.Delete(t.Context(), cart.ID())
	wantsCode(t, err, problem.PermissionDenied, "reader-only")

	nobody, err := c.ConfigFor("nobody")
	if err != nil {
		t.Fatal(err)
	}
	blind := c.start(t, nobody)
	_, err = blind.Find(t.Context(), "shop", "cart")
	wantsCode(t, err, problem.ClusterUnavailable, "get, list and watch")
	if strings.Contains(problem.Of(err).Message(), "nobody") {
		t.Errorf("a pod is told of podid's own rights in detail: %v", err)
	}
	_, _, err = blind.List(t.Context(), association.Filter{}, "", 10)
	wantsCode(t, err, problem.ClusterUnavailable)
}

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

func olderThanTheSchema(t *testing.T, c *associations) {
	c.clear(t)
	const path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
	c.kubectl(t, "patch", "crd", "podidentityassociations.podid.dev", "--type=json", "-p",
		`[{"op":"replace","path":"`+path+`","value":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}]`)
	eventually(t, "the schema takes anything", func(context.Context) error {
		if out, err := c.tryApply(t, manifest("shop", "cart", "roleARN: arn:aws:iam::111122223333:user/jane", "region: mars")); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	c.kubectl(t, "apply", "-f", "../../deploy/crds")
	s := c.open(t, c.Config())
	_, err := s.Find(t.Context(), "shop", "cart")
	wantsCode(t, err, problem.AssociationInvalid, "user/jane")
	page, _, err := s.List(t.Context(), association.Filter{}, "", 10)
	if err != nil || len(page) != 1 {
		t.Fatal(page, err)
	}
	_, err = s.Update(t.Context(), page[0].ID(), func(a *podid.Association) error { a.Tags = map[string]string{"team": "a"}; return nil })
	wantsCode(t, err, problem.AssociationInvalid, "user/jane")
	must(t)(s.Update(t.Context(), page[0].ID(), func(a *podid.Association) error { a.Role = reader; return nil }))
	must(t)(s.Find(t.Context(), "shop", "cart"))
	must(t)(s.Delete(t.Context(), page[0].ID()))
	eventually(t, "the schema is strict again", func(context.Context) error {
		if _, err := c.tryApply(t, manifest("shop", "cart", "roleARN: arn:aws:iam::111122223333:user/jane")); err == nil {
			return errors.New("taken")
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

// schemaAgreesOnAnything asks both about specs that are valid, nearly valid and neither.
func schemaAgreesOnAnything(t *testing.T, c *associations) {
	arn := rapid.OneOf(
		rapid.StringMatching(`arn:aws[a-z-]{0,5}:iam::[0-9]{12}:role/([!-.0-~]{1,9}/){0,3}[0-9A-Za-z_+=,.@-]{1,64}`),
		rapid.StringMatching(`arn:aw[sz]:(iam|sts):[a-z]?:[0-9]{11,13}:(role|user|assumed-role)/([ -~ä]{0,9}/){0,2}[ -~ä]{0,9}`),
		rapid.StringN(1, 20, -1))
	tagText := rapid.OneOf(rapid.StringMatching(`[\pL\pZ\pN_.:/=+@-]{0,9}`), rapid.StringMatching(`[aA][wW][sS]:?[a-z]{0,3}`), rapid.StringN(0, 9, -1))
	policies := rapid.OneOf(
		rapid.SampledFrom([]string{allow, " " + allow, "[" + allow + "]", "{}", strings.Replace(allow, "*", "arn:aws:s3:::ÿ", 1)}),
		rapid.StringMatching("[\t\n ]{0,2}[{]?[ -~ÿā]{0,20}[}]?"))
	rapid.Check(t, func(t *rapid.T) {
		a := podid.Association{
			Namespace: "shop", ServiceAccount: "agrees", Role: podid.RoleARN(arn.Draw(t, "role")),
			DisableSessionTags: rapid.Bool().Draw(t, "disable"), Tags: rapid.MapOfN(tagText, tagText, 0, 3).Draw(t, "tags"),
		}
		if rapid.Bool().Draw(t, "valid role") {
			a.Role = reader
		}
		if rapid.IntRange(0, 3).Draw(t, "has target") == 0 {
			a.Target = podid.RoleARN(arn.Draw(t, "target"))
		}
		if rapid.IntRange(0, 3).Draw(t, "has policy") == 0 {
			a.Policy = policies.Draw(t, "policy")
		}
		rules := association.Validate(a)
		schema := c.admin.Create(context.Background(), store.Object(a), client.DryRunAll)
		if schema != nil && !apierrors.IsInvalid(schema) {
			t.Fatalf("the API server fails: %v", schema)
		}
		if rules == nil && schema != nil {
			t.Fatalf("the rules take what the schema refuses: %v", schema)
		}
		if rules != nil && schema == nil {
			// The rules' own: what is within the braces of a policy, and the characters of tag keys.
			if a.Policy != "" {
				a.Policy = allow
			}
			values := map[string]string{}
			for _, value := range a.Tags {
				values[fmt.Sprint("key-", len(values))] = value
			}
			a.Tags = values
			if err := association.Validate(a); err != nil {
				t.Fatalf("the schema takes what the rules refuse: %v", err)
			}
		}
	})
}

// schemaAgrees asks the API server and association.Validate about the same specs. What the
// rules take the schema takes too; what the schema takes and the rules do not is named.
func schemaAgrees(t *testing.T, c *associations) {
	type A = podid.Association
	tags := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint("key-", i)] = "value"
		}
		return m
	}
	tag := func(key, value string) func(*A) { return func(a *A) { a.Tags = map[string]string{key: value} } }
	role := func(arn podid.RoleARN) func(*A) { return func(a *A) { a.Role = arn } }
	onResource := func(path string) string { return strings.Replace(allow, `"*"`, `"arn:aws:s3:::bucket/`+path+`"`, 1) }
	policy := func(text string) func(*A) { return func(a *A) { a.Policy, a.DisableSessionTags = text, true } }
	for _, test := range []struct {
		name   string
		change func(*A)
		// rulesOnly: no schema can hold this rule.
		rulesOnly bool
	}{
		{"as it is", func(*A) {}, false},
		{"a path", role("arn:aws:iam::111122223333:role/a/b/!-~/reader"), false},
		{"a role of China", role("arn:aws-cn:iam::111122223333:role/reader"), false},
		{"a name of 64", role(podid.RoleARN("arn:aws:iam::111122223333:role/" + strings.Repeat("n", 64))), false},
		{"a name of 65", role(podid.RoleARN("arn:aws:iam::111122223333:role/" + strings.Repeat("n", 65))), false},
		{"640 characters", role(podid.RoleARN("arn:aws:iam::111122223333:role/" + strings.Repeat("p/", 304) + "n")), false},
		{"641 characters", role(podid.RoleARN("arn:aws:iam::111122223333:role/" + strings.Repeat("p/", 304) + "nn")), false},
		{"all characters of a name", role("arn:aws:iam::111122223333:role/aZ09_+=,.@-"), false},
		{"a space", role("arn:aws:iam::111122223333:role/a b"), false},
		{"a space in the path", role("arn:aws:iam::111122223333:role/a b/c"), false},
		{"an umlaut", role("arn:aws:iam::111122223333:role/ä"), false},
		{"a line break", role("arn:aws:iam::111122223333:role/reader\n"), false},
		{"no name", role("arn:aws:iam::111122223333:role/"), false},
		{"an empty path", role("arn:aws:iam::111122223333:role//n"), false},
		{"eleven digits", role("arn:aws:iam::11112222333:role/reader"), false},
		{"a user", role("arn:aws:iam::111122223333:user/x"), false},
		{"a session", role("arn:aws:sts::111122223333:assumed-role/x/y"), false},
		{"a session in a path", role("arn:aws:iam::111122223333:role/a:assumed-role/n"), false},
		{"a wildcard", role("arn:aws:iam::111122223333:role/*"), false},
		{"another partition's name", role("arn:awz:iam::111122223333:role/reader"), false},
		{"no role", role(""), false},
		{"a target", func(a *A) { a.Target = target }, false},
		{"a target that is no role", func(a *A) { a.Target = "x" }, false},
		{"tags disabled", func(a *A) { a.DisableSessionTags = true }, false},
		{"a policy with session tags", func(a *A) { a.Policy = allow }, false},
		{"a policy", policy(allow), false},
		{"a policy that begins with a line break", policy("\r\n\t " + allow), false},
		{"a policy with all that STS takes", policy(onResource("ÿ¡~")), false},
		{"a policy STS does not take", policy(strings.Replace(allow, "GetObject", "Get→", 1)), false},
		{"a policy with a control character", policy(strings.Replace(allow, "GetObject", "Get\u0001", 1)), false},
		{"a policy of 2,048", policy(allow + strings.Repeat(" ", 2048-len(allow))), false},
		{"a policy of 2,049", policy(allow + strings.Repeat(" ", 2049-len(allow))), false},
		{"a policy of 2,048 two-byte characters", policy(onResource(strings.Repeat("ä", 2048-len(onResource(""))))), false},
		{"a policy of 2,049 two-byte characters", policy(onResource(strings.Repeat("ä", 2049-len(onResource(""))))), false},
		{"a policy that is a list", policy("[]"), false},
		{"a policy that is null", policy("null"), false},
		{"a policy that is blank", policy("  "), false},
		{"a policy that is cut off", policy(allow[:30]), true},
		{"a policy of another grammar", policy(`{"a":1}`), true},
		{"50 tags", func(a *A) { a.Tags = tags(50) }, false},
		{"51 tags", func(a *A) { a.Tags = tags(51) }, false},
		{"tag characters", tag("Größe +-=._:/@", "日本 1 +-=._:/@"), false},
		{"a tag key of 128", tag(strings.Repeat("ä", 128), strings.Repeat("ä", 256)), false},
		{"a tag key of 129", tag(strings.Repeat("ä", 129), ""), false},
		{"a tag value of 257", tag("k", strings.Repeat("ä", 257)), false},
		{"an empty tag key", tag("", "v"), false},
		{"an empty tag value", tag("k", ""), false},
		{"reserved", tag("aws:x", ""), false},
		{"reserved in capitals", tag("AWS:", ""), false},
		{"reserved in both", tag("aWs:x", ""), false},
		{"a reserved value", tag("k", "Aws:x"), false},
		{"a key that only begins alike", tag("awsome", "aws"), false},
		{"a long s", tag("awſ:x", "awſ:x"), false},
		{"a value character", tag("k", "<"), false},
		{"a value with a control character", tag("k", "a\u0001"), false},
		{"a line separator", tag("k", "a\u2028"), false},
		{"a key character", tag("k<", ""), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := A{Namespace: "shop", ServiceAccount: "agrees", Role: reader}
			test.change(&a)
			rules := association.Validate(a)
			schema := c.admin.Create(t.Context(), store.Object(a), client.DryRunAll)
			switch {
			case schema != nil && !apierrors.IsInvalid(schema):
				t.Errorf("the API server fails: %v", schema)
			case test.rulesOnly && (rules == nil || schema != nil):
				t.Errorf("rules: %v; schema: %v; want the rules alone to refuse it", rules, schema)
			case !test.rulesOnly && (rules == nil) != (schema == nil):
				t.Errorf("rules: %v; schema: %v", rules, schema)
			}
		})
	}
}
