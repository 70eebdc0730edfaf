package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openpodidentity/podid/test/upstream"
)

func newCommand(program string, arguments []string) *exec.Cmd {
	return exec.Command(program, arguments...)
}

// faults: what a pod is told for each way to fail, and when.
func faults(l *lab) (figures []figure, err error) {
	u, err := l.upstream()
	if err != nil {
		return nil, err
	}
	p, err := l.agent(u)
	if err != nil {
		return nil, err
	}
	slowest, slowestIs := time.Duration(0), ""
	again, odd, recovery := int64(0), []string{}, time.Duration(0)
	handshakes, err := u.Handshakes()
	if err != nil {
		return nil, err
	}
	all := append(append(upstream.Faults(), upstream.Ahead(-2*time.Hour)), handshakes...)
	for i, f := range all {
		if err := p.recovered(u, 1000+i); err != nil {
			return nil, fmt.Errorf("before %q: %w", f.Name, err)
		}
		u.Fail(f)
		token, err := u.Run(i)
		if err != nil {
			return nil, err
		}
		a, err := p.credentials(token)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		if a.took > slowest {
			slowest, slowestIs = a.took, f.Name
		}
		calls := u.CallsOf(i)
		for range 3 {
			if _, err := p.credentials(token); err != nil {
				return nil, err
			}
		}
		again = max(again, u.CallsOf(i)-calls)
		var told struct{ Code, Message string }
		switch {
		case json.Unmarshal([]byte(a.body), &told) != nil || told.Code == "" || !strings.Contains(told.Message, "Fix: "):
			odd = append(odd, f.Name+": no reason")
		case a.status == http.StatusOK || a.status < 400:
			odd = append(odd, f.Name+" was answered")
		case (a.status == 503 || a.status == 429) && a.header.Get("Retry-After") == "":
			odd = append(odd, f.Name+": no Retry-After")
		case a.header.Get("Content-Type") != "application/json":
			odd = append(odd, f.Name+": "+a.header.Get("Content-Type"))
		}
		u.Fail(nil)
		start := time.Now()
		if err := p.warm([]string{token}); err != nil {
			return nil, fmt.Errorf("after %q: %w", f.Name, err)
		}
		recovery = max(recovery, time.Since(start))
	}
	// A clock that is ahead gives credentials that seem to live longer, which is no failure.
	u.Fail(upstream.Ahead(2 * time.Hour))
	ahead := p.recovered(u, 2000)
	u.Fail(nil)
	return []figure{
		{fmt.Sprintf("%d ways to fail: slowest answer", len(all)), ms(slowest) + " (" + slowestIs + ")", "≤ 900 ms", slowest <= 900*time.Millisecond},
		{"the same: code, why, fix, Retry-After", fmt.Sprintf("%d lack any %s", len(odd), strings.Join(odd, "; ")), "0", len(odd) == 0},
		{"the same: further calls at once", fmt.Sprint(again), "0", again == 0},
		{"the same: until the pod has its credentials afterwards", ms(recovery), "≤ 3.2 s", recovery <= 3200*time.Millisecond},
		{"podid-auth's clock is two hours ahead", fmt.Sprint(ahead == nil), "answered", ahead == nil},
	}, nil
}

// renewals: 200 pods whose credentials are due.
func renewals(l *lab) ([]figure, error) {
	const n, life = 200, 24 * time.Second
	u, err := l.upstream()
	if err != nil {
		return nil, err
	}
	u.Life = life
	tokens, err := pods(u, n)
	if err != nil {
		return nil, err
	}
	p, err := l.agent(u)
	if err != nil {
		return nil, err
	}
	if err := p.warm(tokens); err != nil {
		return nil, err
	}
	lost := 0
	for start := time.Now(); time.Since(start) < life; time.Sleep(200 * time.Millisecond) {
		for _, token := range tokens {
			if a, err := p.credentials(token); err != nil || a.status != http.StatusOK {
				lost++
			}
		}
	}
	// From the first call of each, since they were not all made at once.
	var ages []time.Duration
	for i := range tokens {
		if calls := u.CallTimes(i); len(calls) > 1 {
			ages = append(ages, calls[1].Sub(calls[0]))
		}
	}
	if len(ages) == 0 {
		return nil, errors.New("nothing was renewed")
	}
	first, last := slices.Min(ages), slices.Max(ages)
	return []figure{
		{"200 renewals", fmt.Sprintf("%d renewed, %d requests without", len(ages), lost), "200, 0", len(ages) == n && lost == 0},
		{"the same: life left, at the least", fmt.Sprintf("%.0f %%", 100*(life-last).Seconds()/life.Seconds()), "≥ 33 %", life-last >= life/3},
		{"the same: spread over", fmt.Sprintf("%.1f s of %s", (last - first).Seconds(), life), "an eighth", last-first > life/10 && last-first < life/6},
	}, nil
}

