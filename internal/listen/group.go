package listen

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/openpodidentity/podid/problem"
)

// maxServers of a group: more than any program has.
const maxServers = 8

// Group is the servers of a program, which end together. Its zero value is ready; it
// belongs to one goroutine.
type Group struct {
	all  []*http.Server
	errs chan error
}

// Start listens on address, for this process alone, and serves s there.
func (g *Group) Start(ctx context.Context, address string, s *http.Server) error {
	socket, err := Alone(ctx, address)
	if err != nil {
		return err
	}
	g.serve(s, func() error { return s.Serve(socket) })
	return nil
}

// StartTLS is Start with the certificates of s.TLSConfig, within bounds.
func (g *Group) StartTLS(ctx context.Context, address string, s *http.Server, bounds *Connections) error {
	socket, err := Alone(ctx, address)
	if err != nil {
		return err
	}
	g.serve(s, func() error { return s.ServeTLS(bounds.Listener(socket), "", "") })
	return nil
}

func (g *Group) serve(s *http.Server, serve func() error) {
	if g.errs == nil {
		g.errs = make(chan error, maxServers)
	}
	g.all = append(g.all, s)
	go func() {
		if err := serve(); !errors.Is(err, http.ErrServerClosed) {
			g.errs <- fmt.Errorf("serve: %w", err)
		}
	}()
}

// Failed yields when one stopped by itself.
func (g *Group) Failed() <-chan error { return g.errs }

// Shutdown takes no new connections and gives requests in flight that long to end;
// what has not ended then is cut off.
func (g *Group) Shutdown(within time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for _, s := range g.all {
		if s.Shutdown(ctx) != nil {
			_ = s.Close()
		}
	}
}

// Probes answer the kubelet: /healthz as long as the program runs, /readyz when ready
// returns no error, or else 503 and what the problem is.
func Probes(ready func() error) http.Handler {
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
