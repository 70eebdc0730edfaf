package auth

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/problem"
)

// Metrics is what a Handler counts; nil counts nothing.
type Metrics struct {
	exchanges *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	sts       *prometheus.CounterVec
	stsTook   prometheus.Histogram
	streams   prometheus.Gauge
	staleness *prometheus.GaugeVec
	verifying prometheus.Gauge
	limited   prometheus.Counter
}

// ok is the label of what went well, beside the problem codes.
const ok = "ok"

// NewMetrics registers the metrics of the exchange and the stream.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	buckets := []float64{.001, .0025, .005, .01, .025, .05, .1, .2, .4, .8, 1.6}
	m := &Metrics{
		exchanges: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podid_auth_exchanges_total", Help: "Exchanges, by the code of their problem, or ok.",
		}, []string{"code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "podid_auth_exchange_seconds", Help: "How long exchanges took: those that went well, those that were refused, and those that failed.", Buckets: buckets,
		}, []string{"outcome"}),
		sts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podid_auth_sts_total", Help: "Roles that an STS was asked to assume, by the code of the problem, or ok.",
		}, []string{"code"}),
		stsTook: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "podid_auth_sts_seconds", Help: "How long that took, with a target role's second call.", Buckets: buckets,
		}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "podid_auth_streams", Help: "Agents that listen.",
		}),
		staleness: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "podid_auth_staleness_seconds", Help: "How old the news of the cluster are: of pods, service accounts, associations and keys.",
		}, []string{"source"}),
		verifying: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "podid_auth_verifications_in_flight", Help: "Signatures of tokens that are being verified.",
		}),
		limited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "podid_auth_limited_total", Help: "Requests that were refused unread, since too many of their address were forged.",
		}),
	}
	registry.MustRegister(m.exchanges, m.seconds, m.sts, m.stsTook, m.streams, m.staleness, m.verifying, m.limited)
	return m
}

func (m *Metrics) exchanged(p *problem.Problem, took time.Duration) {
	if m == nil {
		return
	}
	m.exchanges.WithLabelValues(code(p)).Inc()
	m.seconds.WithLabelValues(outcome(p)).Observe(took.Seconds())
}

// Roles is r, counted.
func (m *Metrics) Roles(r Roles) Roles {
	if m == nil {
		return r
	}
	return counted{r, m}
}

type counted struct {
	Roles
	metrics *Metrics
}

func (c counted) Assume(ctx context.Context, w podid.Workload, a podid.Association) (roles.Session, error) {
	start := time.Now()
	session, err := c.Roles.Assume(ctx, w, a)
	c.metrics.sts.WithLabelValues(code(problem.Of(err))).Inc()
	c.metrics.stsTook.Observe(time.Since(start).Seconds())
	return session, err
}

func (m *Metrics) streaming(change float64) {
	if m != nil {
		m.streams.Add(change)
	}
}

func (m *Metrics) aged(source string, age time.Duration) {
	if m != nil {
		m.staleness.WithLabelValues(source).Set(age.Seconds())
	}
}

func (m *Metrics) verify(change float64) {
	if m != nil {
		m.verifying.Add(change)
	}
}

func (m *Metrics) limit() {
	if m != nil {
		m.limited.Inc()
	}
}

// code is a label: the catalogue is a closed list.
func code(p *problem.Problem) string {
	switch {
	case p == nil:
		return ok
	case problem.Known(p.Code):
		return string(p.Code)
	}
	return string(problem.Internal)
}

// outcome of a decision: granted, refused, or failed if it may be another the next time.
func outcome(p *problem.Problem) string {
	switch {
	case p == nil:
		return "granted"
	case problem.Lookup(p.Code).Kind == problem.Refused:
		return "refused"
	}
	return "failed"
}
