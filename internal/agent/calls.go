package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"

	"github.com/google/uuid"
)

const (
	// A failure is told again, without a call, for as long as this: at first
	// half a second if it may pass by itself, more with each one in a row.
	// (a replica that is behind is told what it lacks in milliseconds).
	firstRetry, lastRetry = 500 * time.Millisecond, 16 * time.Second
	behindRetry           = 50 * time.Millisecond
	// refusedFor is how long a refusal is. News of the pod end it.
	refusedFor = 3 * time.Second
	// probeEvery is how often one pod asks for all while podid-auth is away, at the most.
	probeEvery = 600 * time.Millisecond
	// longestPause bounds what podid-auth can ask for with Retry-After.
	longestPause = time.Minute
	// mostInRow calls that somebody waits for are made before one that is due for renewal: misses
	// that never run dry would have all others' credentials end.
	mostInRow = 7
	// maxTries of one flight: an answer that was out of date when it was asked for is
	// asked for again.
	maxTries = 3
)

// calls are the calls to podid-auth: those that somebody waits for in the order in which
// they were asked for, one of each pod, then those ahead of expiry, which get one in eight at
// the least.
type calls struct {
	misses   []*flight
	ready    queue // pods whose renewal is due
	sleeping queue // pods to look at later
	running  int
	inRow    int // calls that somebody waited for, since the last one ahead of expiry

	// slots is how many may run while podid-auth says that it is too much; 0: all.
	slots  int
	paused time.Time // nothing starts before
	// away counts the calls in a row that found podid-auth unable to answer anybody, since
	// when, and what the last one said. Meanwhile one call at a time probes.
	away      int
	awaySince time.Time
	awayLast  time.Time
	awayOne   string // the UID of the pod, if it was the same each time
	awayFor   error
	pausedFor error
	tooMuch   int // refusals in a row that said it is too much
	nextProbe time.Time

	alarm   *time.Timer
	alarmAt time.Time
}

// flight is one call to podid-auth, for all who wait. answer or err is set when
// done is closed.
type flight struct {
	id      string // by which podid-auth's log has the call
	pod     *pod
	source  *bucket        // that sent the token; nil: it is proved
	raw     string         // the token to ask with
	heard   stream.Version // of the association, when it was started
	ahead   bool           // nobody waits: the pod has its credentials
	asked   time.Time      // when somebody last joined it; zero: nobody did
	started time.Time      // zero while it waits
	tries   int
	logged  atomic.Bool // one line for all who waited
	done    chan struct{}
	answer  *answer
	// accessKey of the answer, for the log.
	accessKey string
	err       error
}

// late says that something newer of the pod's association was heard since the call began, from
// the stream or from another call: it may bring what is out of date. mu is held.
func (f *flight) late() bool { return !f.started.IsZero() && f.heard != f.pod.heard }

// join returns p's answer if it is ready, or else the call in flight, starting
// one if there is none and none has just failed.
func (s *Server) join(p *pod, raw string) (*answer, *flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if a := p.answer.Load(); a != nil && s.fresh(a, now) {
		a.asked.Store(true)
		return a, nil, nil
	}
	t := p.trouble
	if t != nil {
		t.asked = now
	}
	switch {
	case p.ended:
		return nil, nil, gone(p)
	case p.flight != nil && !p.flight.late():
		p.flight.asked = now
		return nil, p.flight, nil
	case s.closed:
		return nil, nil, stopping()
	case t != nil && (now.Before(t.retryAt) || s.outage(now) && passing(t.err)) && s.Limits.Refusal >= 0:
		if p.queue == nil {
			s.sleep(p, t.retryAt)
		}
		return nil, nil, refusal{after: t.retryAt.Sub(now), silent: true, error: t.err}
	case len(s.misses) >= s.Limits.waiting():
		return nil, nil, problem.New(problem.TooManyRequests, "%d workloads of this node wait for credentials already", len(s.misses))
	case s.crowded(p.owes):
		return nil, nil, problem.New(problem.TooManyRequests, "%d tokens from this address wait to be proved already", s.Limits.unproved())
	}
	f := s.want(p, raw)
	f.asked = now
	s.work()
	return nil, f, nil
}

func gone(p *pod) error {
	return problem.New(problem.PodGone, "the pod %s/%s has ended", p.workload.Namespace, p.workload.Pod)
}

