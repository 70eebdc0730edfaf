package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"

	"github.com/go-jose/go-jose/v4"
	// This one, unlike encoding/json, is case-sensitive and refuses duplicate
	// names: what was signed has one reading.
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"
)

// MaxSize is the longest token that is looked at, in bytes. Tokens of Kubernetes
// have one to two thousand.
const MaxSize = 16 << 10

// leeway is how far the clocks of the API server and of podid may differ.
const leeway = 10 * time.Second

// latest bounds the time claims (the year 9999).
const latest = 253402300799

// algorithms are those that Kubernetes can sign with
// (https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/).
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512,
}

// Verifier verifies signature and claims. It reads no live facts.
type Verifier struct {
	// Issuer is pinned; it is never read from the token.
	Issuer   string
	Audience string
	// Keys finds the issuer's key by its ID; ok is false when there is none.
	Keys func(ctx context.Context, keyID string) (key jose.JSONWebKey, ok bool, err error)
	// Enter, if set, waits for a place to verify a signature in, which takes most of the
	// time; leave gives it back.
	Enter func(ctx context.Context) (leave func(), err error)
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Verify returns the token's facts. Errors are problems token-…, or
// cluster-unavailable when the keys could not be read. With one that is about the time alone
// comes the Workload, which is proved all the same, for the log. Their messages hold
// nothing of the token but a shortened algorithm and key ID, and of its claims
// only what the signature has proved.
func (v *Verifier) Verify(ctx context.Context, raw string) (Token, error) {
	if v.Issuer == "" || v.Audience == "" || v.Keys == nil {
		// An empty expectation would be met by an absent claim.
		return Token{}, problem.New(problem.Internal, "the token verifier has no issuer, audience or keys")
	}
	head, err := parseHeader(raw)
	if err != nil {
		return Token{}, err
	}
	signed, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		return Token{}, problem.New(problem.TokenMalformed, "the token cannot be read").From(err)
	}
	key, ok, err := v.Keys(ctx, head.KeyID)
	if err != nil {
		if p, is := errors.AsType[*problem.Problem](err); is {
			return Token{}, p
		}
		return Token{}, problem.New(problem.ClusterUnavailable, "the keys of the token's issuer cannot be read").
			Because("podid verifies tokens with the cluster's public keys, and could not get them").From(err)
	}
	if !ok {
		return Token{}, v.keyUnknown(head, signed)
	}
	if !usable(key) || key.Algorithm != "" && key.Algorithm != head.Algorithm {
		return Token{}, problem.New(problem.TokenAlgorithm, "the token is signed with %s, and its key %s is not for that",
			head.Algorithm, quote(head.KeyID)).
			Because("a key verifies only signatures of its own kind").
			Fixed("use the token that the kubelet mounted, unchanged")
	}
	payload, err := v.verify(ctx, signed, key)
	switch {
	case err != nil && ctx.Err() != nil:
		return Token{}, fmt.Errorf("verify token: %w", ctx.Err())
	case err != nil:
		return Token{}, problem.New(problem.TokenForged, "the token's signature is not by key %s of this cluster", quote(head.KeyID)).From(err)
	}
	return v.claims(payload, head.KeyID)
}

