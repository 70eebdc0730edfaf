package agent

import "time"

// Statuses is the table, for its test.
var Statuses = statuses

// Remembered is how much the cache holds.
func (s *Server) Remembered() (pods, tokens int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.pods), len(s.tokens)
}

// Sources is how many addresses have an account of their own.
func (s *Server) Sources() int {
	s.sources.mu.Lock()
	defer s.sources.mu.Unlock()
	return len(s.sources.byAddress)
}

// Repack is a token after it was kept.
func Repack(raw string) string { return pack(raw).String() }

// Outdated makes the last look-up one that is due again.
func (r *Replicas) Outdated() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked = time.Time{}
}
