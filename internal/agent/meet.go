package agent

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/openpodidentity/podid/problem"
)

// meetings are the tokens that are being verified, each once for all who show it at the
// same time. The zero value is ready.
type meetings struct {
	mu  sync.Mutex
	now map[digest]*meeting
}

// meeting is one of them. pod or err is set when done is closed.
type meeting struct {
	done chan struct{}
	pod  *pod
	err  error
}

// join returns the meeting of a token, and whether the caller is the first and has to
// hold it.
func (m *meetings) join(d digest) (is *meeting, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if is = m.now[d]; is != nil {
		return is, false
	}
	if m.now == nil {
		m.now = map[digest]*meeting{}
	}
	is = &meeting{done: make(chan struct{})}
	m.now[d] = is
	return is, true
}

func (m *meetings) end(d digest, is *meeting) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.now, d)
	close(is.done)
}

// meet verifies the token of a pod that is not known yet, and remembers it. Whoever sends
// what is not fit to be answered, or does not verify, is slowed down before any
// signature is checked.
func (s *Server) meet(r *http.Request, raw string, d digest, start time.Time, unfit error) (*pod, error) {
	source := s.sources.of(r.RemoteAddr, start)
	if unfit != nil {
		if err := source.wait(r.Context(), start, sourceLimit); err != nil {
			return nil, err
		}
		return nil, unfit
	}
	m, first := s.meetings.join(d)
	if first {
		// Whoever is first may hang up; the others wait for the outcome.
		m.pod, m.err = s.prove(context.WithoutCancel(r.Context()), source, raw, d, start)
		s.meetings.end(d, m)
		return m.pod, m.err
	}
	select {
	case <-m.done:
	case <-r.Context().Done():
		return nil, problem.New(problem.RequestInvalid, "the client has gone").From(r.Context().Err())
	}
	if m.err != nil {
		source.take(start, sourceLimit) // it cost nothing, and counts all the same
	}
	return m.pod, m.err
}

func (s *Server) prove(ctx context.Context, source *bucket, raw string, d digest, start time.Time) (*pod, error) {
	if err := source.wait(ctx, start, sourceLimit); err != nil {
		return nil, err
	}
	t, by, err := s.verify(ctx, raw)
	if err != nil {
		return nil, refusal{of: t.Workload, error: err}
	}
	switch node := &t.Workload.Node; {
	case *node == s.Node:
		*node = s.Node // the one string for all
	case *node != "" && s.Node != "":
		return nil, refusal{of: t.Workload, error: problem.New(problem.NodeMismatch, "the pod %s/%s does not run on this agent's node", t.Workload.Namespace, t.Workload.Pod)}
	}
	p, err := s.remember(raw, d, t, by)
	if err == nil {
		s.owe(p, source)
	}
	return p, err
}
