package main

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid/cmd/internal/replica"
	"github.com/openpodidentity/podid/internal/auth"
	"github.com/openpodidentity/podid/internal/event"
	"github.com/openpodidentity/podid/internal/reconcile"
	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/internal/settings"
	"github.com/openpodidentity/podid/problem"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
)

// server is this podid-auth and what it becomes ready by, in this order: the cluster's
// settings, base credentials, the issuer and its keys, pods and associations, and a
// certificate. Until it is ready nobody is sent here; who comes all the same is told
// 503.
type server struct {
	*replica.Replica
	options options
	audit   *auth.Audit
	metrics *auth.Metrics
	leading *reconcile.Metrics
	events  *event.Metrics
	serving atomic.Pointer[serving]
}

func newServer(o options, config *rest.Config, registry *prometheus.Registry, log *slog.Logger) (*server, error) {
	base, err := replica.New(o.Options, config, starting(), log)
	if err != nil {
		return nil, err
	}
	r := &server{Replica: base, options: o, metrics: auth.NewMetrics(registry), leading: reconcile.NewMetrics(registry), events: event.NewMetrics(registry)}
	if r.audit, err = o.auditLog(); err != nil {
		return nil, err
	}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "podid_auth_certificate_expiry_timestamp_seconds", Help: "When the certificate that is served with expires; 0 if there is none.",
	}, func() float64 {
		pair, err := r.Certificate.GetCertificate(nil)
		if err != nil {
			return 0
		}
		return float64(pair.Leaf.NotAfter.Unix())
	}))
	return r, nil
}

func starting() *problem.Problem {
	return problem.New(problem.ClusterUnavailable, "podid-auth has just started, and the cluster was not read yet").
		Because("the API server does not answer, or it takes a moment")
}

// ready is what keeps it from answering.
func (r *server) ready() error {
	if err := r.Ready(); err != nil {
		return err
	}
	if s := r.serving.Load(); s != nil {
		return s.handler.Ready()
	}
	return nil
}

// exchange and eks are its two handlers, whatever is behind them now.
func (r *server) exchange(w http.ResponseWriter, request *http.Request) {
	if s := r.serving.Load(); s != nil {
		s.handler.ServeHTTP(w, request)
		return
	}
	r.NotYet(w)
}

func (r *server) eks(w http.ResponseWriter, request *http.Request) {
	switch s := r.serving.Load(); {
	case s == nil:
		r.NotYet(w)
	case s.eks == nil:
		http.Error(w, "The EKS API is switched off: eksAPI in the ConfigMap podid.", http.StatusNotFound)
	default:
		s.eks.ServeHTTP(w, request)
	}
}

// drain ends the streams, so that agents go elsewhere.
func (r *server) drain() {
	if s := r.serving.Load(); s != nil {
		s.handler.Nodes.Drain()
	}
}

// run becomes ready, and ends with ctx.
func (r *server) run(ctx context.Context) error {
	go r.Certificate.Run(ctx)
	set, err := replica.Get(ctx, r.Replica, "settings", func() (settings.Settings, error) { return settings.Read(r.Settings) },
		problem.ConfigurationMissing)
	if err != nil || ctx.Err() != nil {
		return err
	}
	set.MaxStaleness = cmp.Or(r.options.maxStaleness, set.MaxStaleness)
	if r.options.lead {
		// It makes the certificates, without which nobody becomes ready. It is waited
		// for at the end: a Lease that was not given back keeps the next leader waiting.
		leading, resign := context.WithCancel(ctx)
		var work sync.WaitGroup
		work.Go(func() { r.leader(set).Run(leading) })
		defer work.Wait()
		defer resign()
	}
	base := roles.Base{
		Cluster: set.Cluster, STSEndpoint: set.STSEndpoint, IAMEndpoint: set.IAMEndpoint,
		Service: set.ServicePrincipal, IMDSBlocked: set.IMDSBlocked, Duration: set.SessionDuration,
	}
	assumer, err := replica.Get(ctx, r.Replica, "base credentials", func() (*roles.Assumer, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return base.Open(ctx)
	}, problem.BaseCredentials, problem.STSUnavailable)
	if err != nil || ctx.Err() != nil {
		return err
	}
	r.Log.Info("base credentials", "principal", assumer.Principal.ARN, "service", assumer.Principal.Service, "duration", assumer.Duration)
	r.Follow(ctx, func(ctx context.Context) error { return r.follow(ctx, set, assumer) })
	return nil
}

func (r *server) leader(set settings.Settings) *reconcile.Leader {
	return &reconcile.Leader{Config: r.Config, Namespace: r.Namespace, Settings: set, Metrics: r.leading, Events: r.events, Log: r.Log}
}
