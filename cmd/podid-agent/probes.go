package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/metrics"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/listen"
	"github.com/openpodidentity/podid/problem"
)

// probes answer the kubelet: alive as long as the program runs, ready when pods can
// reach it and it has what it needs to answer them.
func probes(addresses []string, ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		err := reachable(r.Context(), addresses)
		if err == nil {
			err = ready()
		}
		if err == nil {
			_, _ = w.Write([]byte("ok\n"))
			return
		}
		p := problem.Of(err)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(map[string]string{"code": string(p.Code), "message": p.Message()})
	})
	return mux
}

// reachable says whether the node has one of the addresses: those of IPv6 are not on every node.
func reachable(ctx context.Context, addresses []string) (err error) {
	for _, address := range addresses {
		if err = listen.Here(ctx, address); err == nil {
			return nil
		}
	}
	return problem.New(problem.AddressUnavailable, "the node has none of the addresses %q", addresses).From(err)
}

// scrapes are answered for Prometheus, in its text format.
func scrapes(server *agent.Server) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		server.ServeMetrics(w, r)
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/sched/goroutines:goroutines"}}
		metrics.Read(sample)
		fmt.Fprintf(w, "# HELP podid_agent_heap_live_bytes What is in use of the heap, as of its last collection.\n"+
			"# TYPE podid_agent_heap_live_bytes gauge\npodid_agent_heap_live_bytes %d\n", sample[0].Value.Uint64())
		fmt.Fprintf(w, "# HELP podid_agent_goroutines Goroutines.\n# TYPE podid_agent_goroutines gauge\npodid_agent_goroutines %d\n", sample[1].Value.Uint64())
	})
	return mux
}
