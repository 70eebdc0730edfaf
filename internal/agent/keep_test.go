package agent_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpodidentity/podid/internal/agent"
)

func TestATokenIsKeptAsItWas(t *testing.T) {
	part := base64.RawURLEncoding.EncodeToString([]byte("{}"))
	for _, raw := range []string{
		mint(t, workload(1)), "", "a", ".", "..", "a.b", "a.b.c", "a.YQ.YQ", "a.YR.YQ", "a.YQ.YR", "a..YQ", "a.YQ.", "a.YQ==.YQ", "a.YQ.YQ.YQ",
		part + "." + part + "." + part, part + "." + part + "\n." + part, "é." + part + ".",
	} {
		if got := agent.Repack(raw); got != raw {
			t.Errorf("%q became %q", raw, got)
		}
	}
}

func FuzzPackedToken(f *testing.F) {
	f.Add("a.YQ.YQ")
	f.Fuzz(func(t *testing.T, raw string) {
		if got := agent.Repack(raw); got != raw {
			t.Errorf("%q became %q", raw, got)
		}
	})
}

func TestMetricsTellWhatHappened(t *testing.T) {
	n := newNode(t)
	raw := mint(t, workload(1))
	for range 3 {
		n.ask(t, raw)
	}
	n.ask(t, raw+"A")
	n.answers(unavailable)
	n.ask(t, mint(t, workload(2)))
	wants(t, n, map[string]float64{
		`podid_agent_request_seconds_count{result="hit"}`:            2,
		`podid_agent_request_seconds_count{result="miss"}`:           1,
		`podid_agent_request_seconds_count{result="refused"}`:        2,
		`podid_agent_request_seconds_bucket{result="hit",le="+Inf"}`: 2,
		`podid_agent_refused_total{code="token-forged"}`:             1,
		`podid_agent_refused_total{code="auth-unavailable"}`:         1,
		`podid_agent_exchanges_total{code="ok"}`:                     1,
		`podid_agent_exchanges_total{code="auth-unavailable"}`:       1,
		`podid_agent_exchange_seconds_count`:                         2,
		`podid_agent_pods`:                                           2,
		`podid_agent_credentials`:                                    1,
		`podid_agent_stream_up`:                                      0,
		`podid_agent_stream_silence_seconds`:                         -1,
	})
	if left := scrape(t, n)["podid_agent_credentials_first_expiry_seconds"]; left < 3590 || left > 3600 {
		t.Errorf("the first expire in %v", left)
	}
}

func TestMetricsTellHowLongItTookAndWhatIsUnderWay(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		works := func(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
			time.Sleep(300 * time.Millisecond)
			return n.works(ctx, ask)
		}
		n.answers(works)
		n.ask(t, mint(t, workload(0)))
		wants(t, n, map[string]float64{
			`podid_agent_request_seconds_sum{result="miss"}`:              0.3,
			`podid_agent_request_seconds_bucket{result="miss",le="0.25"}`: 0,
			`podid_agent_request_seconds_bucket{result="miss",le="0.5"}`:  1,
			`podid_agent_exchange_seconds_sum`:                            0.3,
			`podid_agent_exchange_seconds_bucket{le="0.25"}`:              0,
			`podid_agent_exchange_seconds_bucket{le="0.5"}`:               1,
			`podid_agent_credentials_oldest_seconds`:                      0,
			`podid_agent_credentials_first_expiry_seconds`:                3600,
		})
		pause(time.Minute)
		wants(t, n, map[string]float64{
			`podid_agent_credentials_oldest_seconds`:       60,
			`podid_agent_credentials_first_expiry_seconds`: 3540,
		})
		var group sync.WaitGroup
		for i := range 11 {
			raw := mint(t, workload(1+i))
			group.Go(func() { n.ask(t, raw) })
		}
		synctest.Wait()
		wants(t, n, map[string]float64{`podid_agent_calls`: 8, `podid_agent_waiting`: 3, `podid_agent_pods`: 12, `podid_agent_tokens`: 12, `podid_agent_credentials`: 1})
		group.Wait()
		wants(t, n, map[string]float64{`podid_agent_calls`: 0, `podid_agent_waiting`: 0, `podid_agent_credentials`: 12, `podid_agent_outage`: 0})
		n.answers(unavailable)
		for i := range 5 {
			n.ask(t, mint(t, workload(20+i)))
		}
		wants(t, n, map[string]float64{`podid_agent_outage`: 1})
		n.answers(works)
		pause(10 * time.Second)
		wants(t, n, map[string]float64{`podid_agent_outage`: 0})
	})
}

// scrape is what Prometheus reads.
func scrape(t *testing.T, n *node) map[string]float64 {
	t.Helper()
	w := httptest.NewRecorder()
	n.ServeMetrics(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if kind := w.Header().Get("Content-Type"); kind != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("content type %s", kind)
	}
	return samples(t, w.Body.String())
}

func wants(t *testing.T, n *node, want map[string]float64) {
	t.Helper()
	got := scrape(t, n)
	for name, want := range want {
		if is, there := got[name]; !there || is != want {
			t.Errorf("%s is %v, not %v", name, is, want)
		}
	}
}

// samples parses the text format, and holds it to its rules: a family in one piece
// under its HELP and TYPE, no sample twice, buckets that grow.
func samples(t *testing.T, text string) map[string]float64 {
	t.Helper()
	line := regexp.MustCompile(`^([a-z_]+)(\{[a-z]+="[^"\\]*"(?:,[a-z]+="[^"\\]*")*\})? (-?[0-9.e+-]+)$`)
	got, families := map[string]float64{}, map[string]bool{}
	family, last := "", 0.0
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if words[0] == "#" {
			if words[1] == "HELP" && families[words[2]] {
				t.Errorf("%s comes twice", words[2])
			}
			family = words[2]
			families[family] = true
			continue
		}
		m := line.FindStringSubmatch(lines.Text())
		if m == nil || !strings.HasPrefix(m[1], family) {
			t.Errorf("not a sample of %s: %s", family, lines.Text())
			continue
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if _, twice := got[m[1]+m[2]]; err != nil || twice {
			t.Errorf("%v, or twice: %s", err, lines.Text())
		}
		got[m[1]+m[2]] = value
		if strings.HasSuffix(m[1], "_bucket") {
			if value < last {
				t.Errorf("buckets shrink: %s", lines.Text())
			}
			last = value
		} else {
			last = 0
		}
	}
	return got
}
