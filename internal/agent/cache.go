package agent

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"
)

const (
	// maxTokens of one pod are remembered: the present one, the one it replaced
	// (valid until it expires), and one to spare for a container's own volume.
	maxTokens = 4
	// idle is how long a pod without credentials is remembered that the stream does
	// not list, afterlife how long one that has ended.
	idle, afterlife = time.Minute, time.Hour
)

// cache is what the server remembers: verified tokens, by their hash, and the
// pods they speak for, with the credentials, the call in flight, and what the stream
// said of them. Its zero value is ready.
type cache struct {
	mu     sync.RWMutex
	tokens map[digest]verified
	pods   map[string]*pod // by UID
	calls
	closed bool
	done   sync.WaitGroup
	ctx    context.Context // of the calls: they outlive the requests
	cancel context.CancelFunc
}

// verified is a token whose signature was checked: until it expires, its hash
// is as good as another check.
type verified struct {
	pod     *pod
	expires int64                 // Unix seconds
	key     unique.Handle[string] // the ID of the key that verified it
}

// pod is one pod's place in the cache. All but answer and pace is guarded by cache.mu.
type pod struct {
	uid    string
	answer atomic.Pointer[answer] // nil until the first success
	pace   bucket                 // of its requests

	workload podid.Workload // zero until a token proved it
	// heard is the newest version of its association that anybody told; it never goes back.
	heard stream.Version
	// listed says that the stream knows the pod, ended that the pod is no more.
	listed, ended bool

	hashes  []digest  // of its tokens, oldest first
	token   packed    // its newest, to renew with
	expires time.Time // of token

	flight  *flight
	trouble *trouble // nil unless the last call failed
	// owes is the source that has paid for the pod's token, which nothing has proved yet.
	owes *bucket

	// at is when to look at the pod again; place is where it is in which queue.
	at    time.Time
	queue *queue
	place int
}

// trouble is what a pod has whose last call failed.
type trouble struct {
	err     error
	calls   int       // that failed in a row
	last    time.Time // when the last one did, so that others go first
	retryAt time.Time // not before
	asked   time.Time // when somebody last wanted its credentials
}

// next is when to renew a.
func (p *pod) next(a *answer) time.Time {
	if p.trouble != nil {
		return later(a.refreshAt.time(), p.trouble.retryAt)
	}
	return a.refreshAt.time()
}

// name is the pod's workload, for the log. It needs no mu: a pod that is asked for has
// one, which does not change.
func (p *pod) name() podid.Workload { return p.workload }

// known finds the pod of a token that was verified and has not expired.
func (s *Server) known(sum digest, now time.Time) *pod {
	s.mu.RLock()
	v, ok := s.tokens[sum]
	s.mu.RUnlock()
	if !ok || now.Unix() >= v.expires {
		return nil
	}
	return v.pod
}

// hit returns the pod's answer if it is ready.
func (s *Server) hit(p *pod, now time.Time) *answer {
	a := p.answer.Load()
	if a == nil || !s.fresh(a, now) {
		return nil
	}
	if !a.asked.Load() {
		s.wanted(p, a)
	}
	return a
}

// fresh reports whether a may be served: it has not expired, and there were news of its
// pod not too long ago.
func (s *Server) fresh(a *answer, now time.Time) bool {
	staleness := s.staleness()
	return now.Before(a.until()) && (now.Sub(a.received.time()) < staleness || now.Sub(s.lastNews()) < staleness)
}

func (s *Server) staleness() time.Duration {
	if s.MaxStaleness > 0 {
		return s.MaxStaleness
	}
	return defaultStaleness
}

// wanted notes that somebody was served a, so that it is renewed, at once if that is due.
func (s *Server) wanted(p *pod, a *answer) {
	a.asked.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pods[p.uid] == p && p.answer.Load() == a && p.flight == nil {
		s.sleep(p, p.next(a))
		s.work()
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// remember keeps a token that was just verified, unless its key was withdrawn meanwhile.
func (s *Server) remember(raw string, h digest, t token.Token, by *trusted) (*pod, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.trust.now.Load(); s.Tokens == nil && now != by && !now.keys.Has(t.KeyID, by.keys) {
		return nil, problem.New(problem.TokenKeyUnknown, "the key of the token was withdrawn just now")
	}
	p := s.pods[t.Workload.PodUID]
	if p != nil && p.workload.PodUID != "" && p.workload != t.Workload {
		// No API server says two things of one pod; whoever speaks last starts anew.
		s.shed(p)
		s.drop(p)
		q := s.place(p.uid)
		q.heard, q.listed, q.ended = p.heard, p.listed, p.ended
		p = q
	}
	if p == nil {
		p = s.place(t.Workload.PodUID)
	}
	if p.workload.PodUID == "" {
		p.workload = t.Workload
		p.workload.PodUID = p.uid // the one string for both
	}
	if _, twice := s.tokens[h]; !twice {
		if len(p.hashes) == maxTokens {
			delete(s.tokens, p.hashes[0])
			p.hashes = slices.Delete(p.hashes, 0, 1)
		}
		p.hashes = append(p.hashes, h)
	}
	if s.tokens == nil {
		s.tokens = map[digest]verified{}
	}
	s.tokens[h] = verified{p, t.Expires.Unix(), unique.Make(t.KeyID)}
	if !p.ended && !t.Expires.Before(p.expires) {
		p.token, p.expires = pack(raw), t.Expires
		if a := p.answer.Load(); a != nil && p.flight == nil {
			s.sleep(p, p.next(a)) // there is a token to renew with again
		}
	}
	return p, nil
}

// place makes room for a pod. mu is held.
func (s *Server) place(uid string) *pod {
	if s.pods == nil {
		s.pods = map[string]*pod{}
	}
	if len(s.pods) >= s.Limits.pods() {
		s.remove(s.victim())
	}
	p := &pod{uid: uid}
	s.pods[uid] = p
	s.sleep(p, s.now().Add(idle))
	return p
}

// victim is the pod that is missed least, among some that the map happens to give.
// mu is held.
func (s *Server) victim() *pod {
	var victim *pod
	least, looked := 0, 0
	for _, p := range s.pods {
		worth := 0
		if p.listed {
			worth++
		}
		if p.answer.Load() != nil {
			worth += 2
		}
		if victim == nil || worth < least {
			victim, least = p, worth
		}
		if looked++; least == 0 || looked == 32 {
			break
		}
	}
	return victim
}

// remove forgets p and its tokens. A call in flight ends for those who wait for
// it, and is not kept. mu is held.
func (s *Server) remove(p *pod) {
	s.shed(p)
	s.drop(p)
	s.unqueue(p)
	delete(s.pods, p.uid)
}

// shed forgets p's tokens. mu is held.
func (s *Server) shed(p *pod) {
	for _, h := range p.hashes {
		delete(s.tokens, h)
	}
	p.hashes, p.token, p.expires = nil, packed{}, time.Time{}
}

// drop forgets what p was answered: the next request asks anew. mu is held.
func (s *Server) drop(p *pod) {
	p.answer.Store(nil)
	p.trouble = nil
}

// Close ends calls in flight and renews nothing more. Requests that come
// later and find nothing in the cache are refused (auth-unavailable).
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.cancel != nil {
		s.cancel()
	}
	if s.alarm != nil {
		s.alarm.Stop()
	}
	for _, f := range s.misses {
		f.err = stopping()
		close(f.done)
	}
	s.misses = nil
	s.mu.Unlock()
	s.done.Wait()
	return nil
}

func stopping() error { return problem.New(problem.AuthUnavailable, "the agent is stopping") }
