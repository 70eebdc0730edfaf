package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association/annotation"
	"github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/internal/certificate"
	"github.com/openpodidentity/podid/internal/event"
	"github.com/openpodidentity/podid/internal/informer"
	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/internal/settings"
)

// Lease is the name of the Lease that says who leads.
const Lease = "podid-auth"

// owner is who the API server notes as the writer of fields.
const owner = client.FieldOwner("podid-auth")

// Leader stands for election and does its work while it is elected. Its caches are its
// own and begin to fill when it is: they hold more of a pod than the exchange needs, and
// only one replica is to pay for that.
type Leader struct {
	Config *rest.Config
	// Namespace is podid's own.
	Namespace string
	Settings  settings.Settings
	// Rotation is that of certificates; podid's own if it is zero.
	Rotation certificate.Rotation
	// Serving says which Secrets have certificates of which hosts; those of
	// podid-auth and podid-webhook if it is nil.
	Serving map[string][]string
	// Patience is how long a node may be without an agent before its pods are told; a
	// minute if zero.
	Patience time.Duration
	// Metrics, and those of the Events that it makes, may be nil.
	Metrics *Metrics
	Events  *event.Metrics
	Log     *slog.Logger
}

// Run stands for election until ctx ends, again whenever it has lost.
func (l *Leader) Run(ctx context.Context) {
	for {
		err := l.stand(ctx)
		if ctx.Err() != nil {
			return
		}
		l.log().Warn("not leading any more, standing again", "cause", fmt.Sprint(err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * time.Second):
		}
	}
}

// stand waits to be elected, and works until that ends.
func (l *Leader) stand(ctx context.Context) error {
	w, err := l.prepare()
	if err != nil {
		return fmt.Errorf("prepare to lead: %w", err)
	}
	if err := l.work(ctx, w); err != nil {
		return fmt.Errorf("prepare to lead: %w", err)
	}
	go func() {
		select {
		case <-w.manager.Elected():
			l.log().Info("leading")
			l.Metrics.lead(true)
		case <-ctx.Done():
		}
	}()
	defer l.Metrics.lead(false)
	return w.manager.Start(ctx)
}

// workshop is what the parts of the work share. Caches fill once the manager is elected;
// there is more than one, because nothing is told by a cache before all of its kinds
// could be read: what must not wait for the others has its own.
type workshop struct {
	manager manager.Manager
	// api reads from no cache.
	api client.Client
	// published holds the two objects that the bundle is in, many what there may
	// be thousands of, machines the nodes.
	published, many, machines cache.Cache
	events                    *event.Teller
	log                       *slog.Logger
}

func (l *Leader) prepare() (*workshop, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), admissionregistrationv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	limited := rest.CopyConfig(l.Config)
	// What is written is statuses and Events, a few at a time but for the first minutes.
	limited.QPS, limited.Burst = 50, 100
	w := &workshop{log: l.log()}
	var err error
	if w.api, err = client.New(limited, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	w.events = &event.Teller{API: w.api, Log: l.log(), Metrics: l.Events}
	w.manager, err = manager.New(limited, manager.Options{
		Scheme:                        scheme,
		Logger:                        logr.FromSlogHandler(l.log().Handler()),
		LeaderElection:                true,
		LeaderElectionID:              Lease,
		LeaderElectionNamespace:       l.Namespace,
		LeaderElectionReleaseOnCancel: true,
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{
			// The names of controllers are used again when this replica is elected again.
			SkipNameValidation: new(true),
			// A part that cannot read what it needs, for want of a right, goes on trying, and the others work.
			CacheSyncTimeout: 365 * 24 * time.Hour,
		},
	})
	if err != nil {
		return nil, err
	}
	many := map[client.Object]cache.ByObject{
		new(corev1.Pod):                      {Transform: trimPod},
		new(corev1.ServiceAccount):           {Transform: trimAccount},
		new(v1alpha1.PodIdentityAssociation): {Transform: trimAssociation},
	}
	annotation.Restrict(many)
	named := func(name string) fields.Selector { return fields.OneTermEqualSelector("metadata.name", name) }
	for _, one := range []struct {
		into  *cache.Cache
		kinds map[client.Object]cache.ByObject
	}{
		{&w.published, map[client.Object]cache.ByObject{
			new(corev1.ConfigMap): {Namespaces: map[string]cache.Config{l.Namespace: {FieldSelector: named(Bundle)}}},
			new(admissionregistrationv1.MutatingWebhookConfiguration): {Field: named(WebhookConfiguration)},
		}},
		{&w.many, many},
		{&w.machines, map[client.Object]cache.ByObject{new(corev1.Node): {Transform: trimNode}}},
	} {
		if *one.into, err = cache.New(limited, cache.Options{Scheme: scheme, ByObject: one.kinds, NewInformer: informer.New}); err != nil {
			return nil, err
		}
		if err = w.manager.Add(*one.into); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// work has the manager do everything there is to do once it is elected.
func (l *Leader) work(ctx context.Context, w *workshop) error {
	if err := indexPods(ctx, w.many, l.Namespace); err != nil {
		return err
	}
	examined := &pods{cached: w.many, settings: injection.SettingsOf(l.Settings, l.Namespace), events: w.events}
	parts := []func(*workshop) error{
		l.certificates(w).start,
		(&statuses{cached: w.many, api: w.api, cluster: l.Settings.Cluster, log: l.log()}).start,
		examined.start,
	}
	if !l.Settings.SigV4Agents { // AWS's own agent may be on the nodes, of which podid knows nothing
		parts = append(parts, (&agents{pods: examined, namespace: l.Namespace, patience: cmp.Or(l.Patience, time.Minute)}).start)
	}
	if l.Settings.Annotations {
		door, err := l.door(ctx, w)
		if err != nil {
			return err
		}
		examined.annotated = door
		parts = append(parts, (&accounts{cached: w.many, events: w.events}).start, l.keepRecord)
	}
	if l.Settings.StartupTaint {
		parts = append(parts, (&nodes{machines: w.machines, pods: w.many, api: w.api, namespace: l.Namespace, log: l.log()}).start)
	}
	for _, start := range parts {
		if err := start(w); err != nil {
			return err
		}
	}
	return nil
}

// door says which annotations bind roles. What guards them is asked for when it matters.
func (l *Leader) door(ctx context.Context, w *workshop) (*annotation.Door, error) {
	store, err := kube.New(ctx, w.many, w.api)
	if err != nil {
		return nil, err
	}
	return annotation.New(ctx, w.many, w.api, l.Namespace, store)
}

// keepRecord has the record kept of what was annotated before anything guarded it.
func (l *Leader) keepRecord(w *workshop) error {
	recorder := &annotation.Recorder{API: w.api, Accounts: w.many, Namespace: l.Namespace, Log: l.log()}
	return w.manager.Add(manager.RunnableFunc(func(ctx context.Context) error {
		recorder.Run(ctx)
		return nil
	}))
}

func (l *Leader) log() *slog.Logger { return cmp.Or(l.Log, slog.Default()) }
