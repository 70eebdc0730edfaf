package main

import (
	"cmp"
	"os"
	"time"

	"github.com/openpodidentity/podid/internal/handover"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/pflag"
)

// options are the flags. They are read here and become fields elsewhere.
type options struct {
	auth, caFile, tokenFile string
	node                    string
	listen                  []string
	probes, metrics         string
	handover, holder        string
	hosts                   []string
	maxStaleness            time.Duration
	connections, perClient  int
	rate, burst             int
	pods, calls, queue      int
	logLevel                string

	eks                               bool
	cluster, region, endpoint, issuer string
}

func (o *options) flags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&o.auth, "auth", "podid-auth."+cmp.Or(os.Getenv("POD_NAMESPACE"), "podid-system")+".svc:8443",
		"podid-auth, HOST:PORT or a URL; all addresses of the host are used")
	f.StringVar(&o.caFile, "ca-file", "/etc/podid/ca/ca.crt", "certificates that podid-auth's is signed by (PEM, read again when it changes)")
	f.StringVar(&o.tokenFile, "token-file", "/var/run/secrets/podid/token", "the agent's own token (read again when it changes)")
	f.StringVar(&o.node, "node", os.Getenv("NODE_NAME"), "the node's name; tokens of pods elsewhere are refused")
	f.StringSliceVar(&o.listen, "listen", []string{"169.254.170.23:80", "[fd00:ec2::23]:80"}, "where SDKs ask")
	f.StringVar(&o.probes, "probes", "127.0.0.1:2703", "where /healthz and /readyz are")
	f.StringVar(&o.metrics, "metrics", "127.0.0.1:2705", "where /metrics is; empty: nowhere")
	f.StringVar(&o.handover, "handover", "@podid-agent", "Unix socket where an agent takes over from the one before; empty: nowhere")
	f.StringVar(&o.holder, "holder", handover.HolderName, "Unix socket of podid-address, which holds the listening sockets while there is no agent; empty: nobody does")
	f.StringSliceVar(&o.hosts, "allow-host", nil, "names that requests may be for, beside the agent's own addresses and loopback")
	f.DurationVar(&o.maxStaleness, "max-staleness", time.Hour, "how long credentials are served without news of their pod")
	f.IntVar(&o.connections, "max-connections", 4096, "connections in all")
	f.IntVar(&o.perClient, "max-connections-per-client", 1024, "connections of one IP address")
	f.IntVar(&o.rate, "max-rate", 300, "requests a second of one pod")
	f.IntVar(&o.burst, "max-burst", 1000, "requests of one pod at once, after a pause")
	f.IntVar(&o.pods, "max-pods", 4096, "pods that are remembered")
	f.IntVar(&o.calls, "max-calls", 8, "calls to podid-auth (EKS Auth) at once")
	f.IntVar(&o.queue, "max-waiting", 1024, "pods that wait for such a call")
	f.BoolVar(&o.eks, "eks", false, "on EKS: ask AWS's EKS Auth instead of podid-auth, signed with the node's role")
	f.StringVar(&o.cluster, "cluster", "", "with --eks: the cluster's name")
	f.StringVar(&o.region, "region", "", "with --eks: the region; empty: AWS_REGION, or what the instance says")
	f.StringVar(&o.endpoint, "endpoint", "", "with --eks: EKS Auth; empty: AWS_ENDPOINT_URL_EKS_AUTH, AWS_ENDPOINT_URL, or AWS's of the region")
	f.StringVar(&o.issuer, "issuer", "", "with --eks: the issuer whose public keys prove tokens; empty: EKS Auth proves them, each anew")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
}

// check refuses a limit that lets nobody in, or that is none.
func (o *options) check() error {
	for _, l := range []struct {
		flag            string
		is, least, most int
	}{
		{"max-connections", o.connections, 16, 1 << 20},
		{"max-connections-per-client", o.perClient, 1, 1 << 20},
		{"max-rate", o.rate, 1, 1e6},
		{"max-burst", o.burst, 1, 1e6},
		{"max-pods", o.pods, 1, 1e5},
		{"max-calls", o.calls, 1, 1e3},
		{"max-waiting", o.queue, 1, 1e5},
	} {
		if l.is < l.least || l.is > l.most {
			return problem.New(problem.Usage, "--%s cannot be %d", l.flag, l.is).
				Because("it is a limit that the node's pods share").Fixed("give a number from %d to %d", l.least, l.most)
		}
	}
	if o.maxStaleness < time.Second {
		return problem.New(problem.Usage, "--max-staleness cannot be %s", o.maxStaleness).
			Because("it is how long credentials are served without news of their pod").Fixed("give a second or more, such as 1h")
	}
	return nil
}
