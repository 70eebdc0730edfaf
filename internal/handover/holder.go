package handover

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// HolderName is where an agent and what holds its sockets meet, unless they are told otherwise.
const HolderName = "@podid-sockets"

const (
	// holdFor is how long sockets are held that no agent serves. A container that was killed is there
	// again within a second, a pod that was deleted within two; SDKs wait no longer for an answer, and
	// who connects later should rather be told that nobody is there.
	holdFor = 5 * time.Second
	// maxPeers of a holder at the same time: two agents while one replaces the other, and to spare.
	maxPeers = 8
	// entrustEvery is how often an agent looks whether a holder is there that has not its sockets.
	entrustEvery = time.Second
)

// Holder keeps the sockets of a node's agent open while there is no agent, so that who connects
// meanwhile waits in the kernel's queue for the next one, and is not refused. It accepts no
// connection, and learns nothing of what they carry. Fields are set before Run.
type Holder struct {
	Name string
	// For is how long it holds sockets that no agent serves; 5 s if zero.
	For time.Duration
	Log *slog.Logger

	mu     sync.Mutex
	agents []*trust // that are there, the youngest last
	orphan *trust   // of the agent that was there last
	end    *time.Timer
	warned warned
}

// trust is what one agent entrusted: its sockets, never polled here, since what waits there is
// the agent's.
type trust []int

// Run waits until the name is free, and then holds what agents entrust to it, until ctx ends.
func (h *Holder) Run(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	var peers sync.WaitGroup
	defer func() {
		end() // agents stay until then
		peers.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		h.letGo()
	}()
	slots := make(chan struct{}, maxPeers)
	return attend(ctx, h.Name, func(peer *net.UnixConn) {
		select {
		case slots <- struct{}{}:
		default:
			_ = peer.Close()
			return
		}
		peers.Go(func() {
			defer func() { <-slots }()
			if err := h.host(ctx, peer); err != nil && ctx.Err() == nil {
				h.warned.warn(ctx, h.Log, "holding", err)
			}
		})
	})
}

// host lends an agent what is held, and keeps what it entrusts for as long as it is there.
func (h *Holder) host(ctx context.Context, peer *net.UnixConn) error {
	defer peer.Close()
	defer context.AfterFunc(ctx, func() { _ = peer.Close() })()
	if err := errors.Join(sameUser(peer), peer.SetDeadline(time.Now().Add(within))); err != nil {
		return err
	}
	if err := h.lend(peer); err != nil {
		return err
	}
	_, fds, err := receive(peer)
	if errors.Is(err, io.EOF) {
		return nil // it only borrowed
	}
	if err != nil {
		return err
	}
	t := trust(fds)
	h.keep(&t)
	defer h.left(ctx, &t)
	if err := peer.SetDeadline(time.Time{}); err != nil {
		return err
	}
	_, _ = peer.Read(make([]byte, 1)) // it says no more: until it ends
	return nil
}

func (h *Holder) lend(peer *net.UnixConn) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var held trust
	if n := len(h.agents); n > 0 {
		held = *h.agents[n-1]
	} else if h.orphan != nil {
		held = *h.orphan
	}
	return send(peer, nil, held)
}

// keep holds what an agent serves. Of sockets at one address the kernel gives each some of the
// connections (SO_REUSEPORT), so none may stay that nobody serves any more.
func (h *Holder) keep(t *trust) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.agents = append(h.agents, t)
	h.letGo()
}

// left notes that an agent is gone.
func (h *Holder) left(ctx context.Context, t *trust) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.agents = slices.DeleteFunc(h.agents, func(other *trust) bool { return other == t })
	if len(h.agents) > 0 || ctx.Err() != nil {
		closeAll(*t)
		return
	}
	begin, patience := time.Now(), cmp.Or(h.For, holdFor)
	h.Log.LogAttrs(ctx, slog.LevelInfo, "the agent is gone: who connects waits for the next", slog.Duration("for", patience))
	h.orphan = t
	h.end = time.AfterFunc(patience, func() {
		if h.expire(t) {
			h.Log.LogAttrs(ctx, slog.LevelWarn, "no agent came: connections are refused", slog.Duration("waited", time.Since(begin)))
		}
	})
}

// expire ends the wait for an agent, if it has not ended.
func (h *Holder) expire(t *trust) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.orphan != t {
		return false
	}
	h.letGo()
	return true
}

// letGo closes what nobody serves. mu is held.
func (h *Holder) letGo() {
	if h.orphan != nil {
		h.end.Stop()
		closeAll(*h.orphan)
		h.orphan = nil
	}
}

// Borrow returns the sockets that a [Holder] has.
func Borrow(ctx context.Context, name string) ([]net.Listener, error) {
	peer, err := meet(ctx, name)
	if err != nil {
		return nil, err
	}
	defer peer.Close()
	_, fds, err := receive(peer)
	if err != nil {
		return nil, err
	}
	return listeners(fds)
}

// Entrust has a [Holder] hold sockets, also one that comes later or takes the place of another, until
// ctx ends. For the holder, that is when their agent is gone.
func Entrust(ctx context.Context, name string, sockets []net.Listener, log *slog.Logger) {
	var said string
	for ctx.Err() == nil {
		err := entrust(ctx, name, sockets)
		if err != nil && ctx.Err() == nil && !errors.Is(err, syscall.ECONNREFUSED) && err.Error() != said {
			said = err.Error()
			log.LogAttrs(ctx, slog.LevelWarn, "the sockets are not held", slog.String("cause", said))
		}
		select {
		case <-ctx.Done():
		case <-time.After(entrustEvery):
		}
	}
}

func entrust(ctx context.Context, name string, sockets []net.Listener) error {
	peer, err := meet(ctx, name)
	if err != nil {
		return err
	}
	defer peer.Close()
	defer context.AfterFunc(ctx, func() { _ = peer.Close() })()
	_, held, err := receive(peer)
	if err != nil {
		return err
	}
	closeAll(held) // of an agent before this one
	fds, err := duplicates(sockets)
	if err == nil {
		err = send(peer, nil, fds)
	}
	closeAll(fds) // the holder has its own
	if err := errors.Join(err, peer.SetDeadline(time.Time{})); err != nil {
		return err
	}
	_, _ = peer.Read(make([]byte, 1)) // until one of the two ends
	return nil
}
