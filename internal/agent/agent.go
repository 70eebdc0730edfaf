// Package agent answers the SDKs on a node: GET /v1/credentials with the pod's
// token gives the role's credentials, cached by pod. What is not in the cache it
// asks of podid-auth, once for however many wait; what podid-auth says without
// being asked (package stream) it takes in at once.
package agent

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"
)

// Path is where SDKs ask.
const Path = "/v1/credentials"

const (
	// defaultTimeout bounds a call to podid-auth, patience how long a request waits
	// for one: botocore gives the agent two seconds, and the true reason has to reach
	// it well within them.
	defaultTimeout = 850 * time.Millisecond
	patience       = 900 * time.Millisecond
	// defaultStaleness is how long credentials are served without news of their pod.
	defaultStaleness = time.Hour
)

// Tokens verifies the pods' tokens on the node, offline.
type Tokens interface {
	Verify(ctx context.Context, raw string) (token.Token, error)
}

// Ask is a question to podid-auth.
type Ask struct {
	Token string // of the pod
	// Association is the newest version that the node has heard of.
	Association stream.Version
	// ID names the call in the logs of both sides.
	ID string
}

// Reply is the answer. Association says what it was given for, the zero Version
// that this is not known; it may be set with an error too (there is none, as of then).
type Reply struct {
	Credentials podid.Credentials
	Association stream.Version
}

// Exchange asks podid-auth for credentials.
type Exchange interface {
	Exchange(ctx context.Context, ask Ask) (Reply, error)
}

// Server answers the SDKs. Fields are its dependencies; they are not changed
// once it serves.
type Server struct {
	// Tokens verifies; nil takes the issuer and the keys that the stream brings.
	Tokens   Tokens
	Exchange Exchange
	Upstream Upstream // whom Exchange asks
	// Node is the name of the node: tokens that are bound to another are refused.
	// Empty, podid-auth alone tells.
	Node string
	// Hosts are the names that requests may be for, beside [Addresses] and loopback.
	Hosts []string
	// Timeout bounds a call of Exchange; 850 ms if zero.
	Timeout time.Duration
	// Lacking says what the agent needs and has not got, beside the news of the stream; nil: nothing.
	Lacking func() error
	// MaxStaleness is how long credentials are served without news of their pod, by
	// the stream or by an answer of podid-auth; an hour if zero.
	MaxStaleness time.Duration
	Limits       Limits
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	Log *slog.Logger

	cache
	trust
	news
	digester
	meetings meetings
	sources  sources
	metrics  metrics
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := s.now()
	raw, err := s.read(w, r)
	sum := s.digest(raw)
	p := s.known(sum, start)
	if p == nil {
		if p, err = s.meet(r, raw, sum, start, err); err != nil {
			s.refuse(w, r, podid.Workload{}, start, err)
			return
		}
	}
	if err := p.pace.wait(r.Context(), start, s.Limits.pod()); err != nil {
		s.refuse(w, r, p.name(), start, err)
		return
	}
	if a := s.hit(p, start); a != nil {
		a.write(w)
		s.metrics.hits.observe(s.now().Sub(start))
		return
	}
	s.miss(w, r, p, raw, start)
}

// read takes the pod's token from a request that is fit to be answered; of any other, none.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (string, error) {
	switch {
	case !s.ours(r.Host):
		return "", refusal{status: http.StatusMisdirectedRequest, error: problem.New(problem.RequestInvalid, "the request is for the host %.100q", r.Host).
			Because("the agent answers at its own address alone, so that no web page can reach it under a name of its own (DNS rebinding)").
			Fixed("keep AWS_CONTAINER_CREDENTIALS_FULL_URI as injected")}
	case r.URL.Path != Path:
		return "", refusal{status: http.StatusNotFound, error: problem.New(problem.RequestInvalid, "there is nothing at this path").
			Because("the agent answers at %s alone", Path).
			Fixed("keep AWS_CONTAINER_CREDENTIALS_FULL_URI as injected")}
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		return "", refusal{status: http.StatusMethodNotAllowed, error: problem.New(problem.RequestInvalid, "credentials are read with GET").
			Because("the request's method is another").Fixed("use an AWS SDK that knows EKS Pod Identity")}
	}
	switch values := r.Header["Authorization"]; {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		return "", problem.New(problem.TokenMissing, "the request carries no token")
	case len(values) > 1:
		return "", problem.New(problem.TokenMalformed, "the request has %d Authorization headers", len(values))
	case len(values[0]) > token.MaxSize:
		return "", problem.New(problem.TokenMalformed, "the token is longer than %d bytes", token.MaxSize)
	default:
		return values[0], nil
	}
}

// miss answers what is not ready: it waits for the one call of its workload.
func (s *Server) miss(w http.ResponseWriter, r *http.Request, p *pod, raw string, start time.Time) {
	a, f, err := s.join(p, raw)
	switch {
	case err != nil:
		s.refuse(w, r, p.name(), start, err)
		return
	case a != nil:
		a.write(w)
		s.metrics.hits.observe(s.now().Sub(start))
		return
	}
	timer := time.NewTimer(patience - s.now().Sub(start))
	defer timer.Stop()
	select {
	case <-f.done:
	case <-r.Context().Done():
		return // nobody listens any more; the call goes on for the others
	case <-timer.C:
		s.refuse(w, r, p.name(), start, s.slow(f), slog.String("request", f.id))
		return
	}
	logged := f.logged.Swap(true)
	if f.err != nil {
		told, _ := errors.AsType[refusal](f.err)
		told.error, told.silent = f.err, logged
		s.refuse(w, r, p.name(), start, told, slog.String("request", f.id))
		return
	}
	f.answer.write(w)
	took := s.now().Sub(start)
	s.metrics.misses.observe(took)
	if !logged {
		s.log(r.Context(), "credentials", p.name(), took, nil, slog.String("request", f.id),
			slog.String("access_key", f.accessKey), slog.Time("expires", f.answer.expires.time()))
	}
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, workload podid.Workload, start time.Time, err error, more ...slog.Attr) {
	code := writeError(w, err)
	took := s.now().Sub(start)
	s.metrics.refused.add(code)
	s.metrics.refusals.observe(took)
	told, _ := errors.AsType[refusal](err)
	if told.silent {
		return
	}
	s.log(r.Context(), "credentials", cmp.Or(workload, told.of), took, problem.Of(err), append(more, slog.String("remote", r.RemoteAddr))...)
}

// log writes the one line of a request or a refresh. Hits write none.
func (s *Server) log(ctx context.Context, message string, w podid.Workload, took time.Duration, p *problem.Problem, more ...slog.Attr) {
	if s.Log == nil {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	claimed := ""
	if _, unproved := s.Tokens.(Unproved); unproved {
		claimed = "claimed_"
	}
	if w.PodUID != "" {
		attrs = append(attrs, slog.String(claimed+"namespace", w.Namespace), slog.String(claimed+"service_account", w.ServiceAccount),
			slog.String(claimed+"pod", w.Pod), slog.String("pod_uid", w.PodUID))
	}
	attrs = append(append(append(attrs, p.Attrs()...), more...), slog.Duration("took", took))
	s.Log.LogAttrs(ctx, p.Level(), message, attrs...)
}

func (s *Server) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}
