package replica

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
	// headerWithin is what a client has to send a header.
	headerWithin = 5 * time.Second
	// idleFor is longer than clients are silent: agents hear a ping every ten seconds, and
	// API servers keep idle connections for 90.
	idleFor = 2 * time.Minute
	// glanceWithin bounds a probe or a scrape.
	glanceWithin = 10 * time.Second
	// maxHeader of a probe or a scrape, in bytes.
	maxHeader = 16 << 10
	// shutWithin is what requests in flight have at the end.
	shutWithin = 10 * time.Second
)

// Work is what a replica does.
type Work struct {
	Version string
	Doors   []Door
	// Ready is what keeps it from answering.
	Ready func() error
	// Run becomes ready, and ends with ctx.
	Run func(ctx context.Context) error
	// Drain, if set, sends away those who would stay.
	Drain   func()
	Metrics prometheus.Gatherer
}

// Door is an address that clients come to, over TLS.
type Door struct {
	Address   string
	Handler   http.Handler
	MaxHeader int           // bytes
	PerClient int           // connections of one IP address
	Within    time.Duration // what a request has in all; 0: no end, for streams
}

// Serve does the work until ctx ends, and then as long as somebody may still be sent here.
func (r *Replica) Serve(ctx context.Context, w Work) error {
	klog.SetSlogLogger(r.Log)
	log.SetLogger(logr.FromSlogHandler(r.Log.Handler()))

	// What it works with lives until the last answer is given.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group listen.Group
	defer group.Shutdown(shutWithin)
	if err := r.open(ctx, &group, w); err != nil {
		return err
	}
	var work sync.WaitGroup
	failed := make(chan error, 1)
	work.Go(func() { failed <- w.Run(background) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-group.Failed():
	case err = <-failed:
	}
	r.draining.Store(true)
	if err == nil {
		time.Sleep(r.Drain) // until nobody is sent here any more
	}
	if w.Drain != nil {
		w.Drain()
	}
	group.Shutdown(shutWithin)
	stop()
	work.Wait()
	r.Log.Info("stopped")
	return err
}

// open serves the probes, the metrics and the doors.
func (r *Replica) open(ctx context.Context, group *listen.Group, w Work) error {
	if err := group.Start(ctx, r.Probes, r.server(listen.Probes(w.Ready), glanceWithin)); err != nil {
		return err
	}
	if r.Metrics != "" {
		metrics := promhttp.HandlerFor(w.Metrics, promhttp.HandlerOpts{})
		if err := group.Start(ctx, r.Metrics, r.server(metrics, glanceWithin)); err != nil {
			return err
		}
	}
	var addresses []string
	for _, door := range w.Doors {
		front := r.server(door.Handler, door.Within)
		front.MaxHeaderBytes, front.TLSConfig = door.MaxHeader, r.Certificate.Config()
		bounds := &listen.Connections{Total: r.Connections, PerClient: door.PerClient}
		bounds.Guard(front)
		if err := group.StartTLS(ctx, door.Address, front, bounds); err != nil {
			return err
		}
		addresses = append(addresses, door.Address)
	}
	r.Log.Info("serving", "version", w.Version, "addresses", addresses)
	return nil
}

// server is an HTTP server that no client can hold up.
func (r *Replica) server(handler http.Handler, within time.Duration) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerWithin, ReadTimeout: within, WriteTimeout: within, IdleTimeout: idleFor,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(r.Log.Handler(), slog.LevelDebug), // what clients do wrong
	}
}
