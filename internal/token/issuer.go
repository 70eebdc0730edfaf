package token

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/openpodidentity/podid"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
)

// Issuer signs service-account tokens as a Kubernetes API server does: RS256,
// with the claims that bind a token to its pod. It is the cluster's signer where
// there is no cluster, in the local world and in tests.
type Issuer struct {
	url    string
	key    *rsa.PrivateKey
	public jose.JSONWebKey
	signer jose.Signer
}

// NewIssuer makes an issuer with a new key of 2048 bits. url is the tokens' "iss".
func NewIssuer(url string) (*Issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("generate issuer key: %w", err)
	}
	return issuer(url, key)
}

// ParseIssuer makes an issuer with the key that PEM returned.
func ParseIssuer(url string, text []byte) (*Issuer, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemType {
		return nil, errors.New("parse issuer key: no PEM block " + pemType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse issuer key: %w", err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok || key.N.BitLen() < 2048 {
		return nil, errors.New("parse issuer key: not an RSA key of 2048 bits or more")
	}
	return issuer(url, key)
}

const pemType = "PRIVATE KEY"

func issuer(url string, key *rsa.PrivateKey) (*Issuer, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("marshal issuer key: %w", err)
	}
	sum := sha256.Sum256(der)
	id := base64.RawURLEncoding.EncodeToString(sum[:]) // as Kubernetes derives it
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		return nil, fmt.Errorf("make token signer: %w", err)
	}
	return &Issuer{
		url: url, key: key, signer: signer,
		public: jose.JSONWebKey{Key: key.Public(), KeyID: id, Algorithm: string(jose.RS256), Use: "sig"},
	}, nil
}

// URL is the tokens' "iss".
func (i *Issuer) URL() string { return i.url }

// PEM is the private key in PKCS #8, for ParseIssuer. It is a secret.
func (i *Issuer) PEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		panic("token: marshal an RSA key: " + err.Error()) // cannot happen for a key of NewIssuer or ParseIssuer
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
}

// KeySet is the public key, as an API server publishes it at /openid/v1/jwks.
func (i *Issuer) KeySet() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{i.public}}
}

// Keys finds the public key, for Verifier.Keys.
func (i *Issuer) Keys(_ context.Context, keyID string) (jose.JSONWebKey, bool, error) {
	return i.public, keyID == i.public.KeyID, nil
}

// Mint signs a token of w for one audience, valid from issuedAt for lifetime.
// w.Issuer is not read: tokens are this issuer's. Without w.Pod the token is
// bound to no pod, as `kubectl create token` makes it.
func (i *Issuer) Mint(w podid.Workload, audience string, issuedAt time.Time, lifetime time.Duration) (string, error) {
	c := claims{
		Issuer:    i.url,
		Subject:   w.Subject(),
		Audience:  jwt.Audience{audience},
		Expires:   jwt.NewNumericDate(issuedAt.Add(lifetime)),
		NotBefore: jwt.NewNumericDate(issuedAt),
		IssuedAt:  jwt.NewNumericDate(issuedAt),
		ID:        uuid.NewString(),
		Kubernetes: &kubernetes{
			Namespace:      w.Namespace,
			ServiceAccount: reference{w.ServiceAccount, w.ServiceAccountUID},
		},
	}
	if w.Pod != "" {
		c.Kubernetes.Pod = &reference{w.Pod, w.PodUID}
	}
	if w.Node != "" {
		c.Kubernetes.Node = &reference{Name: w.Node}
	}
	raw, err := jwt.Signed(i.signer).Claims(c).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return raw, nil
}
