package sandbox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/openpodidentity/podid/internal/journal"
)

// authority is the world's own certificate authority. It lives as long as the
// data directory, so that a CA bundle a client was given goes on working.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

type storedAuthority struct{ Certificate, Key []byte }

func loadAuthority(j *journal.Journal, now time.Time) (*authority, error) {
	stored, err := kept(j, "world/authority", func() (storedAuthority, error) { return newAuthority(now) })
	if err != nil {
		return nil, fmt.Errorf("load certificate authority: %w", err)
	}
	certificate, err := x509.ParseCertificate(stored.Certificate)
	if err != nil {
		return nil, fmt.Errorf("parse certificate authority: %w", err)
	}
	key, err := x509.ParseECPrivateKey(stored.Key)
	if err != nil {
		return nil, fmt.Errorf("parse certificate authority's key: %w", err)
	}
	return &authority{certificate, key}, nil
}

func newAuthority(now time.Time) (storedAuthority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return storedAuthority{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "podid local"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
		// A CA that leaks from a laptop must be good for nothing but the laptop.
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         []string{"localhost"},
		PermittedIPRanges: []*net.IPNet{
			{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)},
			{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
		},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return storedAuthority{}, err
	}
	encoded, err := x509.MarshalECPrivateKey(key)
	return storedAuthority{certificate, encoded}, err
}

// server is a TLS configuration for loopback names, valid for a year.
func (a *authority) server(now time.Time) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost", "*.localhost", "*.s3.localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}},
	}, nil
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// bundle is the authority's certificate as a client's CA bundle (PEM).
func (a *authority) bundle() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[0] &= 0x7f           // RFC 5280 §4.1.2.2: positive, at most 20 octets
	return new(big.Int).SetBytes(b[:])
}
