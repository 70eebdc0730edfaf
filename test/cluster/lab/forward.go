package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var forwarding = regexp.MustCompile(`Forwarding from 127\.0\.0\.1:(\d+) `)

// Forward forwards a free port of this machine, which it returns, to podid's object's, as kubectl does.
func (l *Lab) Forward(ctx context.Context, object string, port int) (local string, stop func(), err error) {
	cmd := l.Kubectl(ctx, "port-forward", "-n", Namespace, object, ":"+strconv.Itoa(port))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := forwarding.FindStringSubmatch(lines.Text()); m != nil {
			return m[1], stop, nil
		}
	}
	stop()
	return "", nil, fmt.Errorf("kubectl port-forward %s ended", object)
}

// roots are the authorities that podid's programs serve by.
func (l *Lab) roots(ctx context.Context) (*x509.CertPool, error) {
	bundle, err := l.Client.CoreV1().ConfigMaps(Namespace).Get(ctx, "podid-ca", meta.GetOptions{})
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(bundle.Data["ca.crt"])) {
		return nil, errors.New("the ConfigMap podid-ca holds no certificate")
	}
	return roots, nil
}

// TLSClient is a client of what podid serves, at a port that Forward gave.
func (l *Lab) TLSClient(ctx context.Context) (*http.Client, error) {
	roots, err := l.roots(ctx)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}, err
}
