package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"slices"
	"time"
)

// Serving is a certificate that a program serves with, as a Secret of type
// kubernetes.io/tls has it: in PEM.
type Serving struct{ Certificate, Key []byte }

// Issue makes a serving certificate for hosts, names and addresses. It does not outlive
// its authority.
func (r Rotation) Issue(authority Authority, hosts []string, now time.Time) (Serving, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Serving{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: hosts[0]},
		NotBefore:    now.Add(-skew),
		NotAfter:     now.Add(r.serving()),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if authority.Certificate.NotAfter.Before(template.NotAfter) {
		template.NotAfter = authority.Certificate.NotAfter
	}
	template.DNSNames, template.IPAddresses = split(hosts)
	raw, err := x509.CreateCertificate(rand.Reader, template, authority.Certificate, key.Public(), authority.Key)
	if err != nil {
		return Serving{}, fmt.Errorf("issue certificate of %s: %w", hosts[0], err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	return Serving{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}),
	}, err
}

// Due says why a serving certificate is to be replaced; nothing if it is not.
func (r Rotation) Due(s Serving, authority Authority, hosts []string, now time.Time) string {
	pair, err := tls.X509KeyPair(s.Certificate, s.Key)
	if err != nil {
		return "there is none that can be read"
	}
	leaf := pair.Leaf
	names, addresses := split(hosts)
	switch {
	case leaf.CheckSignatureFrom(authority.Certificate) != nil:
		return "another authority issues now"
	case !slices.Equal(leaf.DNSNames, names), !slices.EqualFunc(leaf.IPAddresses, addresses, net.IP.Equal):
		return "it is for other names"
	case !now.Before(renewal(leaf.NotBefore, leaf.NotAfter)):
		return "two thirds of its life are over"
	case now.Before(leaf.NotBefore):
		return "it is not valid yet"
	}
	return ""
}

func split(hosts []string) (names []string, addresses []net.IP) {
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			addresses = append(addresses, ip)
		} else {
			names = append(names, host)
		}
	}
	return names, addresses
}

// Hosts are the names by which the services of a namespace are reached, and what a
// port-forward makes of them.
func Hosts(namespace string, services ...string) []string {
	hosts := make([]string, 0, len(services)+3)
	for _, service := range services {
		hosts = append(hosts, service+"."+namespace+".svc")
	}
	return append(hosts, "localhost", "127.0.0.1", "::1")
}
