//go:build unix

package kube_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/test/kube"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

	t.Run("EveryRacingPodIsInjected", func(t *testing.T) { race(t, w.ControlPlane, 500, associatedPod) })
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
	w.away(t, must)
}

// away: with nobody to ask, the entries as they are installed refuse a pod that must not go without, and no other.
func (w *installed) away(t *testing.T, must map[string]string) {
	dry := meta.CreateOptions{DryRun: []string{meta.DryRunAll}}
	_, err := w.client.CoreV1().Pods("shop").Create(t.Context(), injectionPod("shop", "first", must), dry)
	if err == nil || !strings.Contains(err.Error(), "require.podid.dev") {
		t.Errorf("a pod that must not go without: %v", err)
	}
	pod, err := w.client.CoreV1().Pods("shop").Create(t.Context(), injectionPod("shop", "first", nil), dry)
	if err != nil || injected(pod) == nil {
		t.Errorf("another pod: %v", err)
	}
}

// BenchmarkWebhook creates pods with podid-webhook and without, in turn.
func BenchmarkWebhook(b *testing.B) {
	w := newInstalled(b)
	h := w.webhook(b)
	w.lead(b, time.Second)
	w.direct(b, h)
	eventually(b, "podid-webhook is ready", h.ready)
	makeServiceAccount(b, w.client, "shop", "first")
	for _, associations := range []int{1, 1000} {
		fill(b, w.ControlPlane, "shop", associations)
		eventually(b, "the API server asks podid-webhook", func(ctx context.Context) error {
			pod, err := w.client.CoreV1().Pods("shop").Create(ctx, injectionPod("shop", "first", nil), meta.CreateOptions{DryRun: []string{meta.DryRunAll}})
			if err != nil {
				return err
			}
			return injected(pod)
		})
		b.Run(fmt.Sprintf("associations=%d", associations), func(b *testing.B) { compare(b, w.client, "shop", nil) })
	}
}

// compare creates pods with these labels and pods that are skipped, in turn, and reports what one takes.
func compare(b *testing.B, client kubernetes.Interface, namespace string, labels map[string]string) {
	var with, without time.Duration
	timed := func(total *time.Duration, labels map[string]string) {
		began := time.Now()
		if _, err := client.CoreV1().Pods(namespace).Create(b.Context(), injectionPod(namespace, "first", labels), meta.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
		*total += time.Since(began)
	}
	n := 0
	for b.Loop() {
		timed(&without, map[string]string{injection.SkipLabel: "yes"})
		timed(&with, labels)
		n++
	}
	b.ReportMetric(float64(with.Microseconds())/float64(n)/1000, "ms-with")
	b.ReportMetric(float64(without.Microseconds())/float64(n)/1000, "ms-without")
	b.ReportMetric(float64(with)/float64(without), "with/without")
}

// fill sees to it that a namespace has so many associations, one of them of the service account first.
func fill(b *testing.B, cp *kube.ControlPlane, namespace string, associations int) {
	b.Helper()
	objects, err := client.New(cp.Config(), client.Options{Scheme: scheme(b)})
	if err != nil {
		b.Fatal(err)
	}
	for i := range associations {
		name := "first"
		if i > 0 {
			name = fmt.Sprint("other-", i)
		}
		// The kind is served a moment after it is established.
		eventually(b, "an association is made", func(ctx context.Context) error {
			err := objects.Create(ctx, &v1alpha1.PodIdentityAssociation{
				ObjectMeta: meta.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.PodIdentityAssociationSpec{RoleARN: reader},
			})
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
	}
}
