package token

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
)

// Refetch is how often the keys are fetched, whether they are needed or not: a withdrawn
// key stops verifying after this long.
const Refetch = 5 * time.Minute

const (
	// retry is the same while fetching fails.
	retry = 10 * time.Second
	// pause is between two fetches that unknown keys demand: whoever makes up
	// tokens makes up key IDs too.
	pause = time.Second
	// fetchTimeout bounds one fetch.
	fetchTimeout = 10 * time.Second
)

// Remote keeps an issuer's keys as the issuer publishes them. They are fetched every
// five minutes, and when a token names a key that is not among them. What was fetched
// last counts until then, also while the issuer is away.
type Remote struct {
	// Fetch gets the JWKS (RFC 7517).
	Fetch func(ctx context.Context) ([]byte, error)
	// Every is how often; Refetch if zero.
	Every time.Duration
	// OnChange, if set, is called after the keys have changed. It must not block.
	OnChange func()
	Log      *slog.Logger

	flight singleflight.Group // the one fetch at a time; only it uses the next two
	tried  time.Time          // when the last fetch began
	failed error              // its error

	mu      sync.RWMutex
	keys    *KeySet
	text    json.RawMessage
	fetched time.Time
}

// Run fetches the keys from time to time until ctx ends.
func (r *Remote) Run(ctx context.Context) {
	for {
		wait := cmp.Or(r.Every, Refetch)
		if err := r.fetch(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			wait = min(wait, retry)
			if r.Log != nil {
				r.Log.Warn("the issuer's keys cannot be fetched", "cause", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// Find is fit for Verifier.Keys. A key that is not there is looked for once more at the
// issuer; an error says that the issuer could not be asked.
func (r *Remote) Find(ctx context.Context, keyID string) (jose.JSONWebKey, bool, error) {
	if key, ok := r.find(keyID); ok {
		return key, true, nil
	}
	// Kubernetes' key IDs have 43 characters. What is none costs no fetch.
	if keyID == "" || len(keyID) > 256 {
		return jose.JSONWebKey{}, false, nil
	}
	if err := r.fetch(ctx); err != nil {
		return jose.JSONWebKey{}, false, err
	}
	key, ok := r.find(keyID)
	return key, ok, nil
}

func (r *Remote) find(keyID string) (key jose.JSONWebKey, ok bool) {
	keys := r.KeySet()
	if keys == nil {
		return key, false
	}
	key, ok = keys.keys[keyID]
	return key, ok
}

// fetch gets the keys, unless that was done a moment ago. It ends with ctx, and lets the
// fetch go on for others who wait for it.
func (r *Remote) fetch(ctx context.Context) error {
	done := r.flight.DoChan("", func() (any, error) {
		if now := time.Now(); r.tried.IsZero() || now.Sub(r.tried) >= pause {
			r.tried = now
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
			defer cancel()
			r.failed = r.get(ctx)
		}
		return nil, r.failed
	})
	select {
	case result := <-done:
		return result.Err
	case <-ctx.Done():
		return fmt.Errorf("wait for the issuer's keys: %w", ctx.Err())
	}
}

func (r *Remote) get(ctx context.Context) error {
	text, err := r.Fetch(ctx)
	if err != nil {
		return fmt.Errorf("fetch the issuer's keys: %w", err)
	}
	return r.set(text)
}

func (r *Remote) set(text []byte) error {
	keys, err := ParseKeySet(text)
	if err != nil {
		return fmt.Errorf("read the issuer's keys: %w", err)
	}
	// What cannot verify is not handed on.
	if text, err = keys.marshal(); err != nil {
		return fmt.Errorf("read the issuer's keys: %w", err)
	}
	r.mu.Lock()
	changed := !bytes.Equal(r.text, text)
	r.keys, r.text, r.fetched = keys, text, time.Now()
	r.mu.Unlock()
	if changed && r.OnChange != nil {
		r.OnChange()
	}
	return nil
}

// KeySet is the keys there are; nil before they were first fetched.
func (r *Remote) KeySet() *KeySet {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keys
}

// JWKS is the keys there are, as RFC 7517 writes them; empty before they were first
// fetched.
func (r *Remote) JWKS() json.RawMessage {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.text
}

// Fetched is when the keys were last fetched; zero if they never were.
func (r *Remote) Fetched() time.Time {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.fetched
}

// marshal writes the keys in the order of their IDs.
func (k *KeySet) marshal() ([]byte, error) {
	set := jose.JSONWebKeySet{}
	for _, id := range k.IDs() {
		set.Keys = append(set.Keys, k.keys[id])
	}
	return json.Marshal(set)
}

var errNoIssuer = errors.New("the discovery document names no issuer")

// ParseDiscovery reads the issuer from an OpenID Connect discovery document
// (https://openid.net/specs/openid-connect-discovery-1_0.html).
func ParseDiscovery(text []byte) (issuer string, err error) {
	var document struct {
		Issuer string `json:"issuer"`
	}
	if json.Unmarshal(text, &document) != nil || document.Issuer == "" || len(document.Issuer) > 1024 {
		return "", errNoIssuer
	}
	return document.Issuer, nil
}
