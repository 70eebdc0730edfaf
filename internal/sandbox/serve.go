package sandbox

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/openpodidentity/podid/problem"
)

// serve listens on address and serves handler there until Close; it returns the URL.
func (w *World) serve(address string, certificate *tls.Config, handler http.Handler) (string, error) {
	listener, err := listen(address)
	if err != nil {
		return "", err
	}
	server := &http.Server{
		Handler:           w.tellPanics(handler),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(w.config.Log.Handler(), slog.LevelDebug),
	}
	scheme, run := "http", func() error { return server.Serve(listener) }
	if certificate != nil {
		server.TLSConfig = certificate.Clone()
		scheme, run = "https", func() error { return server.ServeTLS(listener, "", "") }
	}
	w.servers = append(w.servers, server)
	w.done.Go(func() {
		if err := run(); !errors.Is(err, http.ErrServerClosed) {
			select {
			case w.failed <- fmt.Errorf("serve %s: %w", address, err):
			default:
			}
		}
	})
	return scheme + "://" + reachable(listener.Addr()), nil
}

// tellPanics logs what net/http would hide among the noise of connections.
func (w *World) tellPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		defer func() {
			switch fault := recover(); fault {
			case nil:
			case http.ErrAbortHandler:
				panic(fault)
			default:
				w.config.Log.ErrorContext(r.Context(), "panic", "method", r.Method, "path", r.URL.Path,
					"panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
				panic(http.ErrAbortHandler) // the answer may have begun
			}
		}()
		next.ServeHTTP(rw, r)
	})
}

func listen(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, problem.New(problem.Usage, "%s is in use by another program", address).
			Because("the local world would listen there; perhaps another local world does already").
			Fixed("stop that program, or take other ports: --port NUMBER, or --port 0 for free ones")
	case err != nil:
		return nil, problem.New(problem.Usage, "the local world cannot listen on %s", address).
			Because("%v", err).
			Fixed("give an address of this machine (--listen ADDRESS) and a port that you may use (--port NUMBER)")
	}
	return listener, nil
}

// reachable is where clients on this machine reach a listener: one on all
// addresses has none of its own.
func reachable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String()
	}
	return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
}
