package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/openpodidentity/podid/internal/listen"
	"github.com/openpodidentity/podid/problem"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	// requestWithin bounds a request; the API server has given up by then.
	requestWithin = 5 * time.Second
	// idleFor is longer than API servers keep idle connections (90 s).
	idleFor = 2 * time.Minute
	// maxHeader, in bytes: API servers send few.
	maxHeader = 16 << 10
	// inFlight, in bytes, bounds the requests in memory: a few of the largest, or
	// thousands of the usual.
	inFlight = 32 << 20
	// shutWithin is what requests in flight have at the end.
	shutWithin = 10 * time.Second
)

// serve answers the API server until ctx ends, and then as long as it may be asked still.
func serve(ctx context.Context, o options, logger *slog.Logger) error {
	klog.SetSlogLogger(logger)
	log.SetLogger(logr.FromSlogHandler(logger.Handler()))
	config, err := o.config()
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	hook, err := newHook(o, config, registry, logger)
	if err != nil {
		return err
	}

	// What it works with lives until the last answer is given.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group servers
	if err := group.start(ctx, o.probes, newServer(probes(hook.ready), logger)); err != nil {
		return err
	}
	defer group.shutdown()
	if o.metrics != "" {
		if err := group.start(ctx, o.metrics, newServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), logger)); err != nil {
			return err
		}
	}
	front := newServer((&budget{total: inFlight, perClient: inFlight / 2}).guard(hook), logger)
	front.TLSConfig = hook.certificate.Config()
	bounds := &listen.Connections{Total: o.connections, PerClient: o.connections}
	bounds.Guard(front)
	if err := group.startTLS(ctx, o.listen, front, bounds); err != nil {
		return err
	}
	logger.Info("serving", "version", version, "address", o.listen)

	var work sync.WaitGroup
	failed := make(chan error, 1)
	work.Go(func() { failed <- hook.run(background) })
	select {
	case <-ctx.Done():
	case err = <-group.failed():
	case err = <-failed:
	}
	hook.draining.Store(true)
	if err == nil {
		time.Sleep(o.drain)
	}
	group.shutdown()
	stop()
	work.Wait()
	logger.Info("stopped")
	return err
}

// newServer is an HTTP server that no client can hold up.
func newServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: requestWithin, WriteTimeout: requestWithin, IdleTimeout: idleFor,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(logger.Handler(), slog.LevelDebug), // what clients do wrong
	}
}

// servers are those of the program; they end together.
type servers struct {
	all  []*http.Server
	errs chan error
}

func (g *servers) start(ctx context.Context, address string, s *http.Server) error {
	socket, err := listen.Alone(ctx, address)
	if err != nil {
		return err
	}
	g.serve(s, func() error { return s.Serve(socket) })
	return nil
}

func (g *servers) startTLS(ctx context.Context, address string, s *http.Server, bounds *listen.Connections) error {
	socket, err := listen.Alone(ctx, address)
	if err != nil {
		return err
	}
	g.serve(s, func() error { return s.ServeTLS(bounds.Listener(socket), "", "") })
	return nil
}

func (g *servers) serve(s *http.Server, serve func() error) {
	if g.errs == nil {
		g.errs = make(chan error, 3) // as many as there are
	}
	g.all = append(g.all, s)
	go func() {
		if err := serve(); !errors.Is(err, http.ErrServerClosed) {
			g.errs <- fmt.Errorf("serve: %w", err)
		}
	}()
}

// failed yields when one stopped by itself.
func (g *servers) failed() <-chan error { return g.errs }

// shutdown takes no new connections and lets requests in flight end.
func (g *servers) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), shutWithin)
	defer cancel()
	for _, s := range g.all {
		if s.Shutdown(ctx) != nil {
			_ = s.Close() // what did not end in time is cut off
		}
	}
}

// probes answer the kubelet: alive as long as the program runs, ready when it can answer.
func probes(ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		err := ready()
		if err == nil {
			_, _ = w.Write([]byte("ok\n"))
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		p := problem.Of(err)
		_, _ = fmt.Fprintf(w, "%s: %s\n", p.Code, p.Message())
	})
	return mux
}
