package agent

import (
	"cmp"
	"container/heap"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// settle keeps the outcome of a call and wakes who waits for it. It reports false when
// the call is to be made again instead: the answer was out of date when it came.
func (s *Server) settle(f *flight, reply Reply, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, p := s.now(), f.pod
	s.running--
	if f.source != nil {
		f.source.running--
	}
	defer s.work()
	s.note(f, err, now)
	last := p.flight == f // no other call was made meanwhile
	late := f.late() || !last

	if err == nil || problem.Is(err, problem.AssociationMissing) {
		if f.outdated(&reply, late, err != nil) {
			if f.tries < maxTries && !s.closed {
				f.started = time.Time{}
				s.misses = slices.Insert(s.misses, 0, f)
				return false
			}
			err = behind()
		}
		late = late && reply.Association != p.heard
	}
	if err == nil {
		f.accessKey = reply.Credentials.AccessKeyID
		f.answer, err = newAnswer(reply, now, f.ahead)
	}
	if err == nil && s.news.at.Load() == 0 {
		f.answer.renewWithin(s.staleness())
	}
	f.err = err
	s.repay(p, err)
	if last {
		p.flight = nil
	}
	defer close(f.done)
	switch {
	case s.pods[p.uid] != p:
		// Forgotten meanwhile: the answer is for those who wait.
	case p.ended:
		f.answer, f.err = nil, gone(p)
	case late && last:
		s.again(p)
	case late:
		// The other call sees to the rest, or has.
	case err == nil:
		s.drop(p)
		p.answer.Store(f.answer)
		s.sleep(p, p.next(f.answer))
	default:
		s.fail(f, err, now)
	}
	return true
}

// outdated reports whether an answer was out of date already when f asked for it, and takes in
// the version that it is of, if that is newer than what was heard. mu is held.
func (f *flight) outdated(reply *Reply, late, refused bool) bool {
	p := f.pod
	switch {
	case reply.Association == p.heard:
		reply.Association = p.heard // the one string for both
	case !reply.Association.Older(p.heard):
		p.heard = reply.Association
	case refused && reply.Association == stream.Version{}:
		// It does not say as of when.
	case late && !reply.Association.Older(f.heard):
		// It is true as of when those asked who wait for it, and is for nobody else.
	default:
		return true
	}
	return false
}

func behind() error {
	return problem.New(problem.ReplicaBehind, "podid-auth answered for an association that has changed since")
}

// fail notes that p's call failed. mu is held.
func (s *Server) fail(f *flight, err error, now time.Time) {
	p := f.pod
	if p.trouble == nil {
		p.trouble = &trouble{}
	}
	t := p.trouble
	t.err, t.last, t.asked = err, now, later(t.asked, f.asked)
	t.calls++
	pause := cmp.Or(s.Limits.Refusal, refusedFor)
	switch {
	case pause < 0:
		pause = 0
	case passing(err) && s.outage(now):
		pause = max(firstRetry-now.Sub(f.started), 0) // the queue sees to it that one at a time asks
	case problem.Is(err, problem.ReplicaBehind):
		pause = min(behindRetry<<min(t.calls-1, 10), lastRetry)
	case passing(err):
		pause = min(firstRetry<<min(t.calls-1, 10), lastRetry)
	}
	pause += rand.N(pause/2 + 1)
	t.retryAt = now.Add(max(pause, pauseWanted(err)))
	if final(problem.Of(err).Code) {
		p.answer.Store(nil)
	}
	switch a := p.answer.Load(); {
	case a != nil && a.until().Before(t.retryAt):
		s.sleep(p, a.until())
	case a != nil || passing(err):
		s.sleep(p, t.retryAt)
	default:
		s.sleep(p, now.Add(idle))
	}
}

// note takes from the outcome of a call what it says of podid-auth. mu is held.
func (s *Server) note(f *flight, err error, now time.Time) {
	code := problem.Code("")
	if err != nil {
		code = problem.Of(err).Code
	}
	switch {
	case code == problem.STSThrottled || code == problem.TooManyRequests:
		// It is too much: all wait, and then one goes first.
		pause := max(time.Second<<min(s.tooMuch, 3), pauseWanted(err))
		s.tooMuch++
		s.slots, s.away = 1, 0
		s.paused, s.pausedFor = later(s.paused, now.Add(pause+rand.N(pause/4))), err
	case away(code):
		if s.away++; s.away == 1 {
			s.awaySince, s.awayOne = now, f.pod.uid
		} else if s.awayOne != f.pod.uid {
			s.awayOne = "" // several
		}
		s.awayFor, s.awayLast = err, now
		s.nextProbe = later(f.started.Add(probeEvery+rand.N(probeEvery/2)), now.Add(50*time.Millisecond))
	case code == problem.ReplicaBehind:
		// It says nothing of the others.
	default:
		if s.outage(now) {
			s.release(now)
		}
		s.away, s.awayFor, s.tooMuch, s.pausedFor = 0, nil, 0, nil
		if s.slots *= 2; s.slots >= s.Limits.calls() {
			s.slots = 0
		}
	}
}

// outage reports whether podid-auth answers nobody: then those who failed are not
// asked for again one by one, but wait for the one that probes. One pod whose calls fail may
// be the only one whose calls do, until no other's succeeded for a while.
func (s *Server) outage(now time.Time) bool {
	return s.away > 1 && (s.awayOne == "" || now.Sub(s.awaySince) > 2*time.Second) && now.Sub(s.awayLast) < probesFor
}

// probesFor is how long nothing is asked, because nobody waits for it, until nobody can say whether
// podid-auth still is away.
const probesFor = 30 * time.Second

// release lets all that failed while podid-auth was away ask again. mu is held.
func (s *Server) release(now time.Time) {
	for _, p := range s.pods {
		t := p.trouble
		if t == nil || p.flight != nil || !passing(t.err) {
			continue
		}
		t.calls, t.last, t.retryAt = 0, time.Time{}, time.Time{}
		if p.queue == &s.sleeping {
			s.unqueue(p)
			s.look(p, now)
		}
	}
	heap.Init(&s.ready)
}

// slow is why a request did not get what it waited for.
func (s *Server) slow(f *flight) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	switch {
	case !f.started.IsZero() && now.Sub(f.started) >= cmp.Or(s.Timeout, defaultTimeout):
		return s.Upstream.unavailable("%s did not answer within %s", s.Upstream, patience)
	case now.Before(s.paused) && s.pausedFor != nil:
		return refusal{after: s.paused.Sub(now), error: s.pausedFor}
	case s.outage(now):
		return s.awayFor
	case f.tries > 1:
		return behind()
	}
	return problem.New(problem.TooManyRequests, "%d workloads of this node wait for credentials", len(s.misses)).
		Because("they started at the same time, and %s is asked for a few at a time", s.Upstream).
		Fixed("nothing: the call is made all the same, and the SDK finds its answer when it asks again")
}

// pauseWanted is what podid-auth asked for with Retry-After.
func pauseWanted(err error) time.Duration {
	told, _ := errors.AsType[refusal](err)
	return min(told.after, longestPause)
}

// passing reports whether err may heal by itself or by somebody's hand elsewhere, so that asking again
// with the same token makes sense.
func passing(err error) bool { return problem.Lookup(problem.Of(err).Code).Kind != problem.Refused }

// away reports whether code is about podid-auth or what it needs, not about the pod that
// was asked for.
func away(code problem.Code) bool {
	switch code {
	case problem.AuthUnavailable, problem.ClusterUnavailable, problem.STSUnavailable, problem.CallerUnproven:
		return true
	}
	return false
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
