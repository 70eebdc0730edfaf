package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Authority is a certificate authority and how far it has come.
type Authority struct {
	Certificate *x509.Certificate
	// Key is nil once it is retired: it issues nothing any more.
	Key *ecdsa.PrivateKey
	// Published is since when it is in the bundle, zero while it is not.
	Published time.Time
	// Retired is when the next one took over, zero until then.
	Retired time.Time
}

// skew is how far the clock of whoever verifies may be behind ours.
const skew = time.Hour

// newAuthority makes an authority for the services of a namespace. Whoever steals its key
// can pretend to be podid's services, and nobody else.
func newAuthority(namespace string, life time.Duration, now time.Time) (Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Authority{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		// The time tells authorities apart for people, and for libraries that look an issuer up by its name.
		Subject:                     pkix.Name{CommonName: "podid " + now.UTC().Format(time.RFC3339)},
		NotBefore:                   now.Add(-skew),
		NotAfter:                    now.Add(life),
		IsCA:                        true,
		BasicConstraintsValid:       true,
		MaxPathLenZero:              true,
		KeyUsage:                    x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         []string{namespace + ".svc", "localhost"},
		PermittedIPRanges: []*net.IPNet{
			{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)},
			{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
		},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Authority{}, fmt.Errorf("make certificate authority: %w", err)
	}
	certificate, err := x509.ParseCertificate(raw)
	return Authority{Certificate: certificate, Key: key}, err
}

func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[0] &= 0x7f           // RFC 5280 §4.1.2.2: positive, at most 20 octets
	return new(big.Int).SetBytes(b[:])
}

func encode(certificate *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
}
