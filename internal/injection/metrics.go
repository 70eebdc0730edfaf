package injection

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/openpodidentity/podid/problem"
)

// Metrics is what a Webhook counts; nil counts nothing.
type Metrics struct {
	admissions *prometheus.CounterVec
	seconds    prometheus.Histogram
}

// NewMetrics registers the metrics of admission.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		admissions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podid_admissions_total",
			Help: "Pods that the API server asked about, by outcome, and by the reason, or the code of the problem, if there is one.",
		}, []string{"outcome", "reason"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "podid_admission_seconds",
			Help:    "How long answers took.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2},
		}),
	}
	registry.MustRegister(m.admissions, m.seconds)
	return m
}

func (m *Metrics) count(a answer, took time.Duration) {
	if m == nil {
		return
	}
	reason := string(a.result.Reason)
	if a.err != nil {
		reason = cmp.Or(reason, string(problem.Of(a.err).Code))
	}
	m.admissions.WithLabelValues(a.outcome, reason).Inc()
	m.seconds.Observe(took.Seconds())
}

func (m *Metrics) unanswered() {
	if m != nil {
		m.admissions.WithLabelValues("unanswered", string(problem.RequestInvalid)).Inc()
	}
}
