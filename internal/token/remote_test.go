package token_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpodidentity/podid/internal/token"

	"github.com/go-jose/go-jose/v4"
)

// published is an issuer that publishes keys.
type published struct {
	keys    atomic.Pointer[jose.JSONWebKeySet]
	away    atomic.Bool
	fetches atomic.Int64
	changes atomic.Int64
}

func (p *published) publish(issuers ...*token.Issuer) {
	set := new(jose.JSONWebKeySet)
	for _, i := range issuers {
		set.Keys = append(set.Keys, i.KeySet().Keys...)
	}
	p.keys.Store(set)
}

func (p *published) remote() *token.Remote {
	return &token.Remote{
		OnChange: func() { p.changes.Add(1) },
		Fetch: func(context.Context) ([]byte, error) {
			p.fetches.Add(1)
			if p.away.Load() {
				return nil, errors.New("connection refused")
			}
			return json.Marshal(p.keys.Load())
		},
	}
}

func newIssuer(t testing.TB) (*token.Issuer, string) {
	t.Helper()
	i, err := token.NewIssuer(issuerURL)
	if err != nil {
		t.Fatal(err)
	}
	return i, i.KeySet().Keys[0].KeyID
}

func TestRemoteKeysFollowTheIssuer(t *testing.T) {
	one, oneID := newIssuer(t)
	two, twoID := newIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		var p published
		p.publish(one)
		r := p.remote()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.Run(ctx)
		synctest.Wait()
		knows := func(id string, want bool) {
			t.Helper()
			if _, ok, err := r.Find(ctx, id); ok != want || err != nil {
				t.Errorf("key %.8s: %v, %v", id, ok, err)
			}
		}
		knows(oneID, true)
		if n := p.fetches.Load(); n != 1 {
			t.Errorf("%d fetches for a known key", n)
		}

		// A new key is fetched when it is first named.
		time.Sleep(10 * time.Second)
		p.publish(one, two)
		knows(twoID, true)
		knows(oneID, true)
		// One that was never published costs a fetch a second at the most.
		was := p.fetches.Load()
		for range 1000 {
			time.Sleep(10 * time.Millisecond)
			knows("made-up", false)
		}
		if n := p.fetches.Load() - was; n < 8 || n > 11 {
			t.Errorf("%d fetches in ten seconds for keys that are made up", n)
		}

		// While the issuer is away, keys that are known verify, and of others nobody knows.
		p.away.Store(true)
		time.Sleep(time.Hour)
		knows(oneID, true)
		if _, ok, err := r.Find(ctx, "made-up"); ok || err == nil {
			t.Errorf("an unknown key while the issuer is away: %v, %v", ok, err)
		}
		p.away.Store(false)
		time.Sleep(15 * time.Second)
		if age := time.Since(r.Fetched()); age > 15*time.Second {
			t.Errorf("fetched %s ago", age)
		}

		// One that was withdrawn verifies nothing after five minutes.
		changes := p.changes.Load()
		p.publish(two)
		time.Sleep(5*time.Minute + time.Second)
		knows(oneID, false)
		knows(twoID, true)
		if p.changes.Load() != changes+1 {
			t.Errorf("%d changes, want one more than %d", p.changes.Load(), changes)
		}
		// An issuer that publishes none is out of order, and withdraws nothing.
		p.publish()
		time.Sleep(6 * time.Minute)
		knows(twoID, true)
		cancel()
		synctest.Wait()
	})
}

func TestManyWhoMeetANewKeyFetchItOnce(t *testing.T) {
	one, oneID := newIssuer(t)
	synctest.Test(t, func(t *testing.T) {
		var p published
		p.publish(one)
		r := p.remote()
		slow := r.Fetch
		r.Fetch = func(ctx context.Context) ([]byte, error) {
			time.Sleep(2 * time.Second)
			return slow(ctx)
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		found := make(chan bool, 100)
		go func() {
			_, ok, err := r.Find(impatient, oneID)
			found <- !ok && errors.Is(err, context.DeadlineExceeded)
		}()
		for range 99 {
			go func() {
				_, ok, err := r.Find(t.Context(), oneID)
				found <- ok && err == nil
			}()
		}
		for range 100 {
			if !<-found {
				t.Error("not found, or not given up in time")
			}
		}
		if n := p.fetches.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

func TestTheKeysThatAreHandedOnAreThoseThatVerify(t *testing.T) {
	one, oneID := newIssuer(t)
	set := one.KeySet()
	set.Keys = append(set.Keys, jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "symmetric"})
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	r := &token.Remote{Fetch: func(context.Context) ([]byte, error) { return text, nil }}
	if _, ok, err := r.Find(t.Context(), oneID); !ok || err != nil {
		t.Fatal(ok, err)
	}
	keys, err := token.ParseKeySet(r.JWKS())
	if err != nil || len(keys.IDs()) != 1 || keys.IDs()[0] != oneID {
		t.Errorf("%s, %v", r.JWKS(), err)
	}
}

func FuzzParseKeySet(f *testing.F) {
	one, _ := newIssuer(f)
	text, err := json.Marshal(one.KeySet())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"keys":[{"kty":"oct","kid":"a","k":"AA"},{"kty":"OKP"},7]}`))
	f.Add([]byte(`{"keys":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := token.ParseKeySet(text)
		if err == nil && len(keys.IDs()) == 0 {
			t.Error("a set without keys")
		}
	})
}

func FuzzParseDiscovery(f *testing.F) {
	f.Add([]byte(`{"issuer":"https://kubernetes.default.svc","jwks_uri":"https://10.0.0.1:6443/openid/v1/jwks"}`))
	f.Add([]byte(`{"issuer":7}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if issuer, err := token.ParseDiscovery(text); (err == nil) != (issuer != "") {
			t.Errorf("%q, %v", issuer, err)
		}
	})
}
