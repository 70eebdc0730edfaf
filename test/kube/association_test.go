//go:build unix

package kube_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
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