// outage: podid-auth is away, the stream too.
func outage(l *lab) ([]figure, error) {
	const life = 12 * time.Second
	u, p, tokens, err := l.warmedWith(life, 20)
	if err != nil {
		return nil, err
	}
	a, err := p.credentials(tokens[0])
	if err != nil {
		return nil, err
	}
	var got struct{ Expiration string }
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		return nil, err
	}
	expires, err := time.Parse(time.RFC3339, got.Expiration)
	if err != nil {
		return nil, err
	}
	away := upstream.Faults()[6] // 503
	away.Stream = true
	u.Fail(away)
	u.Break()
	unready, metric := "", 0.0
	var end time.Time
	for end.IsZero() {
		a, err := p.credentials(tokens[0])
		switch {
		case err != nil || a.status != http.StatusOK:
			end = time.Now()
		case time.Until(expires) < 2*time.Second && unready == "":
			_, unready, _ = get("http://"+p.probes+"/readyz", "")
			metric = p.sample("podid_agent_outage")
		}
		if time.Since(expires) > 5*time.Second {
			return nil, fmt.Errorf("credentials are served after they expired")
		}
		time.Sleep(20 * time.Millisecond)
	}
	u.Fail(nil)
	start := time.Now()
	var wait sync.WaitGroup
	slowest := time.Duration(0)
	wait.Go(func() { err = p.warm(tokens); slowest = time.Since(start) })
	wait.Wait()
	if err != nil {
		return nil, err
	}
	left := expires.Sub(end)
	return []figure{
		{"podid-auth is away: served until", fmt.Sprintf("%.1f s before they expire", left.Seconds()), "0 to 1.5 s", left <= 1500*time.Millisecond && left >= 0},
		{"the same: readiness and metrics say so", fmt.Sprintf("%.60s…, podid_agent_outage %.0f", unready, metric), "", strings.HasPrefix(unready, "auth-unavailable: ") && strings.Contains(unready, "Fix: ") && metric == 1},
		{"the same: 20 pods have theirs again after", ms(slowest), "≤ 1 s", slowest <= time.Second},
	}, nil
}

func (l *lab) warmedWith(life time.Duration, n int) (*upstream.Server, *process, []string, error) {
	u, err := l.upstream()
	if err != nil {
		return nil, nil, nil, err
	}
	u.Life = life
	tokens, err := pods(u, n)
	if err != nil {
		return nil, nil, nil, err
	}
	p, err := l.agent(u)
	if err != nil {
		return nil, nil, nil, err
	}
	return u, p, tokens, p.warm(tokens)
}

// change: how long until a change shows at the agent.
func change(l *lab) ([]figure, error) {
	u, p, tokens, err := l.warmed(3)
	if err != nil {
		return nil, err
	}
	was, err := p.credentials(tokens[0])
	if err != nil {
		return nil, err
	}
	until := func(token string, done func(answer) bool) (time.Duration, error) {
		for start := time.Now(); ; time.Sleep(time.Millisecond) {
			a, err := p.credentials(token)
			if err != nil {
				return 0, err
			}
			if done(a) {
				return time.Since(start), nil
			}
			if time.Since(start) > 10*time.Second {
				return 0, fmt.Errorf("not within ten seconds: %d %s", a.status, a.body)
			}
		}
	}
	u.Change(0, false)
	changed, err := until(tokens[0], func(a answer) bool { return a.status == 200 && a.body != was.body })
	if err != nil {
		return nil, err
	}
	u.Change(1, true)
	deleted, err := until(tokens[1], func(a answer) bool { return a.status == 403 })
	if err != nil {
		return nil, err
	}
	u.End(2)
	ended, err := until(tokens[2], func(a answer) bool { return a.status == 403 })
	if err != nil {
		return nil, err
	}
	return []figure{
		{"association changed: new credentials after", ms(changed), "≤ 5 s", changed <= 5*time.Second},
		{"association deleted, pod ended: refused after", ms(deleted) + ", " + ms(ended), "≤ 5 s", max(deleted, ended) <= 5*time.Second},
	}, nil
}
