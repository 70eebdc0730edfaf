package main

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid/internal/listen"
)

// leaving is how an agent goes without a client noticing: it takes no new connections, and
// closes those it has when it has answered the next request of each.
// http.Server.Shutdown alone drops a request that it reads after it was called.
type leaving struct {
	now       atomic.Bool
	succeeded atomic.Bool    // another agent has taken over: nobody waits for this one to end
	serving   sync.WaitGroup // the sockets
}

func (l *leaving) from(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.now.Load() {
			w.Header()["Connection"] = []string{"close"}
		}
		next.ServeHTTP(w, r)
	})
}

// wait closes the sockets and returns when the connections are gone, or at the latest
// after leaveFor, or hurryFor where who comes meanwhile waits for an agent that is started once this
// one has ended: those that are left then are idle.
func (l *leaving) wait(sockets []net.Listener, bounds *listen.Connections) {
	l.now.Store(true)
	for _, socket := range sockets {
		_ = socket.Close()
	}
	l.serving.Wait() // what was accepted last is counted
	patience := hurryFor
	if l.succeeded.Load() {
		patience = leaveFor
	}
	for end := time.Now().Add(patience); bounds.Count() > 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
}
