package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"
)

// onEKS makes the agent that asks AWS's EKS Auth, signing with the node's role. Nobody tells
// it of pods and associations: what it has is asked for again within --max-staleness.
func onEKS(ctx context.Context, o options, log *slog.Logger) (*node, error) {
	if o.cluster == "" {
		return nil, problem.New(problem.ConfigurationMissing, "the agent does not know its cluster's name").
			Because("on EKS there is no podid-auth that tells it").Fixed("give --cluster NAME")
	}
	region, err := o.region, error(nil)
	if region == "" {
		if region, err = agent.NodeRegion(ctx); err != nil {
			return nil, err
		}
	}
	transport, err := transport()
	if err != nil {
		return nil, err
	}
	signed := &agent.Signed{Region: region, Credentials: agent.NodeCredentials(), Next: transport}
	needs := &needs{signed: signed, issuer: o.issuer, unsigned: problem.New(problem.BaseCredentials, "the agent has not got its AWS credentials yet")}
	server := o.server(log)
	server.Lacking = needs.lacking
	server.Upstream = agent.EKSAuth
	server.Exchange = &agent.AuthClient{
		Upstream: agent.EKSAuth,
		// The SDK's variables, as for its own clients
		// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html).
		Endpoint: cmp.Or(o.endpoint, os.Getenv("AWS_ENDPOINT_URL_EKS_AUTH"), os.Getenv("AWS_ENDPOINT_URL"), agent.EKSAuthEndpoint(region)),
		Cluster:  o.cluster,
		Token:    func() (string, error) { return "", nil }, // signed instead
		HTTP:     &http.Client{Transport: signed},
	}
	if o.issuer == "" {
		server.Tokens = agent.Unproved{}
		return &node{server, needs.follow}, nil
	}
	needs.keys = &token.Remote{
		Fetch: func(ctx context.Context) ([]byte, error) {
			return token.Discover(ctx, &http.Client{Transport: transport}, o.issuer)
		},
		Log: log,
	}
	server.Tokens = &token.Verifier{Issuer: o.issuer, Audience: podid.AudiencePods, Keys: needs.keys.Find}
	return &node{server, needs.follow}, nil
}

// transport goes through proxies (HTTPS_PROXY, NO_PROXY) and trusts AWS_CA_BUNDLE where
// these are set.
func transport() (*http.Transport, error) {
	trusted := &tls.Config{MinVersion: tls.VersionTLS12}
	if bundle := os.Getenv("AWS_CA_BUNDLE"); bundle != "" {
		pool, err := (&certificates{file: bundle}).get()
		if err != nil {
			return nil, problem.New(problem.ConfigurationInvalid, "the certificates of AWS_CA_BUNDLE cannot be used").
				Because("EKS Auth is known by them").Fixed("name a file of PEM certificates").From(err)
		}
		trusted.RootCAs = pool
	}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: trusted, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 2,
	}, nil
}
