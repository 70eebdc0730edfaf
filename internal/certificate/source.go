package certificate

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/openpodidentity/podid/internal/informer"
	"github.com/openpodidentity/podid/problem"
)

// Source is the certificate in a Secret, as tls.Config's GetCertificate wants it. It
// follows the Secret through the API server: a mounted one would be a minute late. What it
// has it keeps, while the API server is away or the Secret is.
type Source struct {
	// Log is told of each certificate, and of what is none; slog.Default unless it is set.
	Log *slog.Logger

	name     string
	informer cache.Controller
	current  atomic.Pointer[tls.Certificate]
}

// Follow returns the source of the certificate in a Secret. It needs get, list and watch
// on that one Secret. Nothing happens until Run.
func Follow(config *rest.Config, namespace, secret string) (*Source, error) {
	api, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("follow secret %s: %w", secret, err)
	}
	s := &Source{Log: slog.Default(), name: namespace + "/" + secret}
	_, s.informer = cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: informer.Patient(cache.NewListWatchFromClient(api.RESTClient(), "secrets", namespace, fields.OneTermEqualSelector("metadata.name", secret))),
		ObjectType:    new(corev1.Secret),
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    s.take,
			UpdateFunc: func(_, given any) { s.take(given) },
		},
	})
	return s, nil
}

// Run follows the Secret until ctx ends.
func (s *Source) Run(ctx context.Context) { s.informer.RunWithContext(ctx) }

func (s *Source) take(given any) {
	secret, ok := given.(*corev1.Secret)
	if !ok {
		return
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		s.Log.Warn("the certificate cannot be used", "secret", s.name, "cause", err)
		return
	}
	s.current.Store(&pair)
	s.Log.Info("certificate", "secret", s.name, "serial", pair.Leaf.SerialNumber.String(), "issuer", pair.Leaf.Issuer.CommonName, "until", pair.Leaf.NotAfter)
}

// GetCertificate is for a tls.Config.
func (s *Source) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if pair := s.current.Load(); pair != nil {
		return pair, nil
	}
	return nil, s.missing()
}

// Ready says what keeps the certificate from being served with: certificate-missing,
// certificate-invalid.
func (s *Source) Ready() error {
	pair := s.current.Load()
	if pair == nil {
		return s.missing()
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) {
		return problem.New(problem.CertificateInvalid, "the certificate in the Secret %s has expired", s.name).
			Because("it was valid until %s, and nobody has replaced it", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

func (s *Source) missing() error {
	return problem.New(problem.CertificateMissing, "there is no certificate in the Secret %s", s.name)
}

// Config serves with the certificate, over HTTP/2 and HTTP/1.1.
func (s *Source) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.GetCertificate, NextProtos: []string{"h2", "http/1.1"}}
}
