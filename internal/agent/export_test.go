package agent

// Statuses is the table, for its test.
var Statuses = statuses

// MaxPods is the cache's bound.
const MaxPods = maxPods

// Remembered is how much the cache holds.
func (s *Server) Remembered() (pods, tokens int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pods), len(s.tokens)
}
