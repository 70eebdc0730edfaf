// Package replica is what podid-auth and podid-webhook are alike in, as replicas of a
// Deployment: each becomes ready step by step and says what it waits for, follows the API
// server, and goes on answering for a while when it is told to end.
package replica

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid/internal/certificate"
	"github.com/openpodidentity/podid/problem"

	"k8s.io/client-go/rest"
)

// again is how long it waits before it tries once more what may heal.
const again = 2 * time.Second

// Replica is one of them: its way to the API server, its certificate, and what keeps it
// from being ready.
type Replica struct {
	Options
	Config      *rest.Config
	Certificate *certificate.Source
	Log         *slog.Logger

	draining atomic.Bool
	waiting  atomic.Pointer[problem.Problem]
}

// New returns a replica that has just started, which is the first thing it waits for.
func New(o Options, config *rest.Config, started *problem.Problem, log *slog.Logger) (*Replica, error) {
	source, err := certificate.Follow(config, o.Namespace, o.Certificate)
	if err != nil {
		return nil, err
	}
	source.Log = log
	r := &Replica{Options: o, Config: config, Certificate: source, Log: log}
	r.WaitFor(started)
	return r, nil
}

// WaitFor notes what keeps it from being ready; nil: nothing does any more.
func (r *Replica) WaitFor(p *problem.Problem) { r.waiting.Store(p) }

// Ready is what keeps it from answering.
func (r *Replica) Ready() error {
	if r.draining.Load() {
		return problem.New(problem.ClusterUnavailable, "this replica is about to end").Because("it was told to; the others go on")
	}
	if p := r.waiting.Load(); p != nil {
		return p
	}
	return r.Certificate.Ready()
}

// NotYet tells who comes all the same.
func (r *Replica) NotYet(w http.ResponseWriter) {
	message := "not ready"
	if p := r.waiting.Load(); p != nil {
		message = p.Message()
	}
	http.Error(w, message, http.StatusServiceUnavailable)
}

// Get gets something, again every two seconds as long as that meets a problem of one of
// these codes, which may heal: it waits for that meanwhile, and then for what it waited
// for before. Nothing is got when ctx ends.
func Get[T any](ctx context.Context, r *Replica, what string, get func() (T, error), heals ...problem.Code) (T, error) {
	before, last := r.waiting.Load(), ""
	for {
		got, err := get()
		p := problem.Of(err)
		if err == nil || !slices.Contains(heals, p.Code) {
			r.WaitFor(before)
			return got, err
		}
		r.WaitFor(p)
		if message := p.Error(); message != last {
			last = message
			r.Log.Warn("not ready", "for", what, "code", p.Code, "what", p.What, "cause", fmt.Sprint(p.Err))
		}
		if !pause(ctx) {
			var nothing T
			return nothing, nil
		}
	}
}

// Follow runs what follows the API server until ctx ends, again when it ends before.
func (r *Replica) Follow(ctx context.Context, follow func(context.Context) error) {
	for {
		err := follow(ctx)
		if ctx.Err() != nil {
			return
		}
		r.Log.Warn("the API server cannot be followed, trying again", "cause", fmt.Sprint(err))
		pause(ctx)
	}
}

// pause is a while; false if ctx ends before.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(again):
		return true
	}
}

// Until waits for a condition; false if ctx ends before.
func Until(ctx context.Context, holds func() bool) bool {
	ticks := time.NewTicker(50 * time.Millisecond)
	defer ticks.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return false
		case <-ticks.C:
		}
	}
	return true
}
