//go:build unix

package kube_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	store "github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/test/kube"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// race has eight clients make the objects of each round one after the other, rounds as fast as they can. The last object
// of a round is a pod, which has to be injected, whatever injects it.
func race(t *testing.T, cp *kube.ControlPlane, rounds int, objects func(round int) []client.Object) {
	t.Helper()
	next := make(chan int)
	known := scheme(t)
	began := time.Now()
	var all sync.WaitGroup
	for range 8 {
		api, err := client.New(cp.Config(), client.Options{Scheme: known})
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for round := range next {
				if err := create(t, api, objects(round)); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			}
		})
	}
	for round := range rounds {
		next <- round
	}
	close(next)
	all.Wait()
	t.Logf("%d pods in %v", rounds, time.Since(began).Round(10*time.Millisecond))
}

// create makes the objects; the error is what is wrong with the last, a pod.
func create(t *testing.T, api client.Client, objects []client.Object) error {
	for _, object := range objects {
		if err := api.Create(t.Context(), object); err != nil {
			return fmt.Errorf("create %s: %w", object.GetName(), err)
		}
	}
	return injected(objects[len(objects)-1].(*core.Pod))
}

// associatedPod is a service account, its association and its pod.
func associatedPod(round int) []client.Object {
	name := fmt.Sprint("racer-", round)
	return []client.Object{
		&core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Namespace: "shop", Name: name}},
		store.Object(podid.Association{Namespace: "shop", ServiceAccount: name, Role: reader}),
		injectionPod("shop", name, nil),
	}
}
