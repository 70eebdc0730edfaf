package reconcile

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openpodidentity/podid/internal/certificate"
)

const (
	// Bundle is the ConfigMap that agents mount, BundleKey its key.
	Bundle    = "podid-ca"
	BundleKey = "ca.crt"
	// WebhookConfiguration is the one whose caBundle is kept.
	WebhookConfiguration = "podid"
	// AuthSecret and WebhookSecret hold what the two programs serve with.
	AuthSecret    = "podid-auth-tls"
	WebhookSecret = "podid-webhook-tls"
)

// look is how often Secrets are looked at, where a person may ask for a rotation.
const look = 10 * time.Second

// certificates keeps the certificate authority, and everything that hangs on it.
type certificates struct {
	api         client.Client
	store       certificate.Store
	rotation    certificate.Rotation
	serving     map[string][]string
	certManager bool
	log         *slog.Logger
	metrics     *Metrics
}

func (l *Leader) certificates(w *workshop) *certificates {
	c := &certificates{
		api: w.api, store: certificate.Store{API: w.api, Namespace: l.Namespace},
		rotation: l.Rotation, serving: l.Serving, certManager: l.Settings.CertManager, log: l.log(), metrics: l.Metrics,
	}
	if c.serving == nil {
		c.serving = map[string][]string{
			AuthSecret:    certificate.Hosts(l.Namespace, "podid-auth", "podid-eks"),
			WebhookSecret: certificate.Hosts(l.Namespace, "podid-webhook"),
		}
	}
	return c
}

// start has it work at once, whenever somebody takes away what was published, and now and
// then by itself.
func (c *certificates) start(w *workshop) error {
	one := func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{request(certificate.AuthoritySecret)}
	}
	return w.controller("certificates", c, atOnce(certificate.AuthoritySecret),
		others(w.published, new(corev1.ConfigMap), one),
		others(w.published, new(admissionregistrationv1.MutatingWebhookConfiguration), one))
}

// Reconcile makes the next steps that are due. Each is written down before what depends
// on it is done.
func (c *certificates) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	if c.certManager {
		return reconcile.Result{RequeueAfter: look}, c.copyBundle(ctx)
	}
	wake, err := c.keep(ctx, time.Now())
	if certificate.Lost(err) {
		return reconcile.Result{RequeueAfter: time.Second}, nil
	}
	return reconcile.Result{RequeueAfter: min(wake, look)}, err
}

func (c *certificates) keep(ctx context.Context, now time.Time) (time.Duration, error) {
	kept, err := c.store.Load(ctx)
	if err != nil {
		return 0, err
	}
	state, done, err := c.rotation.Advance(kept.State, c.store.Namespace, now, kept.Forced)
	if err != nil {
		return 0, err
	}
	if len(done) > 0 || kept.Forced {
		if kept, err = c.store.Save(ctx, kept, state); err != nil {
			return 0, err
		}
		for _, what := range done {
			c.log.Info("certificate authority", "step", what, "forced", kept.Forced)
		}
	}
	anew, err := c.publish(ctx, state.Bundle())
	if err != nil {
		// The one that issues was published before.
		return 0, errors.Join(err, c.issue(ctx, state, now))
	}
	if published, changed := state.Publish(now, anew); changed {
		if kept, err = c.store.Save(ctx, kept, published); err != nil {
			return 0, err
		}
	}
	return c.rotation.Wake(kept.State, now), c.issue(ctx, kept.State, now)
}

// issue replaces the serving certificates that are due.
func (c *certificates) issue(ctx context.Context, state certificate.State, now time.Time) error {
	issuer, ok := state.Issuer()
	if !ok {
		return nil
	}
	c.metrics.authority(issuer.Certificate.NotAfter)
	for _, secret := range slices.Sorted(maps.Keys(c.serving)) {
		present, err := c.store.Serving(ctx, secret)
		if err != nil {
			return err
		}
		why := c.rotation.Due(present, issuer, c.serving[secret], now)
		if why == "" {
			continue
		}
		fresh, err := c.rotation.Issue(issuer, c.serving[secret], now)
		if err != nil {
			return err
		}
		if err := c.store.SaveServing(ctx, secret, fresh); err != nil {
			return err
		}
		c.log.Info("certificate issued", "secret", secret, "why", why, "issuer", issuer.Certificate.Subject.CommonName)
	}
	return nil
}

