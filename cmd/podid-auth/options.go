package main

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"github.com/openpodidentity/podid/internal/auth"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// options are the flags. They are read here and become fields elsewhere; what is the
// cluster's rather than the program's is in the ConfigMap (package settings).
type options struct {
	namespace, settings, secret     string
	agent                           string
	kubeconfig                      string
	listen, listenEKS               string
	probes, metrics                 string
	audit                           string
	maxStaleness                    time.Duration
	connections, connectionsPerPeer int
	drain                           time.Duration
	lead                            bool
	logLevel                        string
}

func (o *options) flags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&o.namespace, "namespace", cmp.Or(os.Getenv("POD_NAMESPACE"), "podid-system"), "podid's own namespace")
	f.StringVar(&o.settings, "settings", "/etc/podid/settings", "the ConfigMap podid, as a folder")
	f.StringVar(&o.secret, "certificate", "podid-auth-tls", "the Secret with the certificate to serve with")
	f.StringVar(&o.agent, "agent", "podid-agent", "the service account of the agents, in podid's namespace")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "how to reach the API server; empty: as a pod of the cluster does")
	f.StringVar(&o.listen, "listen", ":8443", "where agents ask for credentials and listen to changes")
	f.StringVar(&o.listenEKS, "listen-eks", ":8444", "where the EKS API is, if eksAPI is set")
	f.StringVar(&o.probes, "probes", ":8080", "where /healthz and /readyz are")
	f.StringVar(&o.metrics, "metrics", ":9090", "where /metrics is; empty: nowhere")
	f.StringVar(&o.audit, "audit-log", "-", "the file to which a line is added for each decision; - is standard output, empty writes none")
	f.DurationVar(&o.maxStaleness, "max-staleness", 0, "how old news of the cluster may be before nothing is handed out; 0: maxStaleness of the settings")
	f.IntVar(&o.connections, "max-connections", 10_000, "connections in all")
	f.IntVar(&o.connectionsPerPeer, "max-connections-per-client", 64, "connections of one IP address")
	f.DurationVar(&o.drain, "drain", 5*time.Second, "how long it goes on answering when it is told to end: until nobody is sent here any more")
	f.BoolVar(&o.lead, "lead", true, "stand for election to do what one replica does: certificates, statuses, Events")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
}

// config is how the API server is reached, without a rate of our own: a pod waits.
func (o *options) config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	config.QPS, config.UserAgent = -1, "podid-auth/"+version
	return config, nil
}

// auditLog is where decisions are written.
func (o *options) auditLog() (*auth.Audit, error) {
	switch o.audit {
	case "":
		return nil, nil
	case "-":
		return &auth.Audit{W: os.Stdout}, nil
	}
	file, err := os.OpenFile(o.audit, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	return &auth.Audit{W: file}, nil
}
