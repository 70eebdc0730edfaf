package agent

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid/problem"
)

// metrics are written in Prometheus' text format by hand: its client library would be a
// quarter of the program and of its memory, on every node
// (https://prometheus.io/docs/instrumenting/exposition_formats/). The zero value is ready.
type metrics struct {
	hits, misses, refusals histogram // requests, by how they ended
	exchanges              histogram // calls to podid-auth
	refused                counters  // requests
	outcomes               counters  // calls to podid-auth that were waited for
	renewals               counters  // calls to podid-auth ahead of expiry
	streams                atomic.Uint64
}

// ok is the label of what went well, beside the problem codes.
const ok problem.Code = "ok"

// called counts a call to podid-auth.
func (m *metrics) called(err error, ahead bool, took time.Duration) {
	code := ok
	if err != nil {
		code = problem.Of(err).Code
	}
	if ahead {
		m.renewals.add(code)
	} else {
		m.outcomes.add(code)
	}
	m.exchanges.observe(took)
}

// counters count by problem code.
type counters struct {
	once   sync.Once
	byCode map[problem.Code]*atomic.Uint64 // not changed once made
}

func (c *counters) of(code problem.Code) *atomic.Uint64 {
	c.once.Do(func() {
		c.byCode = map[problem.Code]*atomic.Uint64{ok: {}}
		for _, code := range problem.Codes() {
			c.byCode[code] = new(atomic.Uint64)
		}
	})
	return c.byCode[code]
}

// add counts; codes are those of the catalogue, whatever came over a wire.
func (c *counters) add(code problem.Code) {
	if n := c.of(code); n != nil {
		n.Add(1)
	}
}

// buckets are upper bounds: a hit takes microseconds, a call to podid-auth up to the
// 900 ms that a request waits.
var buckets = []time.Duration{
	10 * time.Microsecond, 100 * time.Microsecond, time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, 900 * time.Millisecond, 2 * time.Second,
}

type histogram struct {
	counts [13]atomic.Uint64 // one for each bucket, and what is longer
	sum    atomic.Int64      // nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(buckets) && d > buckets[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// ServeMetrics answers a scrape.
func (s *Server) ServeMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	e := &exposition{w: w}
	m := &s.metrics
	e.head("podid_agent_request_seconds", "histogram", "How long requests of pods took, by how they ended.")
	e.histogram("podid_agent_request_seconds", `result="hit"`, &m.hits)
	e.histogram("podid_agent_request_seconds", `result="miss"`, &m.misses)
	e.histogram("podid_agent_request_seconds", `result="refused"`, &m.refusals)
	e.counters("podid_agent_refused_total", "Requests of pods that were refused, by problem code.", &m.refused)
	e.head("podid_agent_exchange_seconds", "histogram", "How long calls to podid-auth took.")
	e.histogram("podid_agent_exchange_seconds", "", &m.exchanges)
	e.counters("podid_agent_exchanges_total", "Calls to podid-auth that a pod waited for, by problem code or ok.", &m.outcomes)
	e.counters("podid_agent_renewals_total", "Calls to podid-auth ahead of expiry, by problem code or ok.", &m.renewals)

	is := s.census()
	e.gauge("podid_agent_pods", "Pods that are remembered.", float64(is.pods))
	e.gauge("podid_agent_tokens", "Verified tokens that are remembered.", float64(is.tokens))
	e.gauge("podid_agent_credentials", "Pods whose credentials are in the cache.", float64(is.credentials))
	e.gauge("podid_agent_credentials_oldest_seconds", "Age of the oldest credentials in the cache.", is.oldest.Seconds())
	e.gauge("podid_agent_credentials_first_expiry_seconds", "Time until the first credentials in the cache expire; 0: there are none.", is.first.Seconds())
	e.gauge("podid_agent_waiting", "Pods that wait for a call to podid-auth.", float64(is.waiting))
	e.gauge("podid_agent_calls", "Calls to podid-auth under way.", float64(is.running))
	e.gauge("podid_agent_outage", "1 while podid-auth, or what it needs, answers nobody.", one(is.outage))
	e.gauge("podid_agent_stream_up", "1 while podid-auth's stream is open.", one(s.news.open.Load()))
	e.gauge("podid_agent_stream_silence_seconds", "Time since podid-auth's stream last said anything; -1: it never did.", is.silence.Seconds())
	e.gauge("podid_agent_news_age_seconds", "How old the news of pods and associations are that podid-auth brought; -1: it never did.", is.news.Seconds())
	e.head("podid_agent_streams_total", "counter", "Streams of podid-auth that were opened.")
	e.sample("podid_agent_streams_total", "", float64(m.streams.Load()))
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// census is how much the cache holds.
type census struct {
	pods, tokens, credentials, waiting, running int
	oldest, first, silence, news                time.Duration
	outage                                      bool
}

func (s *Server) census() census {
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := s.now()
	is := census{
		pods: len(s.pods), tokens: len(s.tokens), waiting: len(s.misses), running: s.running,
		outage: s.outage(now), silence: -time.Second, news: -time.Second,
	}
	if said := s.news.said.Load(); said != 0 {
		is.silence, is.news = now.Sub(time.Unix(0, said)), now.Sub(s.lastNews())
	}
	for _, p := range s.pods {
		a := p.answer.Load()
		if a == nil || !now.Before(a.until()) {
			continue
		}
		is.oldest = max(is.oldest, now.Sub(a.received.time()))
		if left := a.expires.time().Sub(now); is.credentials == 0 || left < is.first {
			is.first = left
		}
		is.credentials++
	}
	return is
}

// exposition writes metrics. The scraper that has gone is told nothing.
type exposition struct{ w io.Writer }

func (e *exposition) head(name, kind, help string) {
	_, _ = fmt.Fprintf(e.w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (e *exposition) sample(name, labels string, value float64) {
	if labels != "" {
		labels = "{" + labels + "}"
	}
	_, _ = fmt.Fprintf(e.w, "%s%s %s\n", name, labels, strconv.FormatFloat(value, 'g', -1, 64))
}

func (e *exposition) gauge(name, help string, value float64) {
	e.head(name, "gauge", help)
	e.sample(name, "", value)
}

// counters writes those that ever counted.
func (e *exposition) counters(name, help string, c *counters) {
	e.head(name, "counter", help)
	for _, code := range append([]problem.Code{ok}, problem.Codes()...) {
		if n := c.of(code).Load(); n > 0 {
			e.sample(name, `code="`+string(code)+`"`, float64(n))
		}
	}
}

func (e *exposition) histogram(name, labels string, h *histogram) {
	comma := labels
	if comma != "" {
		comma += ","
	}
	var n uint64
	for i, bound := range buckets {
		n += h.counts[i].Load()
		e.sample(name+"_bucket", comma+`le="`+strconv.FormatFloat(bound.Seconds(), 'g', -1, 64)+`"`, float64(n))
	}
	n += h.counts[len(buckets)].Load()
	e.sample(name+"_bucket", comma+`le="+Inf"`, float64(n))
	e.sample(name+"_sum", labels, time.Duration(h.sum.Load()).Seconds())
	e.sample(name+"_count", labels, float64(n))
}
