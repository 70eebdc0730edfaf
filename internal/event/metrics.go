package event

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/openpodidentity/podid/problem"
)

// Metrics is what is counted of Events; nil counts nothing.
type Metrics struct {
	events  *prometheus.CounterVec
	dropped prometheus.Counter
}

// NewMetrics registers the metrics of Events.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "podid_events_total",
			Help: "Events made, by the code of their problem."}, []string{"code"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "podid_events_dropped_total",
			Help: "Events of refused pods that were not made: too many waited, or the API server did not take them."}),
	}
	registry.MustRegister(m.events, m.dropped)
	return m
}

func (m *Metrics) made(code problem.Code) {
	if m != nil {
		m.events.WithLabelValues(string(code)).Inc()
	}
}

func (m *Metrics) drop() {
	if m != nil {
		m.dropped.Inc()
	}
}
