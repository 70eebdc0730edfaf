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
	// idleFor is longer than agents are silent: they hear a ping every ten seconds.
	idleFor = 2 * time.Minute
	// maxHeader, in bytes: a token and little else.
	maxHeader = 32 << 10
	// shutWithin is what requests in flight have at the end.
	shutWithin = 10 * time.Second
)

// serve answers agents until ctx ends, and then as long as it may be asked still.
func serve(ctx context.Context, o options, logger *slog.Logger) error {
	klog.SetSlogLogger(logger)
	log.SetLogger(logr.FromSlogHandler(logger.Handler()))
	config, err := o.config()
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	r, err := newReplica(o, config, registry, logger)
	if err != nil {
		return err
	}

	// What it works with lives until the last answer is given.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group listen.Group
	defer group.Shutdown(shutWithin)
	if err := group.Start(ctx, o.probes, newServer(listen.Probes(r.ready), logger)); err != nil {
		return err
	}
	if o.metrics != "" {
		if err := group.Start(ctx, o.metrics, newServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), logger)); err != nil {
			return err
		}
	}
	for _, door := range []struct {
		address string
		handler http.HandlerFunc
		whole   time.Duration // that a request has in all
	}{{o.listen, r.exchange, 0}, {o.listenEKS, r.eks, 30 * time.Second}} {
		front := newServer(door.handler, logger)
		front.TLSConfig = r.certificate.Config()
		if door.whole != 0 {
			front.ReadTimeout, front.WriteTimeout = door.whole, door.whole
		}
		bounds := &listen.Connections{Total: o.connections, PerClient: o.connectionsPerPeer}
		bounds.Guard(front)
		if err := group.StartTLS(ctx, door.address, front, bounds); err != nil {
			return err
		}
	}
	logger.Info("serving", "version", version, "address", o.listen, "eks", o.listenEKS)

	var work sync.WaitGroup
	failed := make(chan error, 1)
	work.Go(func() { failed <- r.run(background) })
	select {
	case <-ctx.Done():
	case err = <-group.Failed():
	case err = <-failed:
	}
	r.draining.Store(true)
	if err == nil {
		time.Sleep(o.drain) // until nobody is sent here any more
	}
	r.drain()
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
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: idleFor,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(logger.Handler(), slog.LevelDebug), // what clients do wrong
	}
}
