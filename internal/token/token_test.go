package token_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

const issuerURL = "https://kubernetes.default.svc"

var (
	now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

	workload = podid.Workload{
		Issuer:    issuerURL,
		Namespace: "test-namespace", ServiceAccount: "test-sa", ServiceAccountUID: "6d1ff4ee-8c2b-4c6a-9a36-0d3b1f7a2c11",
		Pod: "reader-7d4b9c", PodUID: "0f8fad5b-d9cb-469f-a165-70867728950e", Node: "node-1.example",
	}
)

type fixture struct {
	issuer   *token.Issuer
	key      *rsa.PrivateKey
	kid      string
	verifier *token.Verifier
}

func newFixture(t testing.TB) fixture {
	t.Helper()
	issuer, err := token.NewIssuer(issuerURL)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(issuer.PEM())
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return fixture{
		issuer: issuer, key: key.(*rsa.PrivateKey), kid: issuer.KeySet().Keys[0].KeyID,
		verifier: &token.Verifier{
			Issuer: issuerURL, Audience: podid.AudiencePods, Keys: issuer.Keys,
			Now: func() time.Time { return now },
		},
	}
}

func (f fixture) mint(t testing.TB, w podid.Workload, audience string, issued time.Time) string {
	t.Helper()
	raw, err := f.issuer.Mint(w, audience, issued, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

type object = map[string]any

func (f fixture) header() object { return object{"alg": "RS256", "kid": f.kid} }

func goodClaims() object {
	return object{
		"iss": issuerURL, "sub": workload.Subject(), "aud": []string{podid.AudiencePods}, "jti": "1",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": object{
			"namespace":      workload.Namespace,
			"serviceaccount": object{"name": workload.ServiceAccount, "uid": workload.ServiceAccountUID},
			"pod":            object{"name": workload.Pod, "uid": workload.PodUID},
			"node":           object{"name": workload.Node, "uid": "1"},
		},
	}
}

// sign serializes header and claims (a string is taken as it is) and signs them
// with sign, which gets what is signed.
func encode(header, claims any, sign func(input []byte) []byte) string {
	part := func(v any) string {
		text, ok := v.(string)
		if !ok {
			b, err := json.Marshal(v)
			if err != nil {
				panic(err)
			}
			text = string(b)
		}
		return base64.RawURLEncoding.EncodeToString([]byte(text))
	}
	input := part(header) + "." + part(claims)
	return input + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(input)))
}

func (f fixture) rs256(input []byte) []byte { return rs256(f.key, input) }

func rs256(key *rsa.PrivateKey, input []byte) []byte {
	sum := sha256.Sum256(input)
	s, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return s
}

// with is o with one change; nil deletes.
func with(o object, key string, value any) object {
	c := maps.Clone(o)
	if c[key] = value; value == nil {
		delete(c, key)
	}
	return c
}

func kubernetes(change func(k object)) object {
	c := goodClaims()
	change(c["kubernetes.io"].(object))
	return c
}

