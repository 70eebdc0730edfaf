package auth

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"runtime"
	"sync"

	"golang.org/x/time/rate"

	"github.com/openpodidentity/podid/problem"
)

// Gate keeps whoever sends forged tokens from starving the others. Signatures are
// verified a few at a time, and an address of which too many tokens were forged is
// refused unread. Agents send none, so they never meet it: only what was refused counts,
// and a token that was proved is let in from whatever address, for a pod may have its
// node's.
type Gate struct {
	// InFlight is how many signatures are verified at once; four for each processor if
	// zero.
	InFlight int
	// Refusals a second that an address may have, and Burst at once; 10 and 100 if zero.
	Refusals rate.Limit
	Burst    int
	Metrics  *Metrics

	once  sync.Once
	slots chan struct{}

	mu      sync.Mutex
	sources map[netip.Prefix]*source // those that were refused something
	known   map[digest]bool          // tokens that were proved
}

// digest is that of the Authorization that a request comes with.
type digest [sha256.Size]byte

type source struct {
	*rate.Limiter
	waiting int // requests that were admitted and are not proved yet
}

// maxSources bounds what is remembered of addresses, and of tokens.
const maxSources = 10_000

func (g *Gate) init() {
	if g.InFlight == 0 {
		g.InFlight = 4 * runtime.GOMAXPROCS(0)
	}
	if g.Refusals == 0 {
		g.Refusals, g.Burst = 10, 100
	}
	g.slots = make(chan struct{}, g.InFlight)
	g.sources = map[netip.Prefix]*source{}
	g.known = map[digest]bool{}
}

// Enter waits for a place to verify a signature in; leave gives it back. It is fit for
// token.Verifier.Enter.
func (g *Gate) Enter(ctx context.Context) (leave func(), err error) {
	g.once.Do(g.init)
	select {
	case g.slots <- struct{}{}:
		g.Metrics.verify(1)
		return func() {
			<-g.slots
			g.Metrics.verify(-1)
		}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait to verify the token: %w", ctx.Err())
	}
}

// admit refuses an address that has sent too many forged tokens, unless this one was proved
// before; proved is to be called with what came of a request that is admitted.
func (g *Gate) admit(address, authorization string) (proved func(error), err error) {
	if g == nil {
		return func(error) {}, nil
	}
	g.once.Do(g.init)
	token := sha256.Sum256([]byte(authorization))
	g.mu.Lock()
	defer g.mu.Unlock()
	from := g.sources[prefix(address)]
	if from == nil || g.known[token] {
		return func(err error) { g.settle(address, token, err) }, nil
	}
	// Each that is on its way may turn out forged.
	if from.Tokens() < float64(from.waiting+1) {
		g.Metrics.limit()
		return nil, problem.New(problem.TooManyRequests, "too many tokens from this address were forged").
			Because("what an address sends is not looked at for a while, when podid had to refuse more than %.0f a second of it", float64(g.Refusals)).
			Fixed("find out who sends them; agents and kubelets make no such tokens")
	}
	from.waiting++
	return func(err error) {
		g.settle(address, token, err)
		g.mu.Lock()
		defer g.mu.Unlock()
		from.waiting--
	}, nil
}

// settle remembers a token that was proved, and forgets one that is not any more.
func (g *Gate) settle(address string, token digest, err error) {
	g.refused(address, err)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		delete(g.known, token)
		return
	}
	for old := range g.known { // those of agents that are gone among them
		if len(g.known) < maxSources {
			break
		}
		delete(g.known, old)
	}
	g.known[token] = true
}

// refused counts a refusal, if it is one that no agent earns.
func (g *Gate) refused(address string, err error) {
	if g == nil || !forged(err) {
		return
	}
	g.once.Do(g.init)
	g.mu.Lock()
	defer g.mu.Unlock()
	key := prefix(address)
	from := g.sources[key]
	if from == nil {
		g.shrink()
		from = &source{Limiter: rate.NewLimiter(g.Refusals, g.Burst)}
		g.sources[key] = from
	}
	from.Allow()
}

// shrink makes room for one more: of those that sent nothing for long, or of any.
func (g *Gate) shrink() {
	if len(g.sources) < maxSources {
		return
	}
	for key, from := range g.sources {
		if from.Tokens() >= float64(g.Burst) {
			delete(g.sources, key)
		}
	}
	for key := range g.sources {
		if len(g.sources) < maxSources {
			return
		}
		delete(g.sources, key)
	}
}

// forged says whether a problem is of a token that proves nothing. One that has expired,
// or whose pod is gone, was good once.
func forged(err error) bool {
	if err == nil {
		return false
	}
	switch problem.Of(err).Code {
	case problem.CallerUnproven, problem.TokenMissing, problem.TokenMalformed, problem.TokenUnsigned, problem.TokenAlgorithm,
		problem.TokenKeyUnknown, problem.TokenForged, problem.TokenIssuer, problem.TokenAudience, problem.TokenUnbound:
		return true
	}
	return false
}

// prefix is what one machine has: an IPv4 address, or an IPv6 network of 64 bits.
func prefix(address string) netip.Prefix {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Prefix{}
	}
	ip := parsed.Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
