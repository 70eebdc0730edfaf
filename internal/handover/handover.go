// Package handover lets the agent that starts on a node take over from the one
// that runs there: what that one remembers, and the sockets it listens on. So a
// rollout refuses no connection and asks podid-auth for nothing that is known. From an
// agent that was killed, or whose pod was deleted, the next one gets the sockets
// alone, of a [Holder] that outlived it.
//
// The two meet at an abstract Unix socket, which pods on the node's network share
// and no file system has to hold. Each makes sure that the other runs as its own user:
// that user has to be the agent's alone. Who may run pods on the node's network as any user can
// read the node's loopback traffic too, and would learn nothing new here.
package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// maxState bounds what is taken over, in bytes: some thousand pods of a few kilobytes.
	maxState = 64 << 20
	// within bounds a whole handover. It is all in memory, and the one that starts
	// should rather start with nothing than late.
	within = 2 * time.Second
	// nameEvery is how often an agent tries to get the name that its predecessor has.
	nameEvery = 100 * time.Millisecond
	// warnEvery is the least time between two warnings of what peers do wrong: everybody on the
	// node's network can connect, as often as they like.
	warnEvery = time.Minute
)

// Estate is what an agent leaves to the next.
type Estate struct {
	State   []byte // secret
	Sockets []net.Listener
}

// Giver hands over to each agent that asks. Fields are set before Run.
type Giver struct {
	Name string
	// Estate is called for each successor; it keeps its sockets.
	Estate func() (Estate, error)
	// Given is called when a successor has all of it.
	Given func()
	Log   *slog.Logger

	warned warned
}

// warned is when peers were last complained of.
type warned struct {
	mu sync.Mutex
	at time.Time
}

func (w *warned) warn(ctx context.Context, log *slog.Logger, message string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); now.Sub(w.at) >= warnEvery {
		w.at = now
		log.LogAttrs(ctx, slog.LevelWarn, message, slog.String("what", err.Error()))
	}
}

// Run waits until the name is free, which its predecessor may have for a while, and
// then for successors, until ctx ends.
func (g *Giver) Run(ctx context.Context) error {
	return attend(ctx, g.Name, func(peer *net.UnixConn) {
		if err := g.give(peer); err != nil {
			g.warned.warn(ctx, g.Log, "handover", err)
			return
		}
		g.Log.LogAttrs(ctx, slog.LevelInfo, "handed over")
		g.Given()
	})
}

// attend has each who connects at name served, one after the other, once nobody else has the
// name and until ctx ends.
func attend(ctx context.Context, name string, serve func(peer *net.UnixConn)) error {
	listener := named(ctx, name)
	if listener == nil {
		return nil
	}
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	for {
		peer, err := listener.AcceptUnix()
		if err != nil {
			_ = listener.Close()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("wait for another agent: %w", err)
		}
		serve(peer)
	}
}

// named listens at name once nobody else does; nil if ctx ends before.
func named(ctx context.Context, name string) *net.UnixListener {
	for {
		if listener, err := listen(name); err == nil {
			return listener
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(nameEvery):
		}
	}
}

func (g *Giver) give(peer *net.UnixConn) error {
	defer peer.Close()
	if err := sameUser(peer); err != nil {
		return err
	}
	if err := peer.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	estate, err := g.Estate()
	if err != nil {
		return err
	}
	defer clear(estate.State)
	fds, err := duplicates(estate.Sockets)
	defer closeAll(fds)
	if err != nil {
		return err
	}
	if err := send(peer, estate.State, fds); err != nil {
		return err
	}
	// The successor says that it has taken it.
	if _, err := io.ReadFull(peer, make([]byte, 1)); err != nil {
		return fmt.Errorf("the successor did not take it: %w", err)
	}
	return nil
}

// Take asks the agent that runs on this node for its estate, and passes it to accept. If
// there is none, or it cannot hand over, accept is not called and the error says why; if accept
// fails, it is as if it had not been asked. State is cleared afterwards.
func Take(ctx context.Context, name string, accept func(Estate) error) error {
	peer, err := meet(ctx, name)
	if err != nil {
		return err
	}
	defer peer.Close()
	state, fds, err := receive(peer)
	if err != nil {
		return err
	}
	defer clear(state)
	sockets, err := listeners(fds)
	if err == nil {
		err = accept(Estate{state, sockets})
	}
	if err != nil {
		for _, socket := range sockets {
			err = errors.Join(err, socket.Close())
		}
		return err
	}
	_, err = peer.Write([]byte{1})
	return err
}

// meet connects to who has the name, for no longer than within.
func meet(ctx context.Context, name string) (*net.UnixConn, error) {
	deadline := time.Now().Add(within)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	peer, err := dial(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(sameUser(peer), peer.SetDeadline(deadline)); err != nil {
		_ = peer.Close()
		return nil, err
	}
	return peer, nil
}
