package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/handover"
	"github.com/openpodidentity/podid/internal/listen"

	"golang.org/x/sync/errgroup"
)

const (
	// askWithin is how long a client may take to send a request, and to read the answer.
	// SDKs do both at once, and have given up by then.
	askWithin, readWithin = 2 * time.Second, 5 * time.Second
	// idleFor is how long a connection is kept for the next request.
	idleFor = time.Minute
	// maxHeader, in bytes, has room for the longest token.
	maxHeader = 24 << 10
	// leaveFor is how long clients have to notice that they should come anew (hurryFor if nobody has taken
	// over), drainFor how long requests in flight have then. Both together are under five seconds.
	leaveFor, hurryFor, drainFor = time.Second, 200 * time.Millisecond, 3 * time.Second
)

// serve answers the SDKs until ctx ends.
func serve(ctx context.Context, o options, log *slog.Logger) error {
	if err := o.check(); err != nil {
		return err
	}
	server, err := newNode(ctx, o, log)
	if err != nil {
		return err
	}
	server.Exchange = &sweeping{next: server.Exchange}
	sockets, err := takeOver(ctx, o, server.Server, log)
	if err != nil {
		return err
	}
	bounds := &listen.Connections{Total: o.connections, PerClient: o.perClient}
	leaving := new(leaving)
	front := newServer(leaving.from(server), log)
	bounds.Guard(front)

	group, ctx := errgroup.WithContext(ctx)
	for _, socket := range sockets {
		leaving.serving.Add(1)
		group.Go(func() error {
			defer leaving.serving.Done()
			return unlessClosed(front.Serve(bounds.Listener(socket)))
		})
	}
	group.Go(func() error {
		headroom(ctx)
		return nil
	})
	seats := []*seat{newSeat(o.probes, listen.Probes(ready(ctx, o.listen, server.Server)), log)}
	if o.metrics != "" {
		seats = append(seats, newSeat(o.metrics, scrapes(server.Server), log))
	}
	for _, seat := range seats {
		group.Go(func() error { return seat.run(ctx) })
	}
	if o.handover != "" {
		group.Go(func() error { return handOver(ctx, o.handover, server.Server, sockets, seats, leaving, log) })
	}
	if o.holder != "" {
		// Until the end: a connection that comes while this agent drains is for the next.
		here, gone := context.WithCancel(context.WithoutCancel(ctx))
		var entrusted sync.WaitGroup
		entrusted.Go(func() { handover.Entrust(here, o.holder, sockets, log) })
		defer entrusted.Wait()
		defer gone()
	}
	group.Go(func() error {
		server.follow(ctx)
		return nil
	})
	log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.String("version", version), slog.Any("addresses", o.listen), slog.String("auth", o.auth))

	<-ctx.Done()
	start := time.Now()
	leaving.wait(sockets, bounds)
	err = errors.Join(shutdown(front), server.Close(), group.Wait())
	log.LogAttrs(ctx, slog.LevelInfo, "stopped", slog.Duration("took", time.Since(start)))
	return err
}

// takeOver gets what the node's present agent remembers, and the sockets to serve: its
// own, so that no connection that waits there is lost, or else those that are held since the
// last one was gone, or else new ones.
func takeOver(ctx context.Context, o options, server *agent.Server, log *slog.Logger) (sockets []net.Listener, err error) {
	start, missing := time.Now(), slices.Clone(o.listen)
	take := func(offered []net.Listener) {
		for _, socket := range offered {
			at := slices.Index(missing, socket.Addr().String())
			if at < 0 { // it is there already, or this agent is to listen elsewhere
				_ = socket.Close()
				continue
			}
			missing = slices.Delete(missing, at, at+1)
			sockets = append(sockets, socket)
		}
	}
	if o.handover != "" {
		err := handover.Take(ctx, o.handover, func(e handover.Estate) error {
			if err := server.Inherit(e.State); err != nil {
				return err
			}
			take(e.Sockets)
			return nil
		})
		tellTaking(ctx, log, "took over", err, sockets, start)
	}
	if o.holder != "" && len(missing) > 0 {
		handed := len(sockets)
		held, err := handover.Borrow(ctx, o.holder)
		take(held)
		tellTaking(ctx, log, "took what was held", err, sockets[handed:], start)
	}
	if len(missing) == 0 {
		return sockets, nil
	}
	own, err := listen.Shared(ctx, missing)
	if err != nil && len(sockets) == 0 {
		return nil, err
	}
	return append(sockets, own...), nil
}

// tellTaking tells the log how an attempt to take sockets went.
func tellTaking(ctx context.Context, log *slog.Logger, how string, err error, sockets []net.Listener, start time.Time) {
	switch {
	case err == nil:
		log.LogAttrs(ctx, slog.LevelInfo, how, slog.Int("sockets", len(sockets)), slog.Duration("took", time.Since(start)))
	case !errors.Is(err, syscall.ECONNREFUSED): // nobody was there
		log.LogAttrs(ctx, slog.LevelWarn, "nothing was handed over", slog.String("cause", err.Error()))
	}
}

// handOver gives it all to whoever comes next.
func handOver(ctx context.Context, name string, server *agent.Server, sockets []net.Listener, seats []*seat, leaving *leaving, log *slog.Logger) error {
	giver := handover.Giver{
		Name: name,
		Estate: func() (handover.Estate, error) {
			state, err := server.Bequeath()
			return handover.Estate{State: state, Sockets: sockets}, err
		},
		Given: func() {
			leaving.succeeded.Store(true)
			for _, seat := range seats {
				seat.leave()
			}
		},
		Log: log,
	}
	return giver.Run(ctx)
}

// newServer is an HTTP server that no client can hold up.
func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:     handler,
		ReadTimeout: askWithin, WriteTimeout: readWithin, IdleTimeout: idleFor,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what clients do wrong
	}
}

// shutdown takes no new connections and lets requests in flight end.
func shutdown(s *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainFor)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		_ = s.Close() // what did not end in time is cut off
	}
	return nil
}

func unlessClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
