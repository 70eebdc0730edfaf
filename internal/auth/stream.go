package auth

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// writeTimeout is how long a line may wait for its reader. One that does not read is cut
// off: it reconnects, and begins with a new snapshot.
const writeTimeout = 10 * time.Second

// serveStream is GET /v1/nodes/self/stream: what package stream describes, for the agent
// of a node. It ends when the agent's token expires, its pod ends or its key is
// withdrawn, and when podid-auth stops.
func (h *Handler) serveStream(w http.ResponseWriter, r *http.Request, id string) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		awswire.WriteJSONError(w, id, awswire.Errorf(http.StatusMethodNotAllowed, "UnknownOperationException", "The stream takes GET."))
		return
	}
	if h.Nodes == nil {
		awswire.WriteJSONError(w, id, awswire.Errorf(http.StatusNotFound, "UnknownOperationException", "There is no stream here."))
		return
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), h.timeout())
	caller, err := h.admit(r.WithContext(ctx), h.listener)
	cancel()
	if err == nil {
		if told := h.newEnough(r); told != nil { // nothing was decided: the agent asks around
			awswire.WriteJSONError(w, id, wireError(told, id))
			return
		}
	}
	p := problem.Of(err)
	h.audit(r.Context(), newRecord("stream", id, r.RemoteAddr, &Grant{Caller: caller}, p))
	if p != nil {
		h.logStream(r.Context(), slog.LevelWarn, id, "stream refused", caller, p.Attrs()...)
		awswire.WriteJSONError(w, id, wireError(p, id))
		return
	}
	h.logStream(r.Context(), slog.LevelInfo, id, "stream", caller)
	why := h.tell(w, r, caller)
	h.logStream(r.Context(), slog.LevelInfo, id, "stream ended", caller, slog.String("why", why), slog.Duration("took", time.Since(start)))
}

// newEnough is the problem of a request for newer news than this replica has.
func (h *Handler) newEnough(r *http.Request) *problem.Problem {
	wanted := r.Header.Get(stream.HeaderWithin)
	if wanted == "" {
		return nil
	}
	seconds, err := strconv.ParseUint(wanted, 10, 31)
	if err != nil {
		return problem.New(problem.RequestInvalid, "the header %s is no number of seconds", stream.HeaderWithin)
	}
	if within, age := time.Duration(seconds)*time.Second, h.age(); age > within {
		return problem.New(problem.ClusterUnavailable, "there was no news of the cluster for %s", age.Round(time.Second)).
			Because("the agent asks for a podid-auth that had some within %s", within)
	}
	return nil
}

func (h *Handler) age() time.Duration {
	if h.Age == nil {
		return 0
	}
	return h.Age()
}

// tell writes lines until the stream ends, and says why it did.
func (h *Handler) tell(w http.ResponseWriter, r *http.Request, caller Caller) (why string) {
	l, snapshot := h.Nodes.listen(caller.Node, caller.Token)
	defer h.Nodes.leave(l)
	h.Metrics.streaming(1)
	defer h.Metrics.streaming(-1)
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", stream.ContentType)
	send := func(messages ...stream.Message) bool {
		_ = out.SetWriteDeadline(time.Now().Add(writeTimeout)) // a server that has none bounds writes itself
		// HTTP/2 ends a stream at its deadline whether or not something is being written.
		defer func() { _ = out.SetWriteDeadline(time.Time{}) }()
		for _, m := range messages {
			m.Age = int64(h.age() / time.Second)
			if stream.Write(w, m) != nil {
				return false
			}
		}
		return out.Flush() == nil
	}
	expired := time.NewTimer(time.Until(caller.Token.Expires))
	defer expired.Stop()
	ping := time.NewTicker(stream.PingEvery)
	defer ping.Stop()
	if !send(stream.Message{Snapshot: &snapshot}) {
		return "the agent does not read"
	}
	for {
		var messages []stream.Message
		select {
		case <-r.Context().Done():
			return "the agent is gone"
		case <-l.ended:
			return l.why
		case <-expired.C:
			return "the agent's token has expired"
		case <-l.wake:
			messages = h.Nodes.changes(l)
		case now := <-ping.C:
			messages = []stream.Message{{Ping: now.Unix()}}
		}
		if !send(messages...) {
			return "the agent does not read"
		}
	}
}

func (h *Handler) logStream(ctx context.Context, level slog.Level, id, message string, c Caller, attrs ...slog.Attr) {
	if h.Log == nil {
		return
	}
	attrs = append([]slog.Attr{slog.String("request", id), slog.String("caller_node", c.Node), slog.String("agent_pod", c.Token.Workload.Pod)}, attrs...)
	h.Log.LogAttrs(ctx, level, message, attrs...)
}
