package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid/internal/auth"
	"github.com/openpodidentity/podid/internal/certificate"
	"github.com/openpodidentity/podid/internal/reconcile"
	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/internal/settings"
	"github.com/openpodidentity/podid/problem"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
)

// replica is this podid-auth and what it becomes ready by, in this order: the cluster's
// settings, base credentials, the issuer and its keys, pods and associations, and a
// certificate. Until it is ready nobody is sent here; who comes all the same is told
// 503.
type replica struct {
	options     options
	config      *rest.Config
	certificate *certificate.Source
	audit       *auth.Audit
	metrics     *auth.Metrics
	leading     *reconcile.Metrics
	log         *slog.Logger

	draining atomic.Bool
	serving  atomic.Pointer[serving]
	// state is why it is not ready, and nil once it is.
	state atomic.Pointer[problem.Problem]
}

func newReplica(o options, config *rest.Config, registry *prometheus.Registry, log *slog.Logger) (*replica, error) {
	source, err := certificate.Follow(config, o.namespace, o.secret)
	if err != nil {
		return nil, err
	}
	source.Log = log
	r := &replica{options: o, config: config, certificate: source, metrics: auth.NewMetrics(registry), leading: reconcile.NewMetrics(registry), log: log}
	if r.audit, err = o.auditLog(); err != nil {
		return nil, err
	}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "podid_auth_certificate_expiry_timestamp_seconds", Help: "When the certificate that is served with expires; 0 if there is none.",
	}, func() float64 {
		pair, err := source.GetCertificate(nil)
		if err != nil {
			return 0
		}
		return float64(pair.Leaf.NotAfter.Unix())
	}))
	r.state.Store(starting())
	return r, nil
}

func starting() *problem.Problem {
	return problem.New(problem.ClusterUnavailable, "podid-auth has just started, and the cluster was not read yet").
		Because("the API server does not answer, or it takes a moment")
}

// ready is what keeps it from answering.
func (r *replica) ready() error {
	if r.draining.Load() {
		return problem.New(problem.AuthUnavailable, "podid-auth is about to end").Because("")
	}
	if p := r.state.Load(); p != nil {
		return p
	}
	if s := r.serving.Load(); s != nil {
		if err := s.handler.Ready(); err != nil {
			return err
		}
	}
	return r.certificate.Ready()
}

// exchange and eks are its two handlers, whatever is behind them now.
func (r *replica) exchange(w http.ResponseWriter, request *http.Request) {
	if s := r.serving.Load(); s != nil {
		s.handler.ServeHTTP(w, request)
		return
	}
	http.Error(w, problem.Of(r.state.Load()).Message(), http.StatusServiceUnavailable)
}

func (r *replica) eks(w http.ResponseWriter, request *http.Request) {
	switch s := r.serving.Load(); {
	case s == nil:
		http.Error(w, problem.Of(r.state.Load()).Message(), http.StatusServiceUnavailable)
	case s.eks == nil:
		http.Error(w, "The EKS API is switched off: eksAPI in the ConfigMap podid.", http.StatusNotFound)
	default:
		s.eks.ServeHTTP(w, request)
	}
}

// drain ends the streams, so that agents go elsewhere.
func (r *replica) drain() {
	if s := r.serving.Load(); s != nil {
		s.handler.Nodes.Drain()
	}
}

// run becomes ready, and ends with ctx.
func (r *replica) run(ctx context.Context) error {
	go r.certificate.Run(ctx)
	set, err := untilGot(ctx, r, "", func() (settings.Settings, error) { return settings.Read(r.options.settings) },
		problem.ConfigurationMissing)
	if err != nil || ctx.Err() != nil {
		return err
	}
	r.state.Store(starting())
	if r.options.lead {
		// It makes the certificates, without which nobody becomes ready. It is waited
		// for at the end: a Lease that was not given back keeps the next leader waiting.
		leading, resign := context.WithCancel(ctx)
		var work sync.WaitGroup
		work.Go(func() { _ = r.leader(set).Run(leading) })
		defer work.Wait()
		defer resign()
	}
	base := roles.Base{
		Cluster: set.Cluster, STSEndpoint: set.STSEndpoint, IAMEndpoint: set.IAMEndpoint,
		Service: set.ServicePrincipal, IMDSBlocked: set.IMDSBlocked, Duration: set.SessionDuration,
	}
	assumer, err := untilGot(ctx, r, "base credentials", func() (*roles.Assumer, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return base.Open(ctx)
	}, problem.BaseCredentials, problem.STSUnavailable)
	if err != nil || ctx.Err() != nil {
		return err
	}
	r.log.Info("base credentials", "principal", assumer.Principal.ARN, "service", assumer.Principal.Service, "duration", assumer.Duration)
	r.state.Store(starting())
	for {
		err := r.follow(ctx, set, assumer)
		if ctx.Err() != nil {
			return nil
		}
		r.log.Warn("the API server cannot be followed, trying again", "cause", fmt.Sprint(err))
		pause(ctx)
	}
}

func (r *replica) leader(set settings.Settings) *reconcile.Leader {
	return &reconcile.Leader{Config: r.config, Namespace: r.options.namespace, Settings: set, Metrics: r.leading, Log: r.log}
}

// untilGot gets something, again every two seconds as long as that meets a problem of one
// of these codes, which may heal.
func untilGot[T any](ctx context.Context, r *replica, what string, get func() (T, error), heals ...problem.Code) (T, error) {
	last := ""
	for {
		got, err := get()
		p := problem.Of(err)
		if err == nil || !slices.Contains(heals, p.Code) {
			return got, err
		}
		r.state.Store(p)
		if message := p.Error(); message != last {
			last = message
			r.log.Warn("not ready", "for", what, "code", p.Code, "what", p.What, "cause", fmt.Sprint(p.Err))
		}
		if pause(ctx); ctx.Err() != nil {
			return got, nil
		}
	}
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
	}
}
