package agent

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"
	"unique"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/stream"
)

// estate is what one agent leaves to the next on its node (package handover). It is
// a secret: it holds tokens and credentials.
type estate struct {
	// Format is raised when an older agent would read it wrongly.
	Format int
	// News is when the stream last said anything, in nanoseconds since 1970.
	News int64
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
	AccessKey                    string
	Association                  stream.Version
	Received, RefreshAt, Expires time.Time
	Asked                        bool
}

// Bequeath is all that the server remembers, for the agent that takes over.
func (s *Server) Bequeath() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := estate{Format: estateFormat, News: s.news.at.Load(), Pods: make([]heir, 0, len(s.pods))}
	for _, p := range s.pods {
		h := heir{UID: p.uid, Workload: p.workload, Heard: p.heard, Listed: p.listed, Ended: p.ended, Token: p.token.String(), Expires: p.expires}
		for _, hash := range p.hashes {
			v := s.tokens[hash]
			h.Tokens = append(h.Tokens, heirToken{hash[:], v.expires, v.key.Value()})
		}
		if a := p.answer.Load(); a != nil {
			h.Answer = &heirAnswer{a.body, a.accessKey, a.association, a.received, a.refreshAt, a.expires, a.asked.Load()}
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
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.work()
	s.news.at.Store(e.News)
	now := s.now()
	for _, h := range e.Pods[:min(len(e.Pods), s.Limits.pods())] {
		if h.UID != "" && s.pods[h.UID] == nil {
			s.inherit(h, now)
		}
	}
	return nil
}

// inherit remembers one pod. mu is held.
func (s *Server) inherit(h heir, now time.Time) {
	p := s.place(h.UID)
	p.workload, p.heard, p.listed, p.ended = h.Workload, h.Heard, h.Listed, h.Ended
	p.token, p.expires = pack(h.Token), h.Expires
	if s.tokens == nil {
		s.tokens = map[[sha256.Size]byte]verified{}
	}
	for _, t := range h.Tokens[:min(len(h.Tokens), maxTokens)] {
		var hash [sha256.Size]byte
		if copy(hash[:], t.Hash) == len(hash) {
			p.hashes = append(p.hashes, hash)
			s.tokens[hash] = verified{p, t.Expires, unique.Make(t.Key)}
		}
	}
	switch a := h.Answer; {
	case p.ended:
		s.sleep(p, now.Add(afterlife))
	case a != nil:
		is := &answer{body: a.Body, accessKey: a.AccessKey, association: a.Association, received: a.Received, expires: a.Expires}
		is.asked.Store(a.Asked)
		is.plan()
		is.refreshAt = a.RefreshAt // drawn once: a rollout renews nothing early
		p.answer.Store(is)
		s.sleep(p, is.refreshAt)
	}
}
