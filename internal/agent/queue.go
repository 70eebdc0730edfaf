package agent

import (
	"container/heap"
	"time"
)

// queue is a heap of pods; a pod is in one queue at most.
type queue struct {
	pods   []*pod
	before func(a, b *pod) bool
}

func (q *queue) Len() int           { return len(q.pods) }
func (q *queue) Less(i, j int) bool { return q.before(q.pods[i], q.pods[j]) }
func (q *queue) Swap(i, j int) {
	q.pods[i], q.pods[j] = q.pods[j], q.pods[i]
	q.pods[i].place, q.pods[j].place = i, j
}
func (q *queue) Push(x any) {
	p := x.(*pod)
	p.queue, p.place = q, len(q.pods)
	q.pods = append(q.pods, p)
}
func (q *queue) Pop() any {
	last := len(q.pods) - 1
	p := q.pods[last]
	q.pods[last] = nil
	q.pods = q.pods[:last]
	p.queue = nil
	return p
}

func (q *queue) first() *pod {
	if len(q.pods) == 0 {
		return nil
	}
	return q.pods[0]
}

// earlier orders pods that sleep.
func earlier(a, b *pod) bool { return a.at.Before(b.at) }

// more urgent is the pod whose call has not failed, or not for longer, so that one that
// fails holds up no other; then the one that has nothing left sooner.
func urgent(a, b *pod) bool {
	if x, y := a.failure(), b.failure(); !x.Equal(y) {
		return x.Before(y)
	}
	return a.end().Before(b.end())
}

// failure is when the pod's last call failed; zero if it did not.
func (p *pod) failure() time.Time {
	if p.trouble == nil {
		return time.Time{}
	}
	return p.trouble.last
}

// end is when the pod has no credentials any more.
func (p *pod) end() time.Time {
	if a := p.answer.Load(); a != nil {
		return a.until()
	}
	return time.Time{}
}

// enqueue puts p into q, and out of where it was. mu is held.
func (s *Server) enqueue(q *queue, p *pod) {
	if p.queue == q {
		heap.Fix(q, p.place)
		return
	}
	s.unqueue(p)
	heap.Push(q, p)
}

// unqueue takes p out of its queue. mu is held.
func (s *Server) unqueue(p *pod) {
	if p.queue != nil {
		heap.Remove(p.queue, p.place)
	}
}

// sleep looks at p again at a time. mu is held.
func (s *Server) sleep(p *pod, at time.Time) {
	if s.sleeping.before == nil {
		s.sleeping.before, s.ready.before = earlier, urgent
	}
	p.at = at
	s.enqueue(&s.sleeping, p)
	s.arm(at)
}

// look decides what becomes of a pod whose time has come. mu is held.
func (s *Server) look(p *pod, now time.Time) {
	a := p.answer.Load()
	if a != nil && !now.Before(a.until()) {
		p.answer.Store(nil)
		a = nil
	}
	switch {
	case p.flight != nil:
		// it is looked at again when the call has ended
	case p.ended, a == nil && !p.listed && !p.waits(now):
		s.remove(p)
	case a == nil && p.waits(now):
		s.enqueue(&s.ready, p)
	case a == nil:
		s.shed(p) // the stream keeps it, and so does what it said of it
	case now.Before(p.next(a)):
		s.sleep(p, p.next(a))
	case a.asked.Load() && now.Before(p.expires):
		s.enqueue(&s.ready, p)
	default:
		// Nobody needs them, or the token to ask with is too old: the next
		// request brings its own, or they end.
		s.sleep(p, a.until())
	}
}

// waits reports whether somebody asked for p not long ago, and was told to come
// again: the call is made without them, so that they find its answer.
func (p *pod) waits(now time.Time) bool {
	const interest = 10 * time.Second
	t := p.trouble
	return t != nil && passing(t.err) && now.Sub(t.asked) < interest && now.Before(p.expires)
}
