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
	"github.com/openpodidentity/podid/internal/certificate"
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
	// Metrics may be nil.
	Metrics *Metrics
	Log     *slog.Logger
}

// Run stands for election until ctx ends, again whenever it has lost.
func (l *Leader) Run(ctx context.Context) error {
	for {
		err := l.stand(ctx)
		if ctx.Err() != nil {
			return nil
		}
		l.log().Warn("not leading any more, standing again", "cause", fmt.Sprint(err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(2 * time.Second):
		}
	}
}

// stand waits to be elected, and works until that ends.
func (l *Leader) stand(ctx context.Context) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), admissionregistrationv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	kube := rest.CopyConfig(l.Config)
	// What is written is statuses and Events, a few at a time but for the first minutes.
	kube.QPS, kube.Burst = 50, 100
	m, err := manager.New(kube, manager.Options{
		Scheme:                        scheme,
		Logger:                        logr.FromSlogHandler(l.log().Handler()),
		LeaderElection:                true,
		LeaderElectionID:              Lease,
		LeaderElectionNamespace:       l.Namespace,
		LeaderElectionReleaseOnCancel: true,
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		Cache:                         l.cached(),
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{
			new(corev1.Secret), new(corev1.ConfigMap), new(admissionregistrationv1.MutatingWebhookConfiguration),
		}}},
		// The names of controllers are used again when this replica is elected again.
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		return fmt.Errorf("prepare to lead: %w", err)
	}
	if err := l.work(ctx, m); err != nil {
		return err
	}
	go func() {
		select {
		case <-m.Elected():
			l.log().Info("leading")
			l.Metrics.lead(true)
		case <-ctx.Done():
		}
	}()
	defer l.Metrics.lead(false)
	return m.Start(ctx)
}

// work has the manager do everything there is to do once it is elected.
func (l *Leader) work(ctx context.Context, m manager.Manager) error {
	tell := &events{api: m.GetClient(), log: l.log(), metrics: l.Metrics}
	parts := []func(manager.Manager) error{
		l.certificates(m).start,
		(&statuses{api: m.GetClient(), cluster: l.Settings.Cluster, log: l.log()}).start,
	}
	if err := indexPods(ctx, m, l.Namespace); err != nil {
		return err
	}
	parts = append(parts, (&pods{api: m.GetClient(), settings: l.Settings, namespace: l.Namespace, events: tell}).start)
	if l.Settings.Annotations {
		parts = append(parts, (&accounts{api: m.GetClient(), events: tell}).start, l.keepRecord)
	}
	if l.Settings.StartupTaint {
		parts = append(parts, (&nodes{api: m.GetClient(), namespace: l.Namespace, log: l.log()}).start)
	}
	for _, start := range parts {
		if err := start(m); err != nil {
			return fmt.Errorf("prepare to lead: %w", err)
		}
	}
	return nil
}

// keepRecord has the record kept of what was annotated before anything guarded it.
func (l *Leader) keepRecord(m manager.Manager) error {
	api, err := client.New(m.GetConfig(), client.Options{Scheme: m.GetScheme(), HTTPClient: m.GetHTTPClient()})
	if err != nil {
		return err
	}
	recorder := &annotation.Recorder{API: api, Accounts: m.GetClient(), Namespace: l.Namespace, Log: l.log()}
	return m.Add(manager.RunnableFunc(func(ctx context.Context) error {
		recorder.Run(ctx)
		return nil
	}))
}

// cached says what is kept of what is read: of single objects those alone, and of
// the many what somebody looks at.
func (l *Leader) cached() cache.Options {
	named := func(name string) fields.Selector { return fields.OneTermEqualSelector("metadata.name", name) }
	return cache.Options{ByObject: map[client.Object]cache.ByObject{
		new(corev1.Pod):                      {Transform: trimPod},
		new(corev1.ServiceAccount):           {Transform: trimAccount},
		new(corev1.Node):                     {Transform: trimNode},
		new(v1alpha1.PodIdentityAssociation): {Transform: trimAssociation},
		new(corev1.ConfigMap):                {Namespaces: map[string]cache.Config{l.Namespace: {FieldSelector: named(Bundle)}}},
		new(admissionregistrationv1.MutatingWebhookConfiguration): {Field: named(WebhookConfiguration)},
	}}
}

func (l *Leader) log() *slog.Logger { return cmp.Or(l.Log, slog.Default()) }
