package agent

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"

	"github.com/google/uuid"
)

const (
	// maxPods bounds the cache; a kubelet runs some hundreds of pods.
	maxPods = 4096
	// maxTokens of one pod are remembered: the present one, the one it replaced
	// (valid until it expires), and one to spare for a container's own volume.
	maxTokens = 4
	// idle is how long a pod without credentials is remembered.
	idle = time.Minute
	// Between attempts to refresh while podid-auth is away.
	firstRetry, lastRetry = 2 * time.Second, time.Minute
)

// cache is what the server remembers: verified tokens, by their hash, and the
// pods they speak for, with the credentials and the call in flight. Its zero
// value is ready.
type cache struct {
	mu     sync.RWMutex
	tokens map[[sha256.Size]byte]verified
	pods   map[podid.Workload]*pod
	closed bool
	calls  sync.WaitGroup
	ctx    context.Context // of the calls: they outlive the requests
	cancel context.CancelFunc
}

// verified is a token whose signature was checked: until it expires, its hash
// is as good as another check.
type verified struct {
	pod     *pod
	expires time.Time
}

// pod is one workload's place in the cache. All but answer is guarded by cache.mu.
type pod struct {
	workload podid.Workload
	answer   atomic.Pointer[answer] // nil until the first success

	hashes  [][sha256.Size]byte // of its tokens, oldest first
	raw     string              // its newest token, to refresh with
	expires time.Time           // of raw

	flight  *flight
	timer   *time.Timer
	failed  int       // refreshes in a row
	retryAt time.Time // not before, after a failure
}

// flight is one call to podid-auth, for all who wait. answer or err is set when
// done is closed.
type flight struct {
	request string // ID by which podid-auth's log has the call
	done    chan struct{}
	answer  *answer
	err     error
}

// hit returns the answer for a known token if it is ready. It costs a hash and a
// look-up.
func (s *Server) hit(raw string) *answer {
	now := s.now()
	s.mu.RLock()
	v, ok := s.tokens[hash(raw)]
	s.mu.RUnlock()
	if !ok || !now.Before(v.expires) {
		return nil
	}
	a := v.pod.answer.Load()
	if a == nil || !now.Before(a.until) {
		return nil
	}
	if !a.asked.Load() {
		a.asked.Store(true)
	}
	if now.After(a.refreshAt) {
		s.refresh(v.pod, raw)
	}
	return a
}

// known finds the pod of a token that was verified and has not expired.
func (s *Server) known(raw string) (*pod, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.tokens[hash(raw)]
	return v.pod, ok && s.now().Before(v.expires)
}

// remember keeps a token that was just verified.
func (s *Server) remember(raw string, t token.Token) *pod {
	h := hash(raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pods == nil {
		s.pods, s.tokens = map[podid.Workload]*pod{}, map[[sha256.Size]byte]verified{}
	}
	p := s.pods[t.Workload]
	if p == nil {
		s.makeRoom()
		p = &pod{workload: t.Workload}
		s.pods[t.Workload] = p
		s.wake(p, idle)
	}
	if _, twice := s.tokens[h]; !twice {
		if len(p.hashes) == maxTokens {
			delete(s.tokens, p.hashes[0])
			p.hashes = p.hashes[1:]
		}
		p.hashes = append(p.hashes, h)
	}
	s.tokens[h] = verified{p, t.Expires}
	if !t.Expires.Before(p.expires) {
		p.raw, p.expires = raw, t.Expires
	}
	return p
}

// hash is what is kept of a token to know it again. A usual token is hashed on
// the stack.
func hash(raw string) [sha256.Size]byte {
	var b [2048]byte
	return sha256.Sum256(append(b[:0], raw...))
}

// join returns p's answer if it is ready, or else the call in flight, starting
// one if there is none.
func (s *Server) join(p *pod, raw string) (*answer, *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := p.answer.Load(); a != nil && s.now().Before(a.until) {
		a.asked.Store(true)
		return a, nil
	}
	if p.flight != nil {
		return nil, p.flight
	}
	return nil, s.call(p, raw)
}

// refresh starts a call ahead of expiry unless one is in flight or has just failed.
func (s *Server) refresh(p *pod, raw string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pods[p.workload] == p && p.flight == nil && !s.now().Before(p.retryAt) {
		s.call(p, raw)
	}
}

// call starts the one call of p. mu is held.
func (s *Server) call(p *pod, raw string) *flight {
	f := &flight{request: uuid.NewString(), done: make(chan struct{})}
	if s.closed {
		f.err = stopping()
		close(f.done)
		return f
	}
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancel(context.Background())
	}
	a := p.answer.Load()
	ctx, ahead := withRequestID(s.ctx, f.request), a != nil && s.now().Before(a.until)
	p.flight = f
	s.calls.Go(func() {
		start := s.now()
		c, err := s.exchange(ctx, raw)
		if err == nil {
			f.answer, err = newAnswer(c, s.now(), ahead)
		}
		f.err = err
		s.settle(p, f)
		close(f.done)
		if ahead {
			s.log(ctx, "refresh", p.workload, start, problem.Of(err), slog.String("request", f.request))
		}
	})
	return f
}

