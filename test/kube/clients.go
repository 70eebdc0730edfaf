//go:build unix

package kube

import (
	"context"
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// What a test reaches a control plane with, and looks into it by.

// Config is an administrator's (system:masters) client configuration, without a rate limit.
func (cp *ControlPlane) Config() *rest.Config { return restConfig(cp.server, cp.ca.pem, cp.admin) }

// ConfigFor is a client configuration for a user in groups, whom RBAC may give rights.
func (cp *ControlPlane) ConfigFor(user string, groups ...string) (*rest.Config, error) {
	issued, err := cp.ca.client(user, groups...)
	if err != nil {
		return nil, err
	}
	return restConfig(cp.server, cp.ca.pem, issued), nil
}

// Kubeconfig is the path of an administrator's kubeconfig, for programs on this machine.
func (cp *ControlPlane) Kubeconfig() string { return cp.run.file("admin.kubeconfig") }

// Kubectl is kubectl, of the API server's own version, with the administrator's kubeconfig.
func (cp *ControlPlane) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, cp.kubebox, append([]string{"kubectl"}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+cp.Kubeconfig())
	endWithUs(cmd)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// URL is the API server's address for programs on this machine.
func (cp *ControlPlane) URL() string { return cp.server }

// CA is the certificate, in PEM, that the API server's is issued by.
func (cp *ControlPlane) CA() []byte { return slices.Clone(cp.ca.pem) }

// Issuer is the iss of the tokens of this cluster.
func (cp *ControlPlane) Issuer() string { return cp.options.Issuer }

// JWKS fetches the keys that tokens of this cluster are verified with.
func (cp *ControlPlane) JWKS(ctx context.Context) ([]byte, error) {
	client, err := rest.HTTPClientFor(cp.Config())
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	return get(ctx, client, cp.server+"/openid/v1/jwks")
}

// ServingCertificate is issued by CA, for a webhook of the test to serve with; hosts are
// names and addresses.
func (cp *ControlPlane) ServingCertificate(hosts ...string) (tls.Certificate, error) {
	issued, err := cp.ca.server("webhook", hosts...)
	if err != nil {
		return tls.Certificate{}, err
	}
	return issued.tls()
}

// Log is what a program has logged so far: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.
func (cp *ControlPlane) Log(program string) (string, error) {
	text, err := os.ReadFile(cp.run.file(filepath.Base(program) + ".log"))
	return string(text), err
}

// Tails is the end of every log, for a person who looks for the reason of a failure.
func (cp *ControlPlane) Tails() string {
	logs, _ := filepath.Glob(cp.run.file("*.log"))
	var out strings.Builder
	for _, log := range logs {
		out.WriteString(tail(log))
	}
	return out.String()
}