// want queues a call for p that somebody waits for, or will. mu is held.
func (s *Server) want(p *pod, raw string) *flight {
	f := newFlight(p, raw)
	s.unqueue(p)
	s.misses = append(s.misses, f)
	return f
}

func newFlight(p *pod, raw string) *flight {
	p.flight = &flight{id: uuid.NewString(), pod: p, source: p.owes, raw: raw, ahead: p.answer.Load() != nil, done: make(chan struct{})}
	return p.flight
}

// work looks at the pods whose time has come and starts what may start. mu is held.
func (s *Server) work() {
	if s.closed {
		return
	}
	now := s.now()
	for p := s.sleeping.first(); p != nil && !p.at.After(now); p = s.sleeping.first() {
		s.unqueue(p)
		s.look(p, now)
	}
	for !now.Before(s.paused) && s.running < s.limit() {
		p, miss := s.ready.first(), slices.IndexFunc(s.misses, s.mayStart)
		due := p != nil && (s.away == 0 || s.running == 0 && !now.Before(s.nextProbe))
		switch {
		case miss >= 0 && (!due || s.inRow < mostInRow):
			f := s.misses[miss]
			s.misses = slices.Delete(s.misses, miss, miss+1)
			s.inRow++
			s.start(f)
		case due:
			s.unqueue(p)
			s.inRow = 0
			s.start(newFlight(p, p.token.String()))
		default:
			s.rearm(now)
			return
		}
	}
	s.rearm(now)
}

func (s *Server) limit() int {
	if s.slots > 0 {
		return min(s.slots, s.Limits.calls())
	}
	return s.Limits.calls()
}

// rearm sets the alarm for what waits for a time. What waits for a call to end needs none.
// mu is held.
func (s *Server) rearm(now time.Time) {
	if p := s.sleeping.first(); p != nil {
		s.arm(p.at)
	}
	switch {
	case len(s.misses) == 0 && s.ready.Len() == 0:
	case now.Before(s.paused):
		s.arm(s.paused)
	case s.away > 0 && now.Before(s.nextProbe):
		s.arm(s.nextProbe)
	}
}

// arm makes work run at a time, or earlier. mu is held.
func (s *Server) arm(at time.Time) {
	if s.closed || !s.alarmAt.IsZero() && !at.Before(s.alarmAt) {
		return
	}
	s.alarmAt = at
	d := at.Sub(s.now())
	if s.alarm == nil {
		s.alarm = time.AfterFunc(d, s.ring)
		return
	}
	s.alarm.Reset(d)
}

func (s *Server) ring() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alarmAt = time.Time{}
	s.work()
}

// start makes the call. mu is held.
func (s *Server) start(f *flight) {
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancel(context.Background())
	}
	s.running++
	if f.source != nil {
		f.source.running++
	}
	f.started = s.now()
	f.tries++
	f.heard = f.pod.heard
	ctx, ask := s.ctx, Ask{Token: f.raw, Association: f.heard, ID: f.id}
	s.done.Go(func() {
		reply, err := s.exchange(ctx, ask)
		took := s.now().Sub(f.started)
		s.metrics.called(err, f.ahead, took)
		if s.settle(f, reply, err) && (f.ahead || f.asked.IsZero()) { // nobody who waited has a line
			s.log(ctx, "refresh", f.pod.name(), took, problem.Of(f.err), slog.String("request", f.id))
		}
	})
}

// exchange is one call to podid-auth within its time. What goes wrong in it does not end the
// agent, on which a whole node relies.
func (s *Server) exchange(ctx context.Context, ask Ask) (r Reply, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = problem.New(problem.Internal, "podid could not answer").From(fmt.Errorf("panic: %v\n%s", fault, debug.Stack()))
		}
	}()
	timeout := s.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err = s.Exchange.Exchange(ctx, ask)
	if err == nil && !r.Credentials.Expires.After(s.now()) {
		return r, s.Upstream.unavailable("%s sent credentials that have expired", s.Upstream).
			Fixed("synchronise the clocks (NTP) of the nodes and of the STS")
	}
	if _, told := errors.AsType[*problem.Problem](err); err == nil || told {
		return r, err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return r, s.Upstream.unavailable("%s did not answer within %s", s.Upstream, timeout).From(err)
	case errors.Is(err, context.Canceled):
		return r, stopping()
	}
	return r, err
}
