package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/openpodidentity/podid/internal/listen"
	"github.com/openpodidentity/podid/problem"
)

// seat is an address that one agent of a node has at a time, for probes and metrics:
// while one replaces another, it is the new one that has to prove itself to the
// kubelet, whichever of the two is asked.
type seat struct {
	address string
	handler http.Handler
	log     *slog.Logger
	left    chan struct{} // told when a successor wants the seat
}

const (
	// seatEvery is how often an agent tries to get the seat that its predecessor leaves.
	seatEvery = 50 * time.Millisecond
	// seatAgain is how long it leaves the seat to a successor, and then looks whether that
	// one has it: it may have ended.
	seatAgain = 2 * time.Second
)

func newSeat(address string, handler http.Handler, log *slog.Logger) *seat {
	return &seat{address: address, handler: handler, log: log, left: make(chan struct{}, 1)}
}

// leave makes way for a successor.
func (s *seat) leave() {
	select {
	case s.left <- struct{}{}:
	default: // on the way out already
	}
}

// run serves whenever it has the seat, until ctx ends.
func (s *seat) run(ctx context.Context) error {
	wait, warned := seatEvery, sync.Once{}
	for ctx.Err() == nil {
		socket, err := listen.Alone(ctx, s.address)
		if err != nil {
			if !errors.Is(err, syscall.EADDRINUSE) {
				return err
			}
			warned.Do(func() {
				s.log.LogAttrs(ctx, slog.LevelInfo, "another agent is there still", slog.String("address", s.address), slog.String("code", string(problem.Of(err).Code)))
			})
			sleep(ctx, wait)
			continue
		}
		server := newServer(s.handler, s.log)
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(socket) }()
		select {
		case <-ctx.Done():
			return shutdown(server)
		case err := <-ended:
			return err
		case <-s.left:
		}
		if err := shutdown(server); err != nil {
			return err
		}
		sleep(ctx, seatAgain)
		wait, warned = seatAgain, sync.Once{}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
