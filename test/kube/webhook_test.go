//go:build unix

package kube_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/injection"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// TestWebhook runs the program as it is installed: the leader of podid-auth gives it its certificate.
func TestWebhook(t *testing.T) {
	w := newInstalled(t)
	h := w.webhook(t)
	eventually(t, "podid-webhook says that it has no certificate", func(ctx context.Context) error {
		return wants(h.ready(ctx), "certificate-missing")
	})
	w.lead(t, 3*time.Second)
	w.direct(t, h)
	eventually(t, "podid-webhook is ready", h.ready)
	if err := w.bind(t.Context(), "shop", "first"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the API server asks it", func(ctx context.Context) error {
		pod, err := w.client.CoreV1().Pods("shop").Create(ctx, injectionPod("shop", "first", nil), meta.CreateOptions{DryRun: []string{meta.DryRunAll}})
		if err != nil {
			return err
		}
		return injected(pod)
	})

	t.Run("EveryRacingPodIsInjected", func(t *testing.T) { w.race(t) })
	t.Run("NoPodIsMissedWhileTheAuthorityRotates", func(t *testing.T) { w.rotate(t) })
	t.Run("ItCountsWhatItDoes", func(t *testing.T) {
		var text bytes.Buffer
		if err := fetch(t.Context(), "http://"+h.metrics+"/metrics", &text); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`podid_admissions_total{outcome="injected",reason=""}`, "podid_admission_seconds_count"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("no %s in\n%s", want, text.String())
			}
		}
	})
	t.Run("WhatIsPublishedIsPutBack", func(t *testing.T) { w.putBack(t) })
	t.Run("ItAnswersUntilNobodyIsSentThere", func(t *testing.T) { w.drain(t, h) })
}

// race has eight clients make 500 service accounts, associations and pods, each as fast as it can.
func (w *installed) race(t *testing.T) {
	const clients, rounds = 8, 500
	next := make(chan int)
	began := time.Now()
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			api := kubernetes.NewForConfigOrDie(rest.CopyConfig(w.Config()))
			for round := range next {
				name := fmt.Sprint("racer-", round)
				if err := w.bind(t.Context(), "shop", name); err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				pod, err := api.CoreV1().Pods("shop").Create(t.Context(), injectionPod("shop", name, nil), meta.CreateOptions{})
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				if err := injected(pod); err != nil {
					t.Error(err)
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

// drain ends the webhook while pods are made that must not go without: none is refused as long as it may be asked.
func (w *installed) drain(t *testing.T, h *webhookProcess) {
	must := map[string]string{injection.RequireLabel: "true"}
	ended := make(chan struct{})
	go func() { defer close(ended); h.stop(t) }()
	eventually(t, "it says that it is about to end", func(ctx context.Context) error { return wants(h.ready(ctx), "about to end") })
	pod, err := w.client.CoreV1().Pods("shop").Create(t.Context(), injectionPod("shop", "first", must), meta.CreateOptions{DryRun: []string{meta.DryRunAll}})
	if err != nil || injected(pod) != nil {
		t.Errorf("while it drains: %v", err)
	}
	<-ended
}
