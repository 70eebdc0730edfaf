//go:build unix

package kube_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/certificate"
	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/internal/reconcile"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rotate forces a rotation while pods are made that must not go without, and while an agent whose bundle is old
// connects to podid-auth's certificate, all the time.
func (w *installed) rotate(t *testing.T) {
	source, err := certificate.Follow(w.as(t, "podid-auth"), podidNamespace, reconcile.AuthSecret)
	if err != nil {
		t.Fatal(err)
	}
	go source.Run(t.Context())
	eventually(t, "podid-auth has a certificate", func(context.Context) error { return source.Ready() })
	server := serveTLS(t, source)

	before, auth := w.bundle(t.Context()), servedBy(server)
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer func() { stop(); all.Wait() }()
	var pods, connections int
	all.Go(func() {
		for ; ctx.Err() == nil; pods++ {
			pod := injectionPod("shop", "first", map[string]string{injection.RequireLabel: "true"})
			got, err := w.client.CoreV1().Pods("shop").Create(ctx, pod, meta.CreateOptions{DryRun: []string{meta.DryRunAll}})
			if err == nil {
				err = injected(got)
			}
			if err != nil && ctx.Err() == nil {
				t.Errorf("pod %d: %v", pods, err)
				return
			}
		}
	})
	all.Go(func() {
		for ; ctx.Err() == nil; connections++ {
			// The kubelet is slow: what it brought is two seconds old, of three that a new authority waits.
			bundle := w.bundle(ctx)
			for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; {
				if err := connect(server, bundle); err != nil && ctx.Err() == nil {
					t.Errorf("connection %d: %v", connections, err)
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
	})

	w.kubectl(t, "annotate", "secret", certificate.AuthoritySecret, "-n", podidNamespace, certificate.RotateAnnotation+"=now")
	eventually(t, "podid-auth serves with a certificate of the new authority", func(context.Context) error {
		if servedBy(server) == auth {
			return errors.New("not yet")
		}
		return nil
	})
	time.Sleep(3 * time.Second) // and everybody has met it
	after := w.bundle(t.Context())
	if !bytes.Contains(after, before) || bytes.Count(after, []byte("BEGIN")) != bytes.Count(before, []byte("BEGIN"))+1 {
		t.Errorf("the bundle has not the old and the new authority:\n%s\n%s", before, after)
	}
	if out := w.kubectl(t, "get", "secret", certificate.AuthoritySecret, "-n", podidNamespace, "-o", "jsonpath={.metadata.annotations}"); strings.Contains(out, certificate.RotateAnnotation) {
		t.Errorf("the annotation is still there: %s", out)
	}
	stop()
	all.Wait()
	t.Logf("%d pods, %d bundles", pods, connections)
	if pods < 10 {
		t.Errorf("only %d pods were made", pods)
	}
}

func (w *installed) bundle(ctx context.Context) []byte {
	found, err := w.client.CoreV1().ConfigMaps(podidNamespace).Get(ctx, reconcile.Bundle, meta.GetOptions{})
	if err != nil {
		return nil
	}
	return []byte(found.Data[reconcile.BundleKey])
}

func serveTLS(t *testing.T, source *certificate.Source) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", source.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.(*tls.Conn).Handshake()
				_, _ = conn.Write([]byte("ok"))
			}()
		}
	}()
	return l.Addr().String()
}

// connect does what an agent does.
func connect(address string, bundle []byte) error {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return fmt.Errorf("no bundle: %q", bundle)
	}
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{RootCAs: roots, ServerName: "podid-auth.podid-system.svc"}}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// servedBy is the name of the authority that the certificate served is of.
func servedBy(address string) string {
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return ""
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Issuer.CommonName
}

// putBack takes away what the leader published, and waits for it.
func (w *installed) putBack(t *testing.T) {
	before := w.bundle(t.Context())
	w.kubectl(t, "delete", "configmap", reconcile.Bundle, "-n", podidNamespace)
	eventually(t, "the ConfigMap is there again", func(ctx context.Context) error {
		if !bytes.Equal(w.bundle(ctx), before) {
			return errors.New("not yet")
		}
		return nil
	})
	w.kubectl(t, "patch", "mutatingwebhookconfiguration", "podid", "--type=json", "-p", `[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`)
	eventually(t, "the API server trusts the webhook again", func(ctx context.Context) error {
		found, err := w.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, reconcile.WebhookConfiguration, meta.GetOptions{})
		if err != nil {
			return err
		}
		for _, entry := range found.Webhooks {
			if !bytes.Equal(entry.ClientConfig.CABundle, before) {
				return fmt.Errorf("%s: not yet", entry.Name)
			}
		}
		return nil
	})
	w.kubectl(t, "delete", "secret", reconcile.WebhookSecret, "-n", podidNamespace)
	eventually(t, "the webhook's Secret is there again", func(ctx context.Context) error {
		_, err := w.client.CoreV1().Secrets(podidNamespace).Get(ctx, reconcile.WebhookSecret, meta.GetOptions{})
		return err
	})
}

// certManager plays cert-manager: it fills podid-auth's Secret, and the leader only passes on what agents are to trust.
func (w *installed) certManager(t *testing.T) {
	kept, err := w.client.CoreV1().Secrets(podidNamespace).Get(t.Context(), certificate.AuthoritySecret, meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.kubectl(t, "delete", "configmap", reconcile.Bundle, "-n", podidNamespace)
	w.settings.CertManager = true
	w.lead(t, time.Second)
	var bundles [][]byte
	for range 2 {
		issued, _, err := certificate.Rotation{}.Advance(certificate.State{}, podidNamespace, time.Now(), false)
		if err != nil {
			t.Fatal(err)
		}
		bundles = append(bundles, issued.Bundle())
		secret, err := w.client.CoreV1().Secrets(podidNamespace).Get(t.Context(), reconcile.AuthSecret, meta.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		secret.Data["ca.crt"] = issued.Bundle()
		if _, err := w.client.CoreV1().Secrets(podidNamespace).Update(t.Context(), secret, meta.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "agents trust what cert-manager does, and what it did", func(ctx context.Context) error {
			for _, want := range bundles {
				if !bytes.Contains(w.bundle(ctx), want) {
					return errors.New("not yet")
				}
			}
			return nil
		})
	}
	now, err := w.client.CoreV1().Secrets(podidNamespace).Get(t.Context(), certificate.AuthoritySecret, meta.GetOptions{})
	if err != nil || now.ResourceVersion != kept.ResourceVersion {
		t.Errorf("podid's own authority was touched: %v", err)
	}
}
