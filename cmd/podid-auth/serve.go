package main

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/openpodidentity/podid/cmd/internal/replica"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxHeader, in bytes: a token and little else.
	maxHeader = 32 << 10
	// eksWithin bounds a request for the EKS API. Agents' streams have no end.
	eksWithin = 30 * time.Second
)

// serve answers agents until ctx ends, and then as long as it may be asked still.
func serve(ctx context.Context, o options, log *slog.Logger) error {
	config, err := o.Reach("podid-auth/" + version)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	s, err := newServer(o, config, registry, log)
	if err != nil {
		return err
	}
	return s.Serve(ctx, replica.Work{
		Version: version, Ready: s.ready, Run: s.run, Drain: s.drain, Metrics: registry,
		Doors: []replica.Door{
			{Address: o.Listen, Handler: http.HandlerFunc(s.exchange), MaxHeader: maxHeader, PerClient: o.connectionsPerPeer},
			{Address: o.listenEKS, Handler: http.HandlerFunc(s.eks), MaxHeader: maxHeader, PerClient: o.connectionsPerPeer, Within: eksWithin},
		},
	})
}
