// Package agent answers the SDKs on a node: GET /v1/credentials with the pod's
// token gives the role's credentials, cached by pod. What is not in the cache it
// asks of podid-auth, once for however many wait.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"
)

// Path is where SDKs ask.
const Path = "/v1/credentials"

// defaultTimeout bounds a call to podid-auth: botocore gives the agent two
// seconds, and the true reason has to reach it within them.
const defaultTimeout = 900 * time.Millisecond

// Tokens verifies the pods' tokens on the node, offline.
type Tokens interface {
	Verify(ctx context.Context, raw string) (token.Token, error)
}

// Exchange asks podid-auth for credentials.
type Exchange interface {
	Exchange(ctx context.Context, raw string) (podid.Credentials, error)
}

// Server answers the SDKs. Fields are its dependencies; they are not changed
// once it serves.
type Server struct {
	Tokens   Tokens
	Exchange Exchange
	// Timeout bounds a call of Exchange; 900 ms if zero.
	Timeout time.Duration
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	Log *slog.Logger

	cache
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != Path {
		writeProblem(w, http.StatusNotFound, problem.New(problem.RequestInvalid, "there is nothing at this path").
			Because("the agent answers at %s alone", Path).
			Fixed("keep AWS_CONTAINER_CREDENTIALS_FULL_URI as injected"))
		return
	}
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		writeProblem(w, http.StatusMethodNotAllowed, problem.New(problem.RequestInvalid, "credentials are read with GET").
			Because("the request's method is another").Fixed("use an AWS SDK that knows EKS Pod Identity"))
		return
	}
	raw, err := authorization(r.Header)
	if err != nil {
		s.refuse(w, r, podid.Workload{}, s.now(), err)
		return
	}
	if a := s.hit(raw); a != nil {
		a.write(w)
		return
	}
	s.miss(w, r, raw)
}

// authorization is the pod's token as SDKs send it, without a scheme.
func authorization(h http.Header) (string, error) {
	switch values := h["Authorization"]; {
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

// miss answers what is not ready: it verifies the token if need be, and waits
// for the one call of its workload.
func (s *Server) miss(w http.ResponseWriter, r *http.Request, raw string) {
	start := s.now()
	p, ok := s.known(raw)
	if !ok {
		t, err := s.Tokens.Verify(r.Context(), raw)
		if err != nil {
			s.refuse(w, r, podid.Workload{}, start, err)
			return
		}
		p = s.remember(raw, t)
	}
	a, f := s.join(p, raw)
	if a != nil {
		a.write(w) // a rotated token of a pod that has its credentials
		return
	}
	select {
	case <-f.done:
	case <-r.Context().Done():
		return // nobody listens any more; the call goes on for the others
	}
	if f.err != nil {
		s.refuse(w, r, p.workload, start, f.err, slog.String("request", f.request))
		return
	}
	f.answer.write(w)
	s.log(r.Context(), "credentials", p.workload, start, nil, slog.String("request", f.request),
		slog.String("access_key", f.answer.accessKey), slog.Time("expires", f.answer.expires))
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, workload podid.Workload, start time.Time, err error, more ...slog.Attr) {
	p := problem.Of(err)
	writeProblem(w, status(p.Code), p)
	s.log(r.Context(), "credentials", workload, start, p, append(more, slog.String("remote", r.RemoteAddr))...)
}

// log writes the one line of a request or a refresh. Hits write none.
func (s *Server) log(ctx context.Context, message string, w podid.Workload, start time.Time, p *problem.Problem, more ...slog.Attr) {
	if s.Log == nil {
		return
	}
	attrs := make([]slog.Attr, 0, 10)
	if w.PodUID != "" {
		attrs = append(attrs, slog.String("namespace", w.Namespace), slog.String("service_account", w.ServiceAccount),
			slog.String("pod", w.Pod), slog.String("pod_uid", w.PodUID))
	}
	level := slog.LevelInfo
	if p != nil {
		attrs = append(attrs, slog.String("code", string(p.Code)), slog.String("what", p.What))
		if p.Err != nil {
			attrs = append(attrs, slog.String("cause", p.Err.Error()))
		}
		level = slog.LevelWarn
		if problem.Lookup(p.Code).Kind == problem.Broken {
			level = slog.LevelError
		}
	}
	attrs = append(append(attrs, more...), slog.Duration("took", s.now().Sub(start)))
	s.Log.LogAttrs(ctx, level, message, attrs...)
}

func (s *Server) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// exchange is one call to podid-auth within its time.
func (s *Server) exchange(ctx context.Context, raw string) (podid.Credentials, error) {
	timeout := s.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := s.Exchange.Exchange(ctx, raw)
	if err == nil && !c.Expires.After(s.now()) {
		return c, problem.New(problem.AuthUnavailable, "podid-auth sent credentials that have expired").
			Fixed("synchronise the clocks (NTP) of the nodes and of the STS")
	}
	if _, told := errors.AsType[*problem.Problem](err); err == nil || told {
		return c, err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return c, problem.New(problem.AuthUnavailable, "podid-auth did not answer within %s", timeout).From(err)
	case errors.Is(err, context.Canceled):
		return c, stopping()
	}
	return c, err
}
