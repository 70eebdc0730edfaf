package main

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/problem"
)

// newAgent makes the agent of these options, and what it follows.
func newAgent(o options, log *slog.Logger) (*agent.Server, agent.Stream, error) {
	endpoint := o.auth
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	address, err := url.Parse(endpoint)
	if err != nil || address.Hostname() == "" {
		return nil, nil, problem.New(problem.Usage, "%q is not the address of podid-auth", o.auth).
			Because("it is HOST:PORT or a URL").Fixed("write it as podid-auth.podid-system.svc:8443").From(err)
	}
	trusted := &certificates{file: o.caFile}
	auth := &agent.AuthClient{
		Endpoint: endpoint,
		Token:    file(o.tokenFile).read,
		HTTP: &http.Client{Transport: &http.Transport{
			TLSClientConfig: trusted.config(address.Hostname()), ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
		}},
	}
	return &agent.Server{
		Exchange: auth,
		Node:     o.node, Hosts: o.hosts,
		MaxStaleness: o.maxStaleness,
		Limits:       agent.Limits{Rate: o.rate, Pods: o.pods, Calls: o.calls, Waiting: o.queue},
		Log:          log,
	}, auth, nil
}