// publish puts the bundle where it is read from. anew says that it was not there.
func (c *certificates) publish(ctx context.Context, bundle []byte) (anew bool, err error) {
	first, err := c.publishToAgents(ctx, bundle)
	if err != nil {
		return false, err
	}
	second, err := c.publishToAPIServer(ctx, bundle)
	return first || second, err
}

func (c *certificates) publishToAgents(ctx context.Context, bundle []byte) (bool, error) {
	present, err := c.bundle(ctx)
	if err != nil {
		return false, err
	}
	if present.Data[BundleKey] == string(bundle) {
		return false, nil
	}
	if present.UID == "" {
		present.Data = map[string]string{BundleKey: string(bundle)}
		err = c.api.Create(ctx, present, owner)
	} else {
		patch := client.MergeFrom(present.DeepCopy())
		present.Data = map[string]string{BundleKey: string(bundle)}
		err = c.api.Patch(ctx, present, patch, owner)
	}
	if err != nil {
		return false, fmt.Errorf("publish the bundle to agents: %w", err)
	}
	return true, nil
}

// bundle reads the ConfigMap; one to be created, without UID, if there is none.
func (c *certificates) bundle(ctx context.Context) (*corev1.ConfigMap, error) {
	found := new(corev1.ConfigMap)
	err := c.api.Get(ctx, types.NamespacedName{Namespace: c.store.Namespace, Name: Bundle}, found)
	if apierrors.IsNotFound(err) {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: c.store.Namespace, Name: Bundle, Labels: map[string]string{"app.kubernetes.io/part-of": "podid"},
		}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the bundle: %w", err)
	}
	return found, nil
}

// publishToAPIServer has the API server trust podid-webhook. Without a configuration there
// is nobody to trust it.
func (c *certificates) publishToAPIServer(ctx context.Context, bundle []byte) (bool, error) {
	found := new(admissionregistrationv1.MutatingWebhookConfiguration)
	err := c.api.Get(ctx, types.NamespacedName{Name: WebhookConfiguration}, found)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the webhook's configuration: %w", err)
	}
	was := found.DeepCopy()
	anew := false
	for i := range found.Webhooks {
		if to := &found.Webhooks[i].ClientConfig; !bytes.Equal(to.CABundle, bundle) {
			to.CABundle, anew = bundle, true
		}
	}
	if !anew {
		return false, nil
	}
	// Entries are merged by their names, so that what else is in them stays another's.
	if err := c.api.Patch(ctx, found, client.StrategicMergeFrom(was), owner); err != nil {
		return false, fmt.Errorf("publish the bundle to the API server: %w", err)
	}
	return true, nil
}

// copyBundle is for a cluster in which cert-manager issues: agents trust what it trusts,
// and what it did until that expires.
func (c *certificates) copyBundle(ctx context.Context) error {
	secret := new(corev1.Secret)
	err := c.api.Get(ctx, types.NamespacedName{Namespace: c.store.Namespace, Name: AuthSecret}, secret)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read secret %s: %w", AuthSecret, err)
	}
	present, err := c.bundle(ctx)
	if err != nil {
		return err
	}
	bundle := merge(secret.Data[BundleKey], []byte(present.Data[BundleKey]), time.Now())
	if len(bundle) == 0 {
		return nil
	}
	_, err = c.publishToAgents(ctx, bundle)
	return err
}

// merge is the certificates of two bundles, each once, without what has expired.
func merge(first, second []byte, now time.Time) []byte {
	var out []byte
	var seen [][]byte
	for _, text := range [][]byte{first, second} {
		for {
			var b *pem.Block
			if b, text = pem.Decode(text); b == nil {
				break
			}
			a, err := x509.ParseCertificate(b.Bytes)
			if err != nil || now.After(a.NotAfter) || slices.ContainsFunc(seen, func(raw []byte) bool { return bytes.Equal(raw, a.Raw) }) {
				continue
			}
			seen = append(seen, a.Raw)
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Raw})...)
		}
	}
	return out
}
