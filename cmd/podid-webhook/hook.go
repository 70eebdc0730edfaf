package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/cmd/internal/replica"
	"github.com/openpodidentity/podid/internal/association/annotation"
	"github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/internal/informer"
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
	*replica.Replica
	metrics *injection.Metrics
	webhook atomic.Pointer[injection.Webhook]
}

func newHook(o replica.Options, config *rest.Config, registry prometheus.Registerer, log *slog.Logger) (*hook, error) {
	base, err := replica.New(o, config, starting(), log)
	if err != nil {
		return nil, err
	}
	return &hook{Replica: base, metrics: injection.NewMetrics(registry)}, nil
}

func starting() *problem.Problem {
	return problem.New(problem.ClusterUnavailable, "the associations have not been read yet").
		Because("podid-webhook has just started, or the API server does not answer")
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch webhook := h.webhook.Load(); {
	case r.URL.Path != "/inject":
		http.NotFound(w, r)
	case webhook == nil:
		h.NotYet(w)
	default:
		webhook.ServeHTTP(w, r)
	}
}

// run becomes ready, and ends with ctx.
func (h *hook) run(ctx context.Context) error {
	go h.Certificate.Run(ctx)
	set, err := h.settings(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	h.Follow(ctx, func(ctx context.Context) error { return h.follow(ctx, set) })
	return nil
}

// settings reads them until they are complete.
func (h *hook) settings(ctx context.Context) (settings.Settings, error) {
	read := func() (settings.Settings, error) { return settings.Read(h.Settings) }
	return replica.Get(ctx, h.Replica, "settings", read, problem.ConfigurationMissing)
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
	informers, err := cache.New(h.Config, cache.Options{Scheme: scheme, ByObject: kinds, NewInformer: informer.New})
	if err != nil {
		return err
	}
	api, err := client.New(h.Config, client.Options{Scheme: scheme})
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
	store.Log = h.Log
	webhook := &injection.Webhook{
		Associations: store, ServiceAccounts: &accounts{cached: informers, api: api},
		Settings: injection.SettingsOf(set, h.Namespace), Metrics: h.metrics, Log: h.Log,
	}
	synced := store.Synced
	if set.Annotations {
		door, err := annotation.New(ctx, informers, api, h.Namespace, store)
		if err != nil {
			return err
		}
		door.Log = h.Log
		webhook.Associations = door
		synced = func() bool { return store.Synced() && door.Synced() }
		go door.Follow(ctx)
	}
	go func() {
		if !informers.WaitForCacheSync(ctx) || !replica.Until(ctx, synced) {
			return
		}
		h.webhook.Store(webhook)
		h.WaitFor(nil)
		h.Log.Info("ready", "annotations", set.Annotations, "irsa", set.IRSA, "ipv6", set.IPv6, "region", set.Cluster.Region)
	}()
	return informers.Start(ctx)
}