func (v *Verifier) verify(ctx context.Context, signed *jose.JSONWebSignature, key jose.JSONWebKey) ([]byte, error) {
	if v.Enter != nil {
		leave, err := v.Enter(ctx)
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	return signed.Verify(key.Key)
}

// header is what a token says of its own signature.
type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`

	// Where else to find a key, or what else to understand. Kubernetes sends
	// none of these, and a key that a token brings along proves nothing.
	Critical json.RawMessage `json:"crit"`
	B64      json.RawMessage `json:"b64"`
	JWK      json.RawMessage `json:"jwk"`
	JKU      json.RawMessage `json:"jku"`
	X5U      json.RawMessage `json:"x5u"`
	X5C      json.RawMessage `json:"x5c"`
}

func parseHeader(raw string) (header, error) {
	var h header
	switch {
	case raw == "":
		return h, problem.New(problem.TokenMissing, "the request carries no token")
	case len(raw) > MaxSize:
		return h, problem.New(problem.TokenMalformed, "the token is longer than %d bytes", MaxSize)
	}
	if n := strings.Count(raw, ".") + 1; n != 3 {
		return h, problem.New(problem.TokenMalformed, "the token has the wrong number of parts: %d, not 3", n)
	}
	// Decoders skip line breaks, and then one token would have many texts.
	if i := strings.IndexFunc(raw, func(c rune) bool { return c != '.' && !isBase64URL(c) }); i >= 0 {
		return h, problem.New(problem.TokenMalformed, "the token has a character that is not base64url at position %d", i)
	}
	first, _, _ := strings.Cut(raw, ".")
	text, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		return h, problem.New(problem.TokenMalformed, "the token's header is not base64url").From(err)
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return h, problem.New(problem.TokenMalformed, "the token's header is not the JSON of a JSON Web Token").From(err)
	}
	if strings.EqualFold(h.Algorithm, "none") { // RFC 7518, section 3.6
		return h, problem.New(problem.TokenUnsigned, "the token says of itself that it has no signature (alg %s)", quote(h.Algorithm))
	}
	if !slices.Contains(algorithms, jose.SignatureAlgorithm(h.Algorithm)) {
		return h, problem.New(problem.TokenAlgorithm, "the token's algorithm is %s", quote(h.Algorithm))
	}
	for _, extra := range []struct {
		name  string
		value json.RawMessage
	}{{"crit", h.Critical}, {"b64", h.B64}, {"jwk", h.JWK}, {"jku", h.JKU}, {"x5u", h.X5U}, {"x5c", h.X5C}} {
		if extra.value != nil {
			return h, problem.New(problem.TokenAlgorithm, "the token's header carries %q", extra.name).
				Because("podid takes keys from the cluster, never from the token, and no Kubernetes cluster sets this").
				Fixed("use the token that the kubelet mounted; if you make tokens yourself, leave %q out of the header", extra.name)
		}
	}
	return h, nil
}

// keyUnknown says why no key was found. The claims are not proved here, so they
// only choose between two refusals.
func (v *Verifier) keyUnknown(head header, signed *jose.JSONWebSignature) error {
	var unproved struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(signed.UnsafePayloadWithoutVerification(), &unproved) == nil && unproved.Issuer != v.Issuer {
		return problem.New(problem.TokenIssuer, "the token is neither signed by nor issued by %s", quote(v.Issuer))
	}
	if head.KeyID == "" {
		return problem.New(problem.TokenKeyUnknown, "the token's header names no key")
	}
	return problem.New(problem.TokenKeyUnknown, "this cluster has no key %s", quote(head.KeyID))
}

// usable reports whether key is a public key for one of the algorithms. A
// symmetric key in a JWKS would make its readers signers.
func usable(key jose.JSONWebKey) bool {
	switch key.Key.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
		return key.Valid()
	}
	return false
}

// claims are those of a Kubernetes service-account token
// (https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/).
type claims struct {
	Issuer     string           `json:"iss"`
	Subject    string           `json:"sub"`
	Audience   jwt.Audience     `json:"aud"`
	Expires    *jwt.NumericDate `json:"exp"`
	NotBefore  *jwt.NumericDate `json:"nbf"`
	IssuedAt   *jwt.NumericDate `json:"iat"`
	ID         string           `json:"jti,omitempty"`
	Kubernetes *kubernetes      `json:"kubernetes.io,omitempty"`
}

type kubernetes struct {
	Namespace      string     `json:"namespace"`
	ServiceAccount reference  `json:"serviceaccount"`
	Pod            *reference `json:"pod,omitempty"`
	Node           *reference `json:"node,omitempty"`
}

type reference struct {
	Name string `json:"name"`
	UID  string `json:"uid,omitempty"`
}

// claims checks the payload of a token whose signature is proved.
func (v *Verifier) claims(payload []byte, keyID string) (Token, error) {
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return Token{}, problem.New(problem.TokenMalformed, "the token's claims are not those of a service-account token").From(err)
	}
	if c.Issuer != v.Issuer {
		return Token{}, problem.New(problem.TokenIssuer, "the token is issued by %s, not by %s", quote(c.Issuer), quote(v.Issuer))
	}
	if !c.Audience.Contains(v.Audience) {
		return Token{}, problem.New(problem.TokenAudience, "the token is for the audience %s, not for %s",
			quote(strings.Join(c.Audience, ", ")), quote(v.Audience))
	}
	w, err := c.workload()
	if late := v.times(c); late != nil {
		return Token{Workload: w}, late
	}
	if err != nil {
		return Token{}, err
	}
	return Token{Workload: w, Audience: v.Audience, Expires: c.Expires.Time().UTC(), KeyID: keyID}, nil
}

func (v *Verifier) times(c claims) error {
	for _, t := range []struct {
		name     string
		value    *jwt.NumericDate
		required bool
	}{{"exp", c.Expires, true}, {"iat", c.IssuedAt, true}, {"nbf", c.NotBefore, false}} {
		switch {
		case t.value == nil && t.required:
			return problem.New(problem.TokenMalformed, "the token has no claim %s", t.name)
		case t.value != nil && (*t.value < 0 || *t.value > latest):
			return problem.New(problem.TokenMalformed, "the token's claim %s is no time", t.name)
		}
	}
	now := time.Now
	if v.Now != nil {
		now = v.Now
	}
	if ago := now().Sub(c.Expires.Time()); ago >= leeway {
		return problem.New(problem.TokenExpired, "the token expired %s ago", ago.Round(time.Second))
	}
	for _, t := range []*jwt.NumericDate{c.NotBefore, c.IssuedAt} {
		if t == nil {
			continue
		}
		if ahead := t.Time().Sub(now()); ahead > leeway {
			return problem.New(problem.TokenNotYetValid, "the token becomes valid in %s", ahead.Round(time.Second))
		}
	}
	return nil
}

func (c claims) workload() (podid.Workload, error) {
	k := c.Kubernetes
	if k == nil || k.Pod == nil {
		return podid.Workload{}, problem.New(problem.TokenUnbound, "the token of %s is not bound to a pod", quote(c.Subject))
	}
	w := podid.Workload{
		Issuer:    c.Issuer,
		Namespace: k.Namespace, ServiceAccount: k.ServiceAccount.Name, ServiceAccountUID: k.ServiceAccount.UID,
		Pod: k.Pod.Name, PodUID: k.Pod.UID,
	}
	if k.Node != nil {
		w.Node = k.Node.Name
	}
	if err := check(w); err != nil {
		return podid.Workload{}, problem.New(problem.TokenMalformed, "the token's claims are not those of a pod: %v", err)
	}
	if c.Subject != w.Subject() {
		return podid.Workload{}, problem.New(problem.TokenMalformed, "the token's subject %s is not %s, as its other claims say",
			quote(c.Subject), w.Subject())
	}
	return w, nil
}

func isBase64URL(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// check holds names and UIDs to Kubernetes' rules: they become session tags,
// session names, log attributes and map keys.
func check(w podid.Workload) error {
	for _, n := range []struct {
		what, value string
		ok          func(string) bool
	}{
		{"namespace", w.Namespace, isLabel},
		{"service account", w.ServiceAccount, isSubdomain},
		{"service account's UID", w.ServiceAccountUID, isUID},
		{"pod", w.Pod, isSubdomain},
		{"pod's UID", w.PodUID, isUID},
		{"node", w.Node, func(s string) bool { return s == "" || isSubdomain(s) }},
	} {
		if !n.ok(n.value) {
			return fmt.Errorf("the %s is %s", n.what, quote(n.value))
		}
	}
	return nil
}

// isLabel is the DNS label of RFC 1123, at most 63 characters
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/).
func isLabel(s string) bool { return len(s) <= 63 && isSubdomain(s) && !strings.Contains(s, ".") }

// isSubdomain is the DNS subdomain of RFC 1123 as Kubernetes has it: at most 253
// characters, labels of any length.
func isSubdomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				return false
			}
		}
	}
	return true
}

// isUID admits UUIDs and the hashes that static pods have.
func isUID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// quote shortens what comes from outside and makes it printable.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "…"
	}
	return fmt.Sprintf("%q", s)
}
