package main

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"
)

// newAgent makes the agent of these options.
func newAgent(o options, log *slog.Logger) *agent.Server {
	trusted := &certificates{file: o.caFile}
	transport := &http.Transport{TLSClientConfig: trusted.config(), ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute}
	endpoint := o.auth
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	return &agent.Server{
		Tokens: notYet{},
		Exchange: &agent.AuthClient{
			Endpoint: endpoint,
			Token:    file(o.tokenFile).read,
			HTTP:     &http.Client{Transport: transport},
		},
		Log: log,
	}
}

// notYet verifies nothing: the keys come by podid-auth's stream.
type notYet struct{}

func (notYet) Verify(context.Context, string) (token.Token, error) {
	return token.Token{}, problem.New(problem.AuthUnavailable, "podid-auth has not told the cluster's keys yet")
}

func ready(*agent.Server) func() error {
	return func() error {
		return problem.New(problem.AuthUnavailable, "podid-auth has not told the cluster's keys yet")
	}
}
