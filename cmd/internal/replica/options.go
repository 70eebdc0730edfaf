package replica

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Options are the flags that both programs have. What is the cluster's rather than the
// program's is in the ConfigMap (package settings).
type Options struct {
	Namespace, Settings, Certificate string
	Kubeconfig                       string
	Listen, Probes, Metrics          string
	Connections                      int
	Drain                            time.Duration
	LogLevel                         string
}

// Flags adds them to f, in this order. A program called name differs in who comes to
// Listen, and in how many connections are room for all of them.
func (o *Options) Flags(f *pflag.FlagSet, name, who string, connections int) {
	f.SortFlags = false
	f.StringVar(&o.Namespace, "namespace", cmp.Or(os.Getenv("POD_NAMESPACE"), "podid-system"), "podid's own namespace")
	f.StringVar(&o.Settings, "settings", "/etc/podid/settings", "the ConfigMap podid, as a folder")
	f.StringVar(&o.Certificate, "certificate", name+"-tls", "the Secret with the certificate to serve with")
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "how to reach the API server; empty: as a pod of the cluster does")
	f.StringVar(&o.Listen, "listen", ":8443", "where "+who)
	f.StringVar(&o.Probes, "probes", ":8080", "where /healthz and /readyz are")
	f.StringVar(&o.Metrics, "metrics", ":9090", "where /metrics is; empty: nowhere")
	f.IntVar(&o.Connections, "max-connections", connections, "connections in all")
	f.DurationVar(&o.Drain, "drain", 5*time.Second, "how long it goes on answering when it is told to end: until nobody is sent here any more")
	f.StringVar(&o.LogLevel, "log-level", "info", "debug, info, warn or error")
}

// Reach is how the API server is reached, without a rate of our own: a pod waits. That a
// connection is dead is found out within twenty seconds, where client-go takes 45.
func (o *Options) Reach(userAgent string) (*rest.Config, error) {
	for _, name := range []string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS", "HTTP2_PING_TIMEOUT_SECONDS"} {
		if _, set := os.LookupEnv(name); !set { // client-go takes it from there alone
			if err := os.Setenv(name, "10"); err != nil {
				return nil, err
			}
		}
	}
	config, err := rest.InClusterConfig()
	if o.Kubeconfig != "" {
		config, err = clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	config.QPS, config.UserAgent = -1, userAgent
	return config, nil
}
