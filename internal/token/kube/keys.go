package kube

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"k8s.io/client-go/rest"

	"github.com/openpodidentity/podid/internal/token"
)

// maxDocument bounds what is read of an answer, in bytes.
const maxDocument = 1 << 20

// Discovery reads what an API server publishes of its token issuer
// (https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery).
type Discovery struct {
	server *url.URL
	http   *http.Client
}

// NewDiscovery asks the API server of config.
func NewDiscovery(config *rest.Config) (*Discovery, error) {
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	return &Discovery{server, client}, nil
}

// Issuer is the iss of the cluster's tokens.
func (d *Discovery) Issuer(ctx context.Context) (string, error) {
	text, err := d.get(ctx, "/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}
	return token.ParseDiscovery(text)
}

// JWKS is the keys of the cluster's tokens, fit for token.Remote. The document that the
// issuer's own address leads to is not read: it may be elsewhere, and out of reach.
func (d *Discovery) JWKS(ctx context.Context) ([]byte, error) { return d.get(ctx, "/openid/v1/jwks") }

func (d *Discovery) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.server.JoinPath(path).String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := d.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the API server answers %s with %s", path, response.Status)
	case len(text) > maxDocument:
		return nil, fmt.Errorf("the API server's answer to %s is longer than %d bytes", path, maxDocument)
	}
	return text, nil
}
