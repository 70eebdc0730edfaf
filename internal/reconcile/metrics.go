package reconcile

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics is what the leader counts. The zero value, and nil, count nothing.
type Metrics struct {
	leading prometheus.Gauge
	expiry  prometheus.Gauge
}

// NewMetrics registers the leader's metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		leading: prometheus.NewGauge(prometheus.GaugeOpts{Name: "podid_leading", Help: "1 if this replica leads, which one does."}),
		expiry: prometheus.NewGauge(prometheus.GaugeOpts{Name: "podid_authority_expiry_timestamp_seconds",
			Help: "When the certificate authority that issues expires; told by the leader alone."}),
	}
	registry.MustRegister(m.leading, m.expiry)
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
