package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/openpodidentity/podid/problem"
)

// looksEvery bounds how often a file is looked at: the kubelet changes mounted
// files once in minutes.
const looksEvery = time.Second

// certificates are those of a file, read again when it changes. A file that cannot be
// read any more leaves those that were read last.
type certificates struct {
	file string

	mu      sync.Mutex
	looked  time.Time
	changed time.Time // the file's own time
	pool    *x509.CertPool
}

func (c *certificates) get() (*x509.CertPool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pool != nil && time.Since(c.looked) < looksEvery {
		return c.pool, nil
	}
	c.looked = time.Now()
	pool, changed, err := c.read()
	if pool != nil {
		c.pool, c.changed = pool, changed
	}
	if c.pool == nil {
		return nil, problem.New(problem.AuthUnavailable, "the certificates in %s cannot be used", c.file).
			Because("the agent knows podid-auth by them").
			Fixed("look at the ConfigMap podid-ca, which podid-auth keeps, and its volume").From(err)
	}
	return c.pool, nil
}

// read returns nil if the file is as it was.
func (c *certificates) read() (*x509.CertPool, time.Time, error) {
	info, err := os.Stat(c.file)
	if err != nil {
		return nil, time.Time{}, err
	}
	if c.pool != nil && info.ModTime().Equal(c.changed) {
		return nil, time.Time{}, nil
	}
	text, err := os.ReadFile(c.file)
	if err != nil {
		return nil, time.Time{}, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, time.Time{}, problem.New(problem.ConfigurationInvalid, "%s holds no certificate", c.file)
	}
	return pool, info.ModTime(), nil
}

// config verifies a server of this name by the certificates of now: a standard
// configuration would hold those of the start.
func (c *certificates) config(name string) *tls.Config {
	return &tls.Config{
		ServerName:         name,
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does all that it switches off
		VerifyConnection: func(state tls.ConnectionState) error {
			pool, err := c.get()
			if err != nil {
				return err
			}
			options := x509.VerifyOptions{Roots: pool, DNSName: name, Intermediates: x509.NewCertPool()}
			if len(state.PeerCertificates) == 0 || name == "" { // without a name none would be checked
				return errors.New("the server shows no certificate, or its name is not known")
			}
			for _, certificate := range state.PeerCertificates[1:] {
				options.Intermediates.AddCert(certificate)
			}
			_, err = state.PeerCertificates[0].Verify(options)
			return err
		},
	}
}

// file is one that is read again for each use: tokens are short, and the kubelet
// replaces them.
type file string

func (f file) read() (string, error) {
	text, err := os.ReadFile(string(f))
	return string(bytes.TrimSpace(text)), err
}
