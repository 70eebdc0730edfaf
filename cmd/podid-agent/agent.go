package main

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/openpodidentity/podid/internal/agent"
)

// newAgent makes the agent of these options, and what it follows.
func newAgent(o options, log *slog.Logger) (*agent.Server, agent.Stream) {
	trusted := &certificates{file: o.caFile}
	endpoint := o.auth
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	auth := &agent.AuthClient{
		Endpoint: endpoint,
		Token:    file(o.tokenFile).read,
		HTTP: &http.Client{Transport: &http.Transport{
			TLSClientConfig: trusted.config(), ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
		}},
	}
	return &agent.Server{
		Exchange: auth,
		Node:     o.node, Hosts: o.hosts,
		MaxStaleness: o.maxStaleness,
		Limits:       agent.Limits{Rate: o.rate, Pods: o.pods, Calls: o.calls, Waiting: o.queue},
		Log:          log,
	}, auth
}
