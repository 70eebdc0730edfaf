package token

import (
	"context"

	"github.com/go-jose/go-jose/v4"
)

// Static serves a fixed set of keys, fit for Verifier.Keys. Keys that cannot
// verify a token (symmetric ones, those without an ID) are left out; of two keys
// with one ID the first counts.
func Static(set jose.JSONWebKeySet) func(ctx context.Context, keyID string) (jose.JSONWebKey, bool, error) {
	keys := make(map[string]jose.JSONWebKey, len(set.Keys))
	for _, key := range set.Keys {
		if _, taken := keys[key.KeyID]; !taken && key.KeyID != "" && usable(key) {
			keys[key.KeyID] = key
		}
	}
	return func(_ context.Context, keyID string) (jose.JSONWebKey, bool, error) {
		key, ok := keys[keyID]
		return key, ok, nil
	}
}
