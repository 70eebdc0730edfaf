package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/problem"
)

// node is the agent of these options, and what it has to follow while it serves.
type node struct {
	*agent.Server
	follow func(ctx context.Context)
}

// newNode makes the agent that asks podid-auth, or AWS.
func newNode(ctx context.Context, o options, log *slog.Logger) (*node, error) {
	if o.eks {
		return onEKS(ctx, o, log)
	}
	endpoint := o.auth
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	address, err := url.Parse(endpoint)
	if err != nil || address.Hostname() == "" {
		return nil, problem.New(problem.Usage, "%q is not the address of podid-auth", o.auth).
			Because("it is HOST:PORT or a URL").Fixed("write it as podid-auth.podid-system.svc:8443").From(err)
	}
	trusted := &certificates{file: o.caFile}
	auth := &agent.AuthClient{
		Endpoint: endpoint,
		Token:    file(o.tokenFile).read,
		HTTP:     &http.Client{Transport: &agent.Replicas{TLS: trusted.config(address.Hostname())}},
	}
	server := o.server(log)
	server.Exchange = auth
	return &node{server, func(ctx context.Context) { server.Follow(ctx, auth) }}, nil
}

func (o options) server(log *slog.Logger) *agent.Server {
	return &agent.Server{
		Node: o.node, Hosts: o.hosts,
		MaxStaleness: o.maxStaleness,
		Limits:       agent.Limits{Rate: o.rate, Burst: o.burst, Pods: o.pods, Calls: o.calls, Waiting: o.queue},
		Log:          log,
	}
}
