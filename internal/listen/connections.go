package listen

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Connections bounds the connections of an [http.Server], in all and for each
// client (IP address), so that one that opens thousands, or sends a request a byte
// a minute, takes nothing from the others. At a bound the connection whose last
// request is longest ago is closed for the new one; in all it is the client with the
// most that makes room. The new one is refused if all are being answered.
// Set the fields before use.
type Connections struct {
	Total, PerClient int
	// Closed, if set, hears of each connection that had to go.
	Closed func()

	mu      sync.Mutex
	count   int
	clients map[netip.Addr]map[*connection]struct{}
}

// connection is one of them.
type connection struct {
	net.Conn
	all  *Connections
	from netip.Addr
	busy atomic.Bool  // a request of it is being answered
	last atomic.Int64 // its last request, or its beginning; nanoseconds
	gone sync.Once
}

type connectionKey struct{}

// Guard makes s tell of its connections; its listeners have to be those of Listener.
func (c *Connections) Guard(s *http.Server) {
	handler := s.Handler
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, conn)
	}
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, ok := r.Context().Value(connectionKey{}).(*connection)
		if ok {
			conn.busy.Store(true)
			defer func() {
				conn.last.Store(time.Now().UnixNano())
				conn.busy.Store(false)
			}()
		}
		handler.ServeHTTP(w, r)
	})
}

// Listener is l within the bounds.
func (c *Connections) Listener(l net.Listener) net.Listener { return guarded{l, c} }

type guarded struct {
	net.Listener
	all *Connections
}

func (g guarded) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if admitted := g.all.admit(conn); admitted != nil {
			return admitted, nil
		}
		_ = conn.Close()
	}
}

// admit makes room for conn; nil if there is none.
func (c *Connections) admit(conn net.Conn) net.Conn {
	from := netip.Addr{}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		from = tcp.AddrPort().Addr().Unmap()
	}
	admitted := &connection{Conn: conn, all: c, from: from}
	admitted.last.Store(time.Now().UnixNano())

	c.mu.Lock()
	var victim *connection
	full := true
	switch {
	case len(c.clients[from]) >= c.PerClient:
		victim = c.longestIdle(from)
	case c.count >= c.Total:
		victim = c.longestIdle(c.busiest())
	default:
		full = false
	}
	if full && victim == nil {
		c.mu.Unlock()
		c.closed()
		return nil
	}
	if victim != nil {
		c.drop(victim) // now, not once its goroutine comes to close it
	}
	if c.clients == nil {
		c.clients = map[netip.Addr]map[*connection]struct{}{}
	}
	if c.clients[from] == nil {
		c.clients[from] = map[*connection]struct{}{}
	}
	c.clients[from][admitted] = struct{}{}
	c.count++
	c.mu.Unlock()
	if victim != nil {
		_ = victim.Conn.Close()
		c.closed()
	}
	return admitted
}

// longestIdle is the client's connection whose last request is longest ago, of
// those that are not being answered. mu is held.
func (c *Connections) longestIdle(from netip.Addr) (victim *connection) {
	for conn := range c.clients[from] {
		if !conn.busy.Load() && (victim == nil || conn.last.Load() < victim.last.Load()) {
			victim = conn
		}
	}
	return victim
}

// busiest is the client with the most connections. mu is held.
func (c *Connections) busiest() (from netip.Addr) {
	most := 0
	for client, connections := range c.clients {
		if len(connections) > most {
			from, most = client, len(connections)
		}
	}
	return from
}

// drop forgets conn, once. mu is held.
func (c *Connections) drop(conn *connection) {
	conn.gone.Do(func() {
		c.count--
		delete(c.clients[conn.from], conn)
		if len(c.clients[conn.from]) == 0 {
			delete(c.clients, conn.from)
		}
	})
}

func (c *Connections) closed() {
	if c.Closed != nil {
		c.Closed()
	}
}

// Count is how many there are now.
func (c *Connections) Count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// Close closes it and makes room.
func (c *connection) Close() error {
	c.all.mu.Lock()
	c.all.drop(c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}
