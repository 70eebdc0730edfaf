package main

import (
	"context"
	"fmt"
	"net/http"
	"runtime/metrics"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/listen"
	"github.com/openpodidentity/podid/problem"
)

// ready is when pods can reach the agent, and it has what it needs to answer them.
func ready(ctx context.Context, addresses []string, server *agent.Server) func() error {
	return func() error {
		if err := reachable(ctx, addresses); err != nil {
			return err
		}
		return server.Ready()
	}
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
		is := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/sched/goroutines:goroutines"},
			{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		metrics.Read(is)
		for _, gauge := range []struct {
			name, help string
			value      uint64
		}{
			{"podid_agent_heap_live_bytes", "What is in use of the heap, as of its last collection.", is[0].Value.Uint64()},
			{"podid_agent_goroutines", "Goroutines.", is[1].Value.Uint64()},
			{"podid_agent_memory_bytes", "What the program has of the node's memory, beside its own file.", is[2].Value.Uint64() - is[3].Value.Uint64()},
		} {
			fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s gauge\n%s %d\n", gauge.name, gauge.help, gauge.name, gauge.name, gauge.value)
		}
	})
	return mux
}
