package main

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/openpodidentity/podid/internal/listen"

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
	var group listen.Group
	if err := group.Start(ctx, o.probes, newServer(listen.Probes(hook.ready), logger)); err != nil {
		return err
	}
	defer group.Shutdown(shutWithin)
	if o.metrics != "" {
		if err := group.Start(ctx, o.metrics, newServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), logger)); err != nil {
			return err
		}
	}
	front := newServer((&budget{total: inFlight, perClient: inFlight / 2}).guard(hook), logger)
	front.TLSConfig = hook.certificate.Config()
	bounds := &listen.Connections{Total: o.connections, PerClient: o.connections}
	bounds.Guard(front)
	if err := group.StartTLS(ctx, o.listen, front, bounds); err != nil {
		return err
	}
	logger.Info("serving", "version", version, "address", o.listen)

	var work sync.WaitGroup
	failed := make(chan error, 1)
	work.Go(func() { failed <- hook.run(background) })
	select {
	case <-ctx.Done():
	case err = <-group.Failed():
	case err = <-failed:
	}
	hook.draining.Store(true)
	if err == nil {
		time.Sleep(o.drain)
	}
	group.Shutdown(shutWithin)
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
