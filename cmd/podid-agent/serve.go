package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/openpodidentity/podid/internal/listen"
)

const (
	// headerWithin is how long a client may take to send a request. SDKs send it at
	// once, and have given up by then.
	headerWithin = 2 * time.Second
	// answerWithin bounds a whole request, a slow reader's too.
	answerWithin = 5 * time.Second
	// idleFor is how long a connection is kept for the next request.
	idleFor = time.Minute
	// maxHeader, in bytes, has room for the longest token.
	maxHeader = 24 << 10
	// drainFor is how long requests in flight have at the end.
	drainFor = 4 * time.Second
)

// serve answers the SDKs until ctx ends.
func serve(ctx context.Context, o options, log *slog.Logger) error {
	server := newAgent(o, log)
	bounds := &listen.Connections{Total: o.connections, PerClient: o.perClient}
	front := newServer(server, log)
	bounds.Guard(front)

	sockets, err := listen.Shared(ctx, o.listen)
	if err != nil {
		return err
	}
	group := &servers{}
	for _, socket := range sockets {
		group.serve(front, bounds.Listener(socket))
	}
	if err := group.alone(ctx, o.probes, newServer(probes(o.listen, ready(server)), log)); err != nil {
		return errors.Join(err, group.shutdown())
	}
	log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.String("version", version), slog.Any("addresses", o.listen), slog.String("auth", o.auth))

	select {
	case <-ctx.Done():
	case err = <-group.failed():
	}
	start := time.Now()
	err = errors.Join(err, group.shutdown(), server.Close())
	log.LogAttrs(ctx, slog.LevelInfo, "stopped", slog.Duration("took", time.Since(start)))
	return err
}

// newServer is an HTTP server that no client can hold up.
func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerWithin, ReadTimeout: answerWithin, WriteTimeout: answerWithin, IdleTimeout: idleFor,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what clients do wrong
	}
}

// servers are those of the program; they end together.
type servers struct {
	all  []*http.Server
	errs chan error
}

func (g *servers) serve(s *http.Server, socket net.Listener) {
	if g.errs == nil {
		g.errs = make(chan error, 8) // more than there are sockets
	}
	g.all = append(g.all, s)
	go func() {
		if err := s.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
			g.errs <- err
		}
	}()
}

// alone serves s at an address that it does not share; empty is none.
func (g *servers) alone(ctx context.Context, address string, s *http.Server) error {
	if address == "" {
		return nil
	}
	socket, err := listen.Alone(ctx, address)
	if err != nil {
		return err
	}
	g.serve(s, socket)
	return nil
}

// failed yields when one stopped by itself.
func (g *servers) failed() <-chan error { return g.errs }

// shutdown takes no new connections and lets requests in flight end.
func (g *servers) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainFor)
	defer cancel()
	for _, s := range g.all {
		if s.Shutdown(ctx) != nil {
			_ = s.Close() // what did not end in time is cut off
		}
	}
	return nil
}