func TestAMintedTokenProvesItsWorkload(t *testing.T) {
	f := newFixture(t)
	got, err := f.verifier.Verify(t.Context(), f.mint(t, workload, podid.AudiencePods, now))
	if err != nil {
		t.Fatal(err)
	}
	want := token.Token{Workload: workload, Audience: podid.AudiencePods, Expires: now.Add(time.Hour), KeyID: f.kid}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAPodThatIsNotScheduledYetHasNoNode(t *testing.T) {
	f := newFixture(t)
	w := workload
	w.Node = ""
	got, err := f.verifier.Verify(t.Context(), f.mint(t, w, podid.AudiencePods, now))
	if err != nil || got.Workload != w {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestEveryRefusedTokenHasItsOwnCode(t *testing.T) {
	f := newFixture(t)
	good := encode(f.header(), goodClaims(), f.rs256)
	if _, err := f.verifier.Verify(t.Context(), good); err != nil {
		t.Fatalf("the token that the cases change is itself refused: %v", err)
	}
	parts := strings.Split(good, ".")
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(f.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	hs256 := func(secret []byte) func([]byte) []byte {
		return func(input []byte) []byte {
			m := hmac.New(sha256.New, secret)
			m.Write(input)
			return m.Sum(nil)
		}
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	none := func([]byte) []byte { return nil }
	embedded := jose.JSONWebKey{Key: other.Public(), KeyID: f.kid, Algorithm: "RS256"}
	claims := func(c any) string { return encode(f.header(), c, f.rs256) }

	for _, c := range []struct {
		name string
		raw  string
		code problem.Code
		says string
	}{
		{"no token", "", problem.TokenMissing, ""},
		{"no JWT", "hello", problem.TokenMalformed, "1, not 3"},
		{"signature cut off", parts[0] + "." + parts[1], problem.TokenMalformed, "2, not 3"},
		{"four parts", good + ".x", problem.TokenMalformed, "4, not 3"},
		{"too long", good + strings.Repeat("A", token.MaxSize), problem.TokenMalformed, "longer than 16384"},
		{"no base64url", "%%." + parts[1] + "." + parts[2], problem.TokenMalformed, "position 0"},
		{"padded", parts[0] + "=." + parts[1] + "." + parts[2], problem.TokenMalformed, "position"},
		{"header of an impossible length", "A." + parts[1] + "." + parts[2], problem.TokenMalformed, "header"},
		{"header no JSON", encode("{", goodClaims(), f.rs256), problem.TokenMalformed, "header"},
		{"header an array", encode("[]", goodClaims(), f.rs256), problem.TokenMalformed, "header"},
		{"header with two algorithms", encode(`{"alg":"RS256","alg":"none","kid":"`+f.kid+`"}`, goodClaims(), f.rs256), problem.TokenMalformed, "header"},
		{"line break within", parts[0] + "." + parts[1] + "\n." + parts[2], problem.TokenMalformed, "position"},
		{"line break at the end", good + "\n", problem.TokenMalformed, "position"},
		{"claims no JSON", claims("{"), problem.TokenMalformed, "claims"},
		{"claims null", claims("null"), problem.TokenIssuer, ""},
		{"claim of the wrong type", claims(with(goodClaims(), "exp", "soon")), problem.TokenMalformed, "claims"},
		{"claim given twice", claims(`{"iss":"a","iss":"` + issuerURL + `"}`), problem.TokenMalformed, "claims"},

		{"alg none", encode(object{"alg": "none", "kid": f.kid}, goodClaims(), none), problem.TokenUnsigned, "no signature"},
		{"alg none with the good signature", encode(object{"alg": "none", "kid": f.kid}, goodClaims(), f.rs256), problem.TokenUnsigned, "no signature"},
		{"alg None", encode(object{"alg": "None", "kid": f.kid}, goodClaims(), none), problem.TokenUnsigned, "no signature"},
		{"no alg", encode(object{"kid": f.kid}, goodClaims(), f.rs256), problem.TokenAlgorithm, `""`},
		{"alg in other letters", encode(object{"alg": "rs256", "kid": f.kid}, goodClaims(), f.rs256), problem.TokenAlgorithm, "rs256"},
		{"HS256 with the public key in PEM as secret", encode(object{"alg": "HS256", "kid": f.kid}, goodClaims(), hs256(publicPEM)), problem.TokenAlgorithm, "HS256"},
		{"HS256 with the public key in DER as secret", encode(object{"alg": "HS256", "kid": f.kid}, goodClaims(), hs256(der)), problem.TokenAlgorithm, "HS256"},
		{"PS256", encode(object{"alg": "PS256", "kid": f.kid}, goodClaims(), f.rs256), problem.TokenAlgorithm, "PS256"},
		{"ES256 named for an RSA key", encode(object{"alg": "ES256", "kid": f.kid}, goodClaims(), f.rs256), problem.TokenAlgorithm, "ES256"},
		{"an endless algorithm name", encode(object{"alg": strings.Repeat("x", 4000), "kid": f.kid}, goodClaims(), f.rs256), problem.TokenAlgorithm, "x…"},
		{"a key in the header", encode(object{"alg": "RS256", "kid": f.kid, "jwk": embedded}, goodClaims(), func(in []byte) []byte { return rs256(other, in) }), problem.TokenAlgorithm, `leave "jwk" out of the header`},
		{"a key URL in the header", encode(with(f.header(), "jku", "https://evil.example/jwks"), goodClaims(), f.rs256), problem.TokenAlgorithm, `leave "jku" out of the header`},
		{"a certificate URL in the header", encode(with(f.header(), "x5u", "https://evil.example/crt"), goodClaims(), f.rs256), problem.TokenAlgorithm, `"x5u"`},
		{"a certificate in the header", encode(with(f.header(), "x5c", []string{"AAAA"}), goodClaims(), f.rs256), problem.TokenAlgorithm, `"x5c"`},
		{"a critical extension", encode(with(f.header(), "crit", []string{"b64"}), goodClaims(), f.rs256), problem.TokenAlgorithm, `"crit"`},

		{"unknown key", encode(object{"alg": "RS256", "kid": "other"}, goodClaims(), f.rs256), problem.TokenKeyUnknown, `"other"`},
		{"no key named", encode(object{"alg": "RS256"}, goodClaims(), f.rs256), problem.TokenKeyUnknown, "names no key"},
		{"unknown key of another issuer", encode(object{"alg": "RS256", "kid": "other"}, with(goodClaims(), "iss", "https://other.example"), f.rs256), problem.TokenIssuer, "neither"},

		{"claims changed", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+issuerURL+`"}`)) + "." + parts[2], problem.TokenForged, ""},
		{"signed by another key under this key's name", encode(f.header(), goodClaims(), func(in []byte) []byte { return rs256(other, in) }), problem.TokenForged, ""},
		{"empty signature", parts[0] + "." + parts[1] + ".", problem.TokenForged, ""},
		{"signature shortened", good[:len(good)-8], problem.TokenForged, ""},
		{"RS384 named for an RS256 signature", encode(object{"alg": "RS384", "kid": f.kid}, goodClaims(), f.rs256), problem.TokenAlgorithm, "RS384"},

		{"another issuer", claims(with(goodClaims(), "iss", "https://other.example")), problem.TokenIssuer, "other.example"},
		{"issuer with a slash more", claims(with(goodClaims(), "iss", issuerURL+"/")), problem.TokenIssuer, ""},
		{"no issuer", claims(with(goodClaims(), "iss", nil)), problem.TokenIssuer, ""},
		{"another audience", claims(with(goodClaims(), "aud", "sts.amazonaws.com")), problem.TokenAudience, "sts.amazonaws.com"},
		{"no audience", claims(with(goodClaims(), "aud", nil)), problem.TokenAudience, ""},
		{"audience nearly right", claims(with(goodClaims(), "aud", []string{podid.AudiencePods + "."})), problem.TokenAudience, ""},
		{"expired", claims(with(goodClaims(), "exp", now.Add(-90*time.Minute).Unix())), problem.TokenExpired, "1h30m0s ago"},
		{"expired at the end of the leeway", claims(with(goodClaims(), "exp", now.Add(-10*time.Second).Unix())), problem.TokenExpired, "10s ago"},
		{"no expiry", claims(with(goodClaims(), "exp", nil)), problem.TokenMalformed, "exp"},
		{"expiry out of range", claims(with(goodClaims(), "exp", 1e300)), problem.TokenMalformed, "claims"},
		{"expiry after the year 9999", claims(with(goodClaims(), "exp", int64(1)<<40)), problem.TokenMalformed, "exp"},
		{"negative expiry", claims(with(goodClaims(), "exp", -1)), problem.TokenMalformed, "exp"},
		{"not valid yet", claims(with(goodClaims(), "nbf", now.Add(time.Minute).Unix())), problem.TokenNotYetValid, "in 1m0s"},
		{"issued in the future", claims(with(goodClaims(), "iat", now.Add(time.Hour).Unix())), problem.TokenNotYetValid, "in 1h0m0s"},
		{"no time of issue", claims(with(goodClaims(), "iat", nil)), problem.TokenMalformed, "iat"},

		{"no pod", claims(kubernetes(func(k object) { delete(k, "pod") })), problem.TokenUnbound, workload.Subject()},
		{"no Kubernetes claims", claims(with(goodClaims(), "kubernetes.io", nil)), problem.TokenUnbound, ""},
		{"pod without UID", claims(kubernetes(func(k object) { k["pod"] = object{"name": "p"} })), problem.TokenMalformed, "pod's UID"},
		{"pod without name", claims(kubernetes(func(k object) { k["pod"] = object{"uid": "1"} })), problem.TokenMalformed, "pod"},
		{"pod name that is none", claims(kubernetes(func(k object) { k["pod"] = object{"name": "../x", "uid": "1"} })), problem.TokenMalformed, "pod"},
		{"pod UID too long", claims(kubernetes(func(k object) { k["pod"] = object{"name": "p", "uid": strings.Repeat("a", 65)} })), problem.TokenMalformed, "UID"},
		{"namespace that is none", claims(kubernetes(func(k object) { k["namespace"] = "a.b" })), problem.TokenMalformed, "namespace"},
		{"service account without UID", claims(kubernetes(func(k object) { k["serviceaccount"] = object{"name": "test-sa"} })), problem.TokenMalformed, "service account"},
		{"node that is none", claims(kubernetes(func(k object) { k["node"] = object{"name": "Node\n1"} })), problem.TokenMalformed, "node"},
		{"subject of another service account", claims(with(goodClaims(), "sub", "system:serviceaccount:test-namespace:admin")), problem.TokenMalformed, "subject"},
		{"no subject", claims(with(goodClaims(), "sub", nil)), problem.TokenMalformed, "subject"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := f.verifier.Verify(t.Context(), c.raw)
			p, ok := errors.AsType[*problem.Problem](err)
			if !ok || p.Code != c.code {
				t.Fatalf("got %v, want %s", err, c.code)
			}
			if !strings.Contains(p.Message(), c.says) {
				t.Errorf("message %q does not say %q", p.Message(), c.says)
			}
			if len(p.Message()) > 800 {
				t.Errorf("message has %d bytes", len(p.Message()))
			}
			for part := range strings.SplitSeq(c.raw, ".") {
				if len(part) > 20 && strings.Contains(p.Error(), part) {
					t.Errorf("error %q holds a part of the token", p.Error())
				}
			}
		})
	}
}

func TestClocksMayDifferALittle(t *testing.T) {
	f := newFixture(t)
	for name, claim := range map[string]object{
		"expired 9 s ago":   with(goodClaims(), "exp", now.Add(-9*time.Second).Unix()),
		"issued in 10 s":    with(goodClaims(), "iat", now.Add(10*time.Second).Unix()),
		"no nbf":            with(goodClaims(), "nbf", nil),
		"audience a string": with(goodClaims(), "aud", podid.AudiencePods),
		"several audiences": with(goodClaims(), "aud", []string{"a", podid.AudiencePods}),
	} {
		if _, err := f.verifier.Verify(t.Context(), encode(f.header(), claim, f.rs256)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEllipticCurveClustersAreServed(t *testing.T) {
	f := newFixture(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f.verifier.Keys = token.NewKeySet(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "ec", Algorithm: "ES256"}}}).Find
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "ec"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := json.Marshal(goodClaims())
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := signed.CompactSerialize()
	if _, err := f.verifier.Verify(t.Context(), raw); err != nil {
		t.Error(err)
	}
}

func TestSymmetricKeysInAKeySetVerifyNothing(t *testing.T) {
	f := newFixture(t)
	symmetric := jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: f.kid}
	if _, ok, _ := token.NewKeySet(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{symmetric}}).Find(t.Context(), f.kid); ok {
		t.Error("Static kept a symmetric key")
	}
	f.verifier.Keys = func(context.Context, string) (jose.JSONWebKey, bool, error) { return symmetric, true, nil }
	_, err := f.verifier.Verify(t.Context(), f.mint(t, workload, podid.AudiencePods, now))
	if !problem.Is(err, problem.TokenAlgorithm) {
		t.Errorf("got %v", err)
	}
}

func TestUnreadableKeysAreNoRefusal(t *testing.T) {
	f := newFixture(t)
	f.verifier.Keys = func(context.Context, string) (jose.JSONWebKey, bool, error) {
		return jose.JSONWebKey{}, false, errors.New("connection refused")
	}
	_, err := f.verifier.Verify(t.Context(), f.mint(t, workload, podid.AudiencePods, now))
	if !problem.Is(err, problem.ClusterUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestAVerifierWithoutExpectationsRefusesAll(t *testing.T) {
	f := newFixture(t)
	for _, v := range []*token.Verifier{
		{Audience: podid.AudiencePods, Keys: f.issuer.Keys},
		{Issuer: issuerURL, Keys: f.issuer.Keys},
		{Issuer: issuerURL, Audience: podid.AudiencePods},
	} {
		if _, err := v.Verify(t.Context(), f.mint(t, workload, podid.AudiencePods, time.Now())); !problem.Is(err, problem.Internal) {
			t.Errorf("%+v: got %v", v, err)
		}
	}
}

func TestAnIssuerSurvivesItsPEM(t *testing.T) {
	f := newFixture(t)
	again, err := token.ParseIssuer(issuerURL, f.issuer.PEM())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := again.Mint(workload, podid.AudiencePods, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f.verifier.Keys = token.NewKeySet(f.issuer.KeySet()).Find
	if _, err := f.verifier.Verify(t.Context(), raw); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if _, err := token.ParseIssuer(issuerURL, []byte(text)); err == nil {
			t.Errorf("ParseIssuer(%q) succeeded", text)
		}
	}
}

type podsFunc func(ctx context.Context, namespace, name string) (token.Pod, bool, error)

func (f podsFunc) Pod(ctx context.Context, w podid.Workload) (token.Pod, bool, error) {
	return f(ctx, w.Namespace, w.Pod)
}

func livePod() token.Pod {
	return token.Pod{
		Namespace: workload.Namespace, Name: workload.Pod, UID: workload.PodUID,
		ServiceAccount: workload.ServiceAccount, ServiceAccountUID: workload.ServiceAccountUID, Node: "live-node",
	}
}

func TestLiveFactsDecide(t *testing.T) {
	f := newFixture(t)
	raw := f.mint(t, workload, podid.AudiencePods, now)
	for _, c := range []struct {
		name string
		pods podsFunc
		code problem.Code
	}{
		{"no such pod", func(context.Context, string, string) (token.Pod, bool, error) { return token.Pod{}, false, nil }, problem.PodGone},
		{"another pod of that name", change(func(p *token.Pod) { p.UID = "other" }), problem.PodGone},
		{"finished", change(func(p *token.Pod) { p.Finished = true }), problem.PodFinished},
		{"service account made anew", change(func(p *token.Pod) { p.ServiceAccountUID = "other" }), problem.ServiceAccountGone},
		{"service account deleted", change(func(p *token.Pod) { p.ServiceAccountUID = "" }), problem.ServiceAccountGone},
		{"another service account", change(func(p *token.Pod) { p.ServiceAccount = "other" }), problem.ServiceAccountGone},
		{"nobody knows", func(context.Context, string, string) (token.Pod, bool, error) {
			return token.Pod{}, false, errors.New("no news")
		}, problem.ClusterUnavailable},
	} {
		live := token.Live{Verifier: f.verifier, Pods: c.pods}
		if _, err := live.Verify(t.Context(), raw); !problem.Is(err, c.code) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.code)
		}
	}
}

func TestATokenOfAnotherPodsAccountIsNotCalledDeleted(t *testing.T) {
	f := newFixture(t)
	live := token.Live{Verifier: f.verifier, Pods: change(func(p *token.Pod) { p.ServiceAccount = "other" })}
	_, err := live.Verify(t.Context(), f.mint(t, workload, podid.AudiencePods, now))
	if message := problem.Of(err).Message(); !strings.Contains(message, "not made for this pod") || strings.Contains(message, "deleted") {
		t.Errorf("got %q", message)
	}
}

func change(f func(p *token.Pod)) podsFunc {
	return func(context.Context, string, string) (token.Pod, bool, error) {
		p := livePod()
		f(&p)
		return p, true, nil
	}
}

func TestTheNodeIsThatOfTheLivePod(t *testing.T) {
	f := newFixture(t)
	live := token.Live{Verifier: f.verifier, Pods: podsFunc(func(_ context.Context, namespace, name string) (token.Pod, bool, error) {
		if namespace != workload.Namespace || name != workload.Pod {
			t.Errorf("asked for %s/%s", namespace, name)
		}
		return livePod(), true, nil
	})}
	got, err := live.Verify(t.Context(), f.mint(t, workload, podid.AudiencePods, now))
	if err != nil || got.Workload.Node != "live-node" {
		t.Errorf("got %+v, %v", got.Workload, err)
	}
}

func TestAForgedTokenIsNotLookedUp(t *testing.T) {
	f := newFixture(t)
	live := token.Live{Verifier: f.verifier, Pods: podsFunc(func(context.Context, string, string) (token.Pod, bool, error) {
		t.Error("looked up")
		return token.Pod{}, false, nil
	})}
	if _, err := live.Verify(t.Context(), f.mint(t, workload, podid.AudiencePods, now)+"x"); err == nil {
		t.Error("accepted")
	}
}

func FuzzVerify(f *testing.F) {
	fix := newFixture(f)
	good := encode(fix.header(), goodClaims(), fix.rs256)
	f.Add(good)
	f.Add("")
	f.Add("..")
	f.Add("e30.e30.")
	f.Add(encode(object{"alg": "none"}, goodClaims(), func([]byte) []byte { return nil }))
	f.Add(encode(with(fix.header(), "crit", []string{"b64"}), goodClaims(), fix.rs256))
	f.Add(encode(fix.header(), "null", fix.rs256))
	wantSigned := good[:strings.LastIndexByte(good, '.')]
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := fix.verifier.Verify(t.Context(), raw)
		if err == nil {
			// The fuzzer has no key: only what was signed before may pass.
			if !strings.HasPrefix(raw, wantSigned+".") || got.Workload != workload {
				t.Errorf("accepted %q as %+v", raw, got)
			}
			return
		}
		p, ok := errors.AsType[*problem.Problem](err)
		if !ok || p.Code == problem.Internal || problem.Lookup(p.Code).Kind != problem.Refused || len(p.Message()) > 1000 {
			t.Errorf("error %q", err)
		}
	})
}

