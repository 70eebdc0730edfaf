package agent

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// Limits bound what pods can make the agent do and keep. The zero value is good.
type Limits struct {
	// Rate is how many requests a second a workload may make; 300 if zero. It bounds a pod
	// that asks in a loop, not one that starts a program a hundred times a second.
	Rate int
	// Burst is how many it may make at once, after a pause; 1,000 if zero.
	Burst int
	// Pods bounds the pods that are remembered; [stream.MaxPods] if zero.
	Pods int
	// Calls bounds the calls to podid-auth that are under way at once; 8 if zero.
	Calls int
	// Waiting bounds the workloads that wait for such a call; 1,024 if zero.
	Waiting int
	// Refusal is how long a refusal is told again without a call, unless news of the pod
	// come; 3 s if zero. Negative, every request makes its call, after failures too.
	Refusal time.Duration
}

func (l Limits) pod() limit {
	every := time.Second / time.Duration(orElse(l.Rate, 300))
	return limit{every, every * time.Duration(orElse(l.Burst, 1000))}
}

func (l Limits) pods() int    { return orElse(l.Pods, stream.MaxPods) }
func (l Limits) calls() int   { return orElse(l.Calls, 8) }
func (l Limits) waiting() int { return orElse(l.Waiting, 1024) }

// unproved is how many calls for tokens from one address that nothing has proved may wait, and
// atOnce how many may be under way.
func (l Limits) unproved() int { return max(l.waiting()/16, 1) }
func (l Limits) atOnce() int   { return max(l.calls()/2, 1) }

func orElse(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// sourceLimit is for requests of one address that prove no workload. Most of what
// it stops would cost a signature check.
var sourceLimit = limit{every: 50 * time.Millisecond, burst: 10 * time.Second}

// hold is how long a request over the limit waits for its turn, and how long one that
// would have to wait longer is held before it is refused: a client that asks again as
// soon as it has an answer then costs little.
const hold = 500 * time.Millisecond

// limit admits one every so often, and more at once after a pause, as many as would
// have fitted into burst.
type limit struct{ every, burst time.Duration }

// bucket keeps the account of one client. Its zero value is full.
type bucket struct {
	// level is when the bucket will be full again (the generic cell rate algorithm), in
	// nanoseconds since 1970.
	level atomic.Int64
	// told is when a refusal was last logged, in the same.
	told atomic.Int64
	// running is how many calls are under way for its tokens that nothing has proved. It is
	// guarded by cache.mu.
	running int
}

// tellEvery is how often the log has that somebody asks too much.
const tellEvery = 10 * time.Second

// take says how long a request has to wait for its turn. One that would have to wait
// longer than hold is not counted.
func (b *bucket) take(now time.Time, l limit) time.Duration {
	at := now.UnixNano()
	for {
		was := b.level.Load()
		level := max(was, at) + int64(l.every)
		wait := time.Duration(level-at) - l.burst
		if wait > hold || b.level.CompareAndSwap(was, level) {
			return wait
		}
	}
}

// giveBack undoes a take.
func (b *bucket) giveBack(l limit) { b.level.Add(-int64(l.every)) }

// wait returns when it is the request's turn; too-many-requests if that is too far off.
func (b *bucket) wait(ctx context.Context, now time.Time, l limit) error {
	wait := b.take(now, l)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(min(wait, hold))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	if wait <= hold {
		return nil
	}
	last := b.told.Load()
	silent := now.UnixNano()-last < int64(tellEvery) || !b.told.CompareAndSwap(last, now.UnixNano())
	return refusal{after: wait - hold, silent: silent,
		error: problem.New(problem.TooManyRequests, "more than %d requests a second come from here", time.Second/l.every)}
}

// sources are the accounts of addresses, for requests that prove no workload. Its
// zero value is ready.
type sources struct {
	mu        sync.Mutex
	byAddress map[netip.Addr]*bucket
	rest      bucket // for all addresses that there is no room for
}

// maxSources is more than a node has pods.
const maxSources = 1024

// of is the account of the address in "IP:port".
func (s *sources) of(remote string, now time.Time) *bucket {
	address, err := netip.ParseAddrPort(remote)
	if err != nil {
		return &s.rest
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ip := address.Addr().Unmap().WithZone("")
	if b := s.byAddress[ip]; b != nil {
		return b
	}
	if s.byAddress == nil {
		s.byAddress = map[netip.Addr]*bucket{}
	}
	if len(s.byAddress) >= maxSources {
		for ip, b := range s.byAddress {
			if b.level.Load() <= now.UnixNano() {
				delete(s.byAddress, ip) // full again: as good as new
			}
		}
		if len(s.byAddress) >= maxSources {
			return &s.rest
		}
	}
	b := new(bucket)
	s.byAddress[ip] = b
	return b
}
