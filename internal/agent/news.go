package agent

import (
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// news is what the stream of podid-auth has brought. Its zero value is ready.
type news struct {
	// at is as of when the newest news are, said when the last line came; both in
	// nanoseconds since 1970; 0: never.
	at, said atomic.Int64
	open     atomic.Bool
	nextLook time.Time // for newer ones; Follow's alone
}

// lastNews is as of when the newest news are, long ago if there never were any. A
// podid-auth that hears nothing from the API server goes on talking.
func (n *news) lastNews() time.Time { return time.Unix(0, n.at.Load()) }

// came takes in that a line came, of news that were old then.
func (n *news) came(now time.Time, old time.Duration) {
	n.said.Store(now.UnixNano())
	n.at.Store(max(n.at.Load(), now.Add(-old).UnixNano()))
}

// Hear takes in a line of podid-auth's stream: who asks from then on is served nothing
// that it says is out of date. An error says that the stream cannot be relied on.
func (s *Server) Hear(m stream.Message) error {
	switch {
	case m.Snapshot != nil:
		if err := s.trustIn(m.Snapshot.Issuer, m.Snapshot.Keys); err != nil {
			return err
		}
		s.hearAll(m.Snapshot.Pods, m.Old() > stream.OldAfter && s.now().Add(-m.Old()).Before(s.lastNews()))
	case m.Keys != nil:
		if err := s.trustIn("", m.Keys); err != nil {
			return err
		}
	case m.Pod != "":
		s.hearOf(m.Pod, m.Association)
	case m.PodEnded != "":
		s.hearEnd(m.PodEnded)
	}
	s.news.came(s.now(), m.Old())
	return nil
}

// hearAll takes in the pods of a snapshot. Of a pod that it does not list the stream
// may have said the end while nobody listened: podid-auth is asked anew. But one that is
// behind may never have heard of the pod, and could not say.
func (s *Server) hearAll(pods map[string]stream.Pod, behind bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.work()
	s.nextProbe = time.Time{} // podid-auth is there
	for uid, p := range s.pods {
		if _, ok := pods[uid]; ok || p.ended || behind {
			continue
		}
		s.drop(p)
		p.listed = false
		if p.flight == nil {
			s.sleep(p, s.now().Add(idle))
		}
	}
	for uid, told := range pods {
		s.hear(uid, told.Association)
	}
}

func (s *Server) hearOf(uid string, association *stream.Version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.work()
	if association == nil {
		association = &stream.Version{}
	}
	s.hear(uid, *association)
}

// hear takes in the version of a pod's association: what was issued under an older one,
// or refused, is dropped, and asked for at once if somebody wanted it. A call under way may
// bring that version or an older one: who asks before it ends does not wait for it. mu is held.
func (s *Server) hear(uid string, is stream.Version) {
	p := s.pods[uid]
	if p == nil {
		p = s.place(uid)
	}
	p.listed = true
	if p.ended || is == p.heard || is.Older(p.heard) {
		return // a pod does not come back, nor does a version
	}
	p.heard = is
	a := p.answer.Load()
	if a != nil && a.association == is {
		return
	}
	wanted := a != nil && a.asked.Load() || p.trouble != nil && s.now().Sub(p.trouble.asked) < idle
	s.drop(p)
	switch {
	case p.flight != nil:
		// It is still to be asked for; or is under way, and then it is seen what it brought.
	case wanted:
		s.again(p)
	default:
		s.sleep(p, s.now().Add(idle))
	}
}

// again asks anew for what somebody wanted, unless it is there already, where there is
// something to ask for and with. mu is held.
func (s *Server) again(p *pod) {
	switch a := p.answer.Load(); {
	case a != nil:
		s.sleep(p, p.next(a))
	case s.closed || p.heard.UID == "" || !s.now().Before(p.expires) || len(s.misses) >= s.Limits.waiting():
		s.sleep(p, s.now().Add(idle))
	default:
		s.want(p, p.token.String())
	}
}

func (s *Server) hearEnd(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pods[uid]
	if p == nil {
		p = s.place(uid)
	}
	s.drop(p)
	p.ended, p.token, p.expires = true, packed{}, time.Time{} // there is nothing to renew
	s.sleep(p, s.now().Add(afterlife))
}

// Ready says why the agent cannot do all that it is for; nil if it can.
func (s *Server) Ready() error {
	s.mu.RLock()
	var away error
	if s.outage(s.now()) {
		away = s.awayFor
	}
	s.mu.RUnlock()
	if s.Lacking != nil {
		if err := s.Lacking(); err != nil {
			return err
		}
	}
	switch {
	case s.Tokens == nil && s.trust.now.Load() == nil:
		return problem.New(problem.AuthUnavailable, "podid-auth has not told the cluster's keys yet")
	case s.Tokens == nil && !s.news.open.Load():
		return problem.New(problem.AuthUnavailable, "there are no news of pods and associations since %s", s.lastNews().UTC().Format(time.RFC3339)).
			Because("the stream of podid-auth is broken; what is here is served as long as --max-staleness allows")
	}
	return away
}
