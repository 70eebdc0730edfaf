package reconcile

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/openpodidentity/podid/problem"
)

// Metrics is what the leader counts. The zero value, and nil, count nothing.
type Metrics struct {
	leading prometheus.Gauge
	expiry  prometheus.Gauge
	events  *prometheus.CounterVec
}

// NewMetrics registers the leader's metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		leading: prometheus.NewGauge(prometheus.GaugeOpts{Name: "podid_leading", Help: "1 if this replica leads, which one does."}),
		expiry: prometheus.NewGauge(prometheus.GaugeOpts{Name: "podid_authority_expiry_timestamp_seconds",
			Help: "When the certificate authority that issues expires; told by the leader alone."}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "podid_events_total",
			Help: "Events made, by the code of their problem."}, []string{"code"}),
	}
	registry.MustRegister(m.leading, m.expiry, m.events)
	return m
}

func (m *Metrics) lead(yes bool) {
	if m == nil {
		return
	}
	if m.leading.Set(0); yes {
		m.leading.Set(1)
	}
}

func (m *Metrics) authority(until time.Time) {
	if m != nil {
		m.expiry.Set(float64(until.Unix()))
	}
}

func (m *Metrics) event(code problem.Code) {
	if m != nil {
		m.events.WithLabelValues(string(code)).Inc()
	}
}
