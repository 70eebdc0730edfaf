package main

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// options are the flags. They are read here and become fields elsewhere.
type options struct {
	namespace, settings, secret string
	kubeconfig                  string
	listen, probes, metrics     string
	connections                 int
	drain                       time.Duration
	logLevel                    string
}

func (o *options) flags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&o.namespace, "namespace", cmp.Or(os.Getenv("POD_NAMESPACE"), "podid-system"), "podid's own namespace, whose pods are never touched")
	f.StringVar(&o.settings, "settings", "/etc/podid/settings", "the ConfigMap podid, as a folder")
	f.StringVar(&o.secret, "certificate", "podid-webhook-tls", "the Secret with the certificate to serve with")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "how to reach the API server; empty: as a pod of the cluster does")
	f.StringVar(&o.listen, "listen", ":8443", "where the API server asks")
	f.StringVar(&o.probes, "probes", ":8080", "where /healthz and /readyz are")
	f.StringVar(&o.metrics, "metrics", ":9090", "where /metrics is; empty: nowhere")
	f.IntVar(&o.connections, "max-connections", 512, "connections in all")
	f.DurationVar(&o.drain, "drain", 5*time.Second, "how long it goes on answering when it is told to end: until nobody is sent here any more")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
}

// config is how the API server is reached, without a rate of our own: a pod waits.
func (o *options) config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	config.QPS, config.UserAgent = -1, "podid-webhook/"+version
	return config, nil
}