func stopping() error { return problem.New(problem.AuthUnavailable, "the agent is stopping") }

// settle keeps the outcome of a call, unless its pod was forgotten meanwhile.
func (s *Server) settle(p *pod, f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.flight = nil
	if s.pods[p.workload] != p {
		return
	}
	now := s.now()
	if f.err == nil {
		p.answer.Store(f.answer)
		p.failed, p.retryAt = 0, time.Time{}
		s.wake(p, f.answer.refreshAt.Sub(now))
		return
	}
	a := p.answer.Load()
	if a == nil || final(problem.Of(f.err).Code) {
		p.answer.Store(nil)
		s.wake(p, idle)
		return
	}
	// Served through an outage until expiry, with ever rarer attempts.
	pause := min(firstRetry<<min(p.failed, 10), lastRetry)
	pause += rand.N(pause / 2)
	p.failed++
	p.retryAt = now.Add(pause)
	s.wake(p, min(pause, a.until.Sub(now)))
}

// wake looks at p again after d. mu is held.
func (s *Server) wake(p *pod, d time.Duration) {
	if s.closed {
		return
	}
	if p.timer == nil {
		p.timer = time.AfterFunc(d, func() { s.look(p) })
		return
	}
	p.timer.Reset(d)
}

// look refreshes p's credentials if it is time and somebody asked for the
// present ones, and removes p when it has none.
func (s *Server) look(p *pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.pods[p.workload] != p || p.flight != nil {
		return
	}
	now, a := s.now(), p.answer.Load()
	switch {
	case a == nil || !now.Before(a.until):
		s.remove(p)
	case now.Before(a.refreshAt):
		s.wake(p, a.refreshAt.Sub(now))
	case now.Before(p.retryAt):
		s.wake(p, p.retryAt.Sub(now))
	case a.asked.Load() && now.Before(p.expires):
		s.call(p, p.raw)
	default:
		// Nobody needs them, or the token to ask with is too old: the next
		// request brings its own, or they end.
		s.wake(p, a.until.Sub(now))
	}
}

// makeRoom keeps the cache within its bound: the first pod without credentials
// goes, among some that the map happens to give, or else any. mu is held.
func (s *Server) makeRoom() {
	if len(s.pods) < maxPods {
		return
	}
	var victim *pod
	looked := 0
	for _, victim = range s.pods {
		if looked++; looked == 32 || victim.answer.Load() == nil {
			break
		}
	}
	s.remove(victim)
}

// remove forgets p and its tokens. A call in flight ends for those who wait for
// it, and is not kept. mu is held.
func (s *Server) remove(p *pod) {
	delete(s.pods, p.workload)
	for _, hash := range p.hashes {
		delete(s.tokens, hash)
	}
	if p.timer != nil {
		p.timer.Stop()
	}
}

// Forget drops all that is kept of the workloads that match says true for, and
// the outcome of calls in flight for them: the next request asks anew. match
// must not call the Server.
func (s *Server) Forget(match func(podid.Workload) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w, p := range s.pods {
		if match(w) {
			s.remove(p)
		}
	}
}

// Close ends calls in flight and refreshes nothing more. Requests that come
// later and find nothing in the cache are refused (auth-unavailable).
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.cancel != nil {
		s.cancel()
	}
	for _, p := range s.pods {
		if p.timer != nil {
			p.timer.Stop()
		}
	}
	s.mu.Unlock()
	s.calls.Wait()
	return nil
}

// final says that the answer is about this workload and no: what it has is
// dropped. Other refusals are about the agent or the one token that was sent,
// and take nothing from a pod that has its credentials.
func final(c problem.Code) bool {
	switch c {
	case problem.TokenKeyUnknown, problem.TokenForged, problem.TokenIssuer,
		problem.PodGone, problem.PodFinished, problem.ServiceAccountGone, problem.NodeMismatch,
		problem.AssociationMissing, problem.RoleMissing,
		problem.TrustInvalid, problem.TrustDenied, problem.TrustPrincipal, problem.TrustTagSession, problem.TrustCondition,
		problem.TargetRoleDenied:
		return true
	}
	return false
}
