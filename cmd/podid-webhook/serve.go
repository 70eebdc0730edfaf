package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/openpodidentity/podid/cmd/internal/replica"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// requestWithin bounds a request; the API server has given up by then.
	requestWithin = 5 * time.Second
	// maxHeader, in bytes: API servers send few.
	maxHeader = 16 << 10
	// inFlight, in bytes, bounds the requests in memory: a few of the largest, or
	// thousands of the usual.
	inFlight = 32 << 20
)

// serve answers the API server until ctx ends, and then as long as it may be asked still.
func serve(ctx context.Context, o replica.Options, log *slog.Logger) error {
	config, err := o.Reach("podid-webhook/" + version)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	h, err := newHook(o, config, registry, log)
	if err != nil {
		return err
	}
	return h.Serve(ctx, replica.Work{
		Version: version, Ready: h.Ready, Run: h.run, Metrics: registry,
		Doors: []replica.Door{{
			Address: o.Listen, Handler: (&budget{total: inFlight, perClient: inFlight / 2}).guard(h),
			MaxHeader: maxHeader, PerClient: o.Connections, Within: requestWithin,
		}},
	})
}