// FuzzClaims signs what the fuzzer wants: claims that the cluster vouches for
// are still held to their form.
func FuzzClaims(f *testing.F) {
	fix := newFixture(f)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // signs faster than RSA
	if err != nil {
		f.Fatal(err)
	}
	fix.verifier.Keys = token.NewKeySet(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "ec"}}}).Find
	es256 := func(input []byte) []byte {
		sum := sha256.Sum256(input)
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			panic(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
	for _, seed := range []any{goodClaims(), kubernetes(func(k object) { delete(k, "pod") }), with(goodClaims(), "exp", 1e300), with(goodClaims(), "aud", object{})} {
		b, _ := json.Marshal(seed)
		f.Add(string(b))
	}
	f.Fuzz(func(t *testing.T, payload string) {
		got, err := fix.verifier.Verify(t.Context(), encode(object{"alg": "ES256", "kid": "ec"}, payload, es256))
		if err != nil {
			if p, ok := errors.AsType[*problem.Problem](err); !ok || p.Code == problem.Internal || p.Code == problem.TokenForged {
				t.Errorf("error %q", err)
			}
			return
		}
		w := got.Workload
		for _, s := range []string{w.Namespace, w.ServiceAccount, w.ServiceAccountUID, w.Pod, w.PodUID} {
			if s == "" || len(s) > 253 || strings.ContainsAny(s, " \n\"/:") {
				t.Errorf("accepted %+v", w)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	f := newFixture(b)
	raw := f.mint(b, workload, podid.AudiencePods, now)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.verifier.Verify(b.Context(), raw); err != nil {
			b.Fatal(err)
		}
	}
}
