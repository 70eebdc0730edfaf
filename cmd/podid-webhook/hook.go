package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association/annotation"
	"github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/internal/certificate"
	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/internal/settings"
	"github.com/openpodidentity/podid/problem"

	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// hook is the webhook and what it becomes ready by: the cluster's settings, a
// certificate, and the associations. Until it is ready nobody is sent here; who comes
// all the same is told 503, and the failure policy of the entry decides.
type hook struct {
	options     options
	config      *rest.Config
	certificate *certificate.Source
	metrics     *injection.Metrics
	log         *slog.Logger

	draining atomic.Bool
	webhook  atomic.Pointer[injection.Webhook]
	// state is why it is not ready, and nil once it is.
	state atomic.Pointer[problem.Problem]
}

func newHook(o options, config *rest.Config, registry prometheus.Registerer, log *slog.Logger) (*hook, error) {
	source, err := certificate.Follow(config, o.namespace, o.secret)
	if err != nil {
		return nil, err
	}
	source.Log = log
	h := &hook{options: o, config: config, certificate: source, metrics: injection.NewMetrics(registry), log: log}
	h.state.Store(starting())
	return h, nil
}

func starting() *problem.Problem {
	return problem.New(problem.ClusterUnavailable, "the associations have not been read yet").
		Because("podid-webhook has just started, or the API server does not answer")
}

// ready is what keeps it from answering.
func (h *hook) ready() error {
	if h.draining.Load() {
		return problem.New(problem.ClusterUnavailable, "podid-webhook is about to end").Because("")
	}
	if p := h.state.Load(); p != nil {
		return p
	}
	return h.certificate.Ready()
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch webhook := h.webhook.Load(); {
	case r.URL.Path != "/inject":
		http.NotFound(w, r)
	case webhook == nil:
		http.Error(w, problem.Of(h.state.Load()).Message(), http.StatusServiceUnavailable)
	default:
		webhook.ServeHTTP(w, r)
	}
}

// run becomes ready, and ends with ctx.
func (h *hook) run(ctx context.Context) error {
	go h.certificate.Run(ctx)
	set, err := h.settings(ctx)
	if err != nil {
		return err
	}
	for {
		err := h.follow(ctx, set)
		if ctx.Err() != nil {
			return nil
		}
		h.log.Warn("the API server cannot be followed, trying again", "cause", fmt.Sprint(err))
		pause(ctx)
	}
}

// settings reads them until they are complete.
func (h *hook) settings(ctx context.Context) (settings.Settings, error) {
	told := false
	for {
		set, err := settings.Read(h.options.settings)
		if err == nil {
			h.state.Store(starting())
			return set, nil
		}
		if !problem.Is(err, problem.ConfigurationMissing) {
			return set, err
		}
		if h.state.Store(problem.Of(err)); !told {
			told = true
			h.log.Warn("not ready", "code", problem.ConfigurationMissing, "what", problem.Of(err).What)
		}
		if pause(ctx); ctx.Err() != nil {
			return set, nil
		}
	}
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
	}
}

// follow answers by what the API server tells, until ctx ends.
func (h *hook) follow(ctx context.Context, set settings.Settings) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), admissionregistrationv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	kinds := map[client.Object]cache.ByObject{
		new(v1alpha1.PodIdentityAssociation): {Transform: kube.Trim},
		new(corev1.ServiceAccount):           {Transform: trimAccount},
	}
	annotation.Restrict(kinds)
	informers, err := cache.New(h.config, cache.Options{Scheme: scheme, ByObject: kinds})
	if err != nil {
		return err
	}
	api, err := client.New(h.config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	// Asked for before the start, or the first pod would wait for it.
	if _, err := informers.GetInformer(ctx, new(corev1.ServiceAccount), cache.BlockUntilSynced(false)); err != nil {
		return err
	}
	store, err := kube.New(ctx, informers, api)
	if err != nil {
		return err
	}
	store.Log = h.log
	webhook := &injection.Webhook{
		Associations: store, ServiceAccounts: &accounts{cached: informers, api: api},
		Settings: injection.SettingsOf(set, h.options.namespace), Metrics: h.metrics, Log: h.log,
	}
	synced := store.Synced
	if set.Annotations {
		door, err := annotation.New(ctx, informers, api, h.options.namespace, store)
		if err != nil {
			return err
		}
		door.Log = h.log
		webhook.Associations = door
		synced = func() bool { return store.Synced() && door.Synced() }
		go door.Follow(ctx)
	}
	go func() {
		if !informers.WaitForCacheSync(ctx) || !until(ctx, synced) {
			return
		}
		h.webhook.Store(webhook)
		h.state.Store(nil)
		h.log.Info("ready", "annotations", set.Annotations, "irsa", set.IRSA, "ipv6", set.IPv6, "region", set.Cluster.Region)
	}()
	return informers.Start(ctx)
}

// until waits for a condition; false if ctx ends before.
func until(ctx context.Context, holds func() bool) bool {
	ticks := time.NewTicker(50 * time.Millisecond)
	defer ticks.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return false
		case <-ticks.C:
		}
	}
	return true
}
