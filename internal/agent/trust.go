package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"

	"github.com/google/uuid"
)

// trust is what tokens are verified with. Its zero value is ready.
type trust struct {
	now atomic.Pointer[trusted]

	changing sync.Mutex
	changed  chan struct{} // closed when now changes
	asked    time.Time     // when podid-auth was last asked because of an unknown key
}

type trusted struct {
	issuer   string
	keys     *token.KeySet
	verifier *token.Verifier
}

// askKeysEvery is how often podid-auth is asked for keys because of a token whose key is
// not known: anybody can make one up.
const askKeysEvery = 10 * time.Second

// trustIn makes keys (a JWKS) those that verify; an empty issuer is the one so far. What was
// verified with a key that is no more is evicted.
func (s *Server) trustIn(issuer string, jwks []byte) error {
	keys, err := token.ParseKeySet(jwks)
	if err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	was := s.trust.now.Load()
	if issuer == "" && was != nil {
		issuer = was.issuer
	}
	if issuer == "" || len(issuer) > 2048 {
		return fmt.Errorf("read the stream: it names no issuer")
	}
	s.trust.now.Store(&trusted{issuer, keys, &token.Verifier{Issuer: issuer, Audience: podid.AudiencePods, Keys: keys.Find, Now: s.Now}})
	if s.changed != nil {
		close(s.changed)
	}
	s.changed = make(chan struct{})
	s.evict(func(id string) bool {
		return was == nil && slices.Contains(keys.IDs(), id) || was != nil && was.issuer == issuer && keys.Has(id, was.keys)
	})
	return nil
}

// evict forgets the tokens that were verified by keys that are not good, and what
// pods have that are left with none.
func (s *Server) evict(good func(keyID string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pods {
		kept := p.hashes[:0]
		for _, h := range p.hashes {
			if good(s.tokens[h].key.Value()) {
				kept = append(kept, h)
			} else {
				delete(s.tokens, h)
			}
		}
		if len(kept) == len(p.hashes) {
			continue
		}
		p.hashes, p.token, p.expires = kept, packed{}, time.Time{} // whichever it was: the next request brings another
		if len(kept) == 0 {
			s.drop(p)
		}
	}
}

// verify proves a token with s.Tokens, or else with the keys of the stream, and says which. It waits
// for the first ones, and for one that may have been added just now.
func (s *Server) verify(ctx context.Context, raw string) (token.Token, *trusted, error) {
	if s.Tokens != nil {
		t, err := s.Tokens.Verify(ctx, raw)
		return t, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, hold)
	defer cancel()
	trusted, changed := s.trusted()
	if trusted == nil {
		select {
		case <-changed:
			trusted, changed = s.trusted()
		case <-ctx.Done():
			return token.Token{}, nil, problem.New(problem.AuthUnavailable, "podid-auth has not told the cluster's keys yet").
				Because("the agent verifies tokens with them, and has just started")
		}
	}
	t, err := trusted.verifier.Verify(ctx, raw)
	if problem.Is(err, problem.TokenKeyUnknown) && s.mayAskForKeys() {
		// podid-auth, shown the token, looks for the key at the API server, and tells all agents.
		told := make(chan error, 1)
		s.aside(func() {
			_, err := s.exchange(context.WithoutCancel(ctx), Ask{Token: raw, ID: uuid.NewString()})
			told <- err
		})
		select {
		case <-changed:
			trusted, _ = s.trusted()
			t, err = trusted.verifier.Verify(ctx, raw)
		case e := <-told:
			if !problem.Is(e, problem.TokenKeyUnknown) {
				err = problem.New(problem.AuthUnavailable, "podid-auth has not told the new key of the cluster yet").From(err)
			}
		case <-ctx.Done():
		}
	}
	if err == nil {
		t.Workload.Issuer = trusted.issuer // the one string for all
	}
	return t, trusted, err
}

func (s *Server) trusted() (*trusted, <-chan struct{}) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.trust.now.Load(), s.changed
}

// aside does what Close waits for.
func (s *Server) aside(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.done.Go(f)
	}
}

// mayAskForKeys limits how often an unknown key has podid-auth asked.
func (s *Server) mayAskForKeys() bool {
	s.changing.Lock()
	defer s.changing.Unlock()
	now := s.now()
	if now.Sub(s.trust.asked) < askKeysEvery {
		return false
	}
	s.trust.asked = now
	return true
}
