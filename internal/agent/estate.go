package agent

import (
	"encoding/json"
	"fmt"
	"time"
	"unique"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/internal/token"
)

// estate is what one agent leaves to the next on its node (package handover). It is
// a secret: it holds tokens and credentials.
type estate struct {
	// Format is raised when an older agent would read it wrongly.
	Format int
	// News is as of when the newest news are, in nanoseconds since 1970.
	News int64
	// Key is what the hashes of the tokens are made with.
	Key  []byte
	Pods []heir
}

const estateFormat = 1

// heir is a pod of an estate.
type heir struct {
	UID           string
	Workload      podid.Workload
	Heard         stream.Version
	Listed, Ended bool

	Token   string // its newest, to renew with
	Expires time.Time
	Tokens  []heirToken
	Answer  *heirAnswer `json:",omitempty"`
}

type heirToken struct {
	Hash    []byte
	Expires int64
	Key     string
}

type heirAnswer struct {
	Body                         []byte
	Association                  stream.Version
	Received, RefreshAt, Expires time.Time
	Asked                        bool
}

// Bequeath is all that the server remembers, for the agent that takes over.
func (s *Server) Bequeath() ([]byte, error) {
	s.digester.start(nil)
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := estate{Format: estateFormat, News: s.news.at.Load(), Key: s.digester.key, Pods: make([]heir, 0, len(s.pods))}
	for _, p := range s.pods {
		h := heir{UID: p.uid, Workload: p.workload, Heard: p.heard, Listed: p.listed, Ended: p.ended, Token: p.token.String(), Expires: p.expires}
		for _, hash := range p.hashes {
			v := s.tokens[hash]
			h.Tokens = append(h.Tokens, heirToken{hash[:], v.expires, v.key.Value()})
		}
		if a := p.answer.Load(); a != nil {
			h.Answer = &heirAnswer{a.body, a.association, a.received.time(), a.refreshAt.time(), a.expires.time(), a.asked.Load()}
		}
		e.Pods = append(e.Pods, h)
	}
	return json.Marshal(e)
}

// Inherit remembers what another agent of this node did. It is called before the
// server serves. What the stream says of it later counts as if it had always been here.
func (s *Server) Inherit(bequeathed []byte) error {
	var e estate
	if err := json.Unmarshal(bequeathed, &e); err != nil {
		return fmt.Errorf("read what the other agent left: %w", err)
	}
	if e.Format != estateFormat {
		return fmt.Errorf("the other agent left what this one cannot read: format %d, not %d", e.Format, estateFormat)
	}
	s.digester.start(e.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.work()
	now := s.now()
	s.news.at.Store(min(e.News, now.UnixNano()))
	s.news.said.Store(s.news.at.Load())
	for _, h := range e.Pods[:min(len(e.Pods), s.Limits.pods())] {
		if s.pods[h.UID] == nil && h.fit() {
			s.inherit(h, now)
		}
	}
	return nil
}

// fit reports whether an agent can have left this.
func (h heir) fit() bool {
	if h.UID == "" || len(h.UID) > 128 || len(h.Token) > token.MaxSize || len(h.Tokens) > maxTokens {
		return false
	}
	for _, t := range h.Tokens {
		if len(t.Hash) != len(digest{}) || len(t.Key) > token.MaxSize {
			return false
		}
	}
	return true
}

// fit reports whether the answer may be served.
func (a *heirAnswer) fit(now time.Time) bool {
	return a != nil && len(a.Body) <= maxReply && json.Valid(a.Body) && !a.Received.After(now) && a.RefreshAt.Before(a.Expires) &&
		now.Before(a.Expires) && a.Expires.Sub(a.Received) < longestLife
}

// longestLife is more than any role session has
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_manage-assume.html).
const longestLife = 24 * time.Hour

// inherit remembers one pod. mu is held.
func (s *Server) inherit(h heir, now time.Time) {
	p := s.place(h.UID)
	p.workload, p.heard, p.listed, p.ended = h.Workload, h.Heard, h.Listed, h.Ended
	p.token, p.expires = pack(h.Token), h.Expires
	if s.tokens == nil {
		s.tokens = map[digest]verified{}
	}
	for _, t := range h.Tokens {
		hash := digest(t.Hash)
		p.hashes = append(p.hashes, hash)
		s.tokens[hash] = verified{p, t.Expires, unique.Make(t.Key)}
	}
	switch a := h.Answer; {
	case p.ended:
		s.sleep(p, now.Add(afterlife))
	case a.fit(now):
		is := &answer{body: a.Body, association: a.Association, received: at(a.Received), expires: at(a.Expires)}
		is.asked.Store(a.Asked)
		is.plan()
		is.refreshAt = at(a.RefreshAt) // drawn once: a rollout renews nothing early
		p.answer.Store(is)
		s.sleep(p, p.next(is))
	}
}
