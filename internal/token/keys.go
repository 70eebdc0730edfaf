package token

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// maxKeys bounds a key set; a cluster has one key, or two while it changes them.
const maxKeys = 64

// KeySet is a fixed set of keys, by their IDs.
type KeySet struct{ keys map[string]jose.JSONWebKey }

// NewKeySet keeps what can verify a token: symmetric keys and those without an ID
// are left out; of two keys with one ID the first counts.
func NewKeySet(set jose.JSONWebKeySet) *KeySet {
	keys := make(map[string]jose.JSONWebKey, len(set.Keys))
	for _, key := range set.Keys {
		if _, taken := keys[key.KeyID]; !taken && key.KeyID != "" && usable(key) {
			keys[key.KeyID] = key
		}
	}
	return &KeySet{keys}
}

// ParseKeySet reads a JWKS (RFC 7517, section 5). Keys of kinds that are not known
// are left out, as that section wants it; a set without a usable key is an error.
func ParseKeySet(text []byte) (*KeySet, error) {
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, errors.New("parse keys: not a JWKS")
	}
	if len(raw.Keys) > maxKeys {
		return nil, fmt.Errorf("parse keys: %d keys are more than %d", len(raw.Keys), maxKeys)
	}
	var set jose.JSONWebKeySet
	for _, text := range raw.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(text, &key) == nil {
			set.Keys = append(set.Keys, key)
		}
	}
	keys := NewKeySet(set)
	if len(keys.keys) == 0 {
		return nil, errors.New("parse keys: none of them can verify a token")
	}
	return keys, nil
}

// Find is fit for Verifier.Keys.
func (k *KeySet) Find(_ context.Context, keyID string) (jose.JSONWebKey, bool, error) {
	key, ok := k.keys[keyID]
	return key, ok, nil
}

// Has reports whether the set has the very key that other has under this ID.
func (k *KeySet) Has(keyID string, other *KeySet) bool {
	ours, ok := k.keys[keyID]
	theirs, also := other.keys[keyID]
	if !ok || !also {
		return false
	}
	public, comparable := ours.Key.(interface{ Equal(crypto.PublicKey) bool })
	return comparable && public.Equal(theirs.Key)
}

// IDs are those of the keys.
func (k *KeySet) IDs() []string { return slices.Sorted(maps.Keys(k.keys)) }
