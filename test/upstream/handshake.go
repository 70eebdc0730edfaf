package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"time"
)

// Handshakes are faults of TLS. They are none of Faults, because they take the stream along.
func (s *Server) Handshakes() ([]*Fault, error) {
	hangs := &Fault{Name: "hangs in the TLS handshake", Handshake: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		select {
		case <-time.After(5 * time.Second):
		case <-hello.Context().Done():
		}
		return nil, errors.New("it hangs")
	}}
	faults := []*Fault{hangs}
	loopback := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	for _, c := range []struct {
		name   string
		other  bool // than the CA that the agent trusts
		ends   time.Duration
		ips    []net.IP
		domain string
	}{
		{name: "a certificate of another CA", other: true, ends: time.Hour, ips: loopback},
		{name: "a certificate that has expired", ends: -time.Minute, ips: loopback},
		{name: "a certificate of another name", ends: time.Hour, domain: "elsewhere.example"},
	} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(c.ends),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: c.ips,
		}
		if c.domain != "" {
			leaf.DNSNames = []string{c.domain}
		}
		ca, signer := s.http.Certificate(), s.http.TLS.Certificates[0].PrivateKey
		if c.other {
			ca, signer = leaf, key
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), signer)
		if err != nil {
			return nil, err
		}
		config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2"}}
		faults = append(faults, &Fault{Name: c.name, Handshake: func(*tls.ClientHelloInfo) (*tls.Config, error) { return config, nil }})
	}
	return faults, nil
}

// handshake is the server's own unless it fails in another way.
func (s *Server) handshake(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if f := s.fault.Load(); f != nil && f.Handshake != nil {
		return f.Handshake(hello)
	}
	return nil, nil
}
