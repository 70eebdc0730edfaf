package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/openpodidentity/podid/test/upstream"
)

// pods starts n pods and returns their tokens; warm has each of them ask.
func pods(u *upstream.Server, n int) ([]string, error) {
	tokens := make([]string, n)
	for i := range tokens {
		var err error
		if tokens[i], err = u.Run(i); err != nil {
			return nil, err
		}
	}
	return tokens, nil
}

func (p *process) warm(tokens []string) error {
	for _, token := range tokens {
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			a, err := p.credentials(token)
			if a.status == http.StatusOK {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%d %s %w", a.status, a.body, err)
			}
		}
	}
	return nil
}

// warmed is an agent that has the credentials of n pods.
func (l *lab) warmed(n int, flags ...string) (*upstream.Server, *process, []string, error) {
	u, err := l.upstream()
	if err != nil {
		return nil, nil, nil, err
	}
	tokens, err := pods(u, n)
	if err != nil {
		return nil, nil, nil, err
	}
	p, err := l.agent(u, flags...)
	if err != nil {
		return nil, nil, nil, err
	}
	return u, p, tokens, p.warm(tokens)
}

// hit: a cached answer, 32 connections, 128 pods, against a bare handler.
func hit(l *lab) ([]figure, error) {
	_, agent, tokens, err := l.warmed(128)
	if err != nil {
		return nil, err
	}
	a, err := agent.credentials(tokens[0])
	if err != nil {
		return nil, err
	}
	bare, err := l.bare([]byte(a.body), 0)
	if err != nil {
		return nil, err
	}
	type side struct {
		*process
		*load
		cpu, took time.Duration
	}
	sides := []*side{{process: bare}, {process: agent}}
	for _, s := range sides {
		if s.load, err = dial(s.process.address, tokens, 32); err != nil {
			return nil, err
		}
		defer s.load.close()
		if _, err := s.drive(6400); err != nil { // warm
			return nil, err
		}
	}
	const turns, n = 6, 16000
	for range turns {
		for _, s := range sides {
			before := s.process.cpu()
			took, err := s.drive(n)
			if err != nil {
				return nil, err
			}
			s.cpu += s.process.cpu() - before
			s.took += took
		}
	}
	per := func(s *side) time.Duration { return s.cpu / (turns * n) }
	rate := func(s *side) float64 { return turns * n / s.took.Seconds() }
	ratio := float64(sides[1].cpu) / float64(sides[0].cpu)
	return []figure{
		{"cached hit, 32 connections: server CPU", fmt.Sprintf("%.1f µs, bare handler %.1f µs: %.2f ×", us(per(sides[1])), us(per(sides[0])), ratio), "≤ 1.25 ×", ratio <= 1.25},
		{"cached hit, 32 connections: rate", fmt.Sprintf("%.0f/s, bare handler %.0f/s", rate(sides[1]), rate(sides[0])), "no cap", true},
	}, nil
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func ms(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// first: 500 requests of one pod at once, when nothing is cached.
func first(l *lab) (figures []figure, err error) {
	const n, delay = 500, 50 * time.Millisecond
	u, err := l.upstream()
	if err != nil {
		return nil, err
	}
	p, err := l.agent(u)
	if err != nil {
		return nil, err
	}
	u.Fail(upstream.Slow(delay))
	if err := p.recovered(u, 1000); err != nil { // the connections are there
		return nil, err
	}
	bare, err := l.bare([]byte(`{"Token":"`+strings.Repeat("a", 1200)+`"}`), delay) // about as long as an answer
	if err != nil {
		return nil, err
	}
	const turns = 7
	var own, took, reference, late []time.Duration
	answered, most := 0, int64(0)
	for i := range turns {
		token, err := u.Run(i)
		if err != nil {
			return nil, err
		}
		// What the one call took: podid-auth waits for a processor, too, while 500 clients have them.
		before := p.sample("podid_agent_exchange_seconds_sum")
		answers, err := p.together(n, func(int) string { return token })
		if err != nil {
			return nil, err
		}
		call := time.Duration((p.sample("podid_agent_exchange_seconds_sum") - before) * float64(time.Second))
		answered, most = answered+with(answers, 200), max(most, u.CallsOf(i))
		own, late, took = append(own, percentile(answers, 0.5)-call), append(late, percentile(answers, 0.99)-call), append(took, call)
		if answers, err = bare.together(n, func(int) string { return token }); err != nil {
			return nil, err
		}
		reference = append(reference, percentile(answers, 0.5)-delay)
	}
	figures = append(figures,
		figure{"500 first requests of a pod at once: calls", fmt.Sprintf("%d, answered %d of %d", most, answered, turns*n), "1", most == 1 && answered == turns*n},
		figure{"the same: p50 beyond the call of podid-auth", fmt.Sprintf("%s, p99 %s, call %s; bare handler beyond its %s %s (medians of %d)", ms(median(own)), ms(median(late)), ms(median(took)), delay, ms(median(reference)), turns),
			"≤ 15 ms", median(own) <= 15*time.Millisecond})
	bad, calls := "", int64(0)
	for i, f := range upstream.Faults() {
		if f.Name != "429" && f.Name != "500" && f.Name != "503" && f.Name != "hangs" && f.Name != "reset" {
			continue
		}
		u.Fail(nil)
		if err := p.until("/readyz"); err != nil {
			return nil, err
		}
		if err := p.recovered(u, 900+i); err != nil { // no outage is known before
			return nil, err
		}
		u.Fail(f)
		token, err := u.Run(100 + i)
		if err != nil {
			return nil, err
		}
		answers, err := p.together(n, func(int) string { return token })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		calls = max(calls, u.CallsOf(100+i))
		if c := u.CallsOf(100 + i); c != 1 {
			bad += fmt.Sprintf(" %s: %d", f.Name, c)
		}
		if with(answers, 200) > 0 {
			bad += " " + f.Name + " was answered"
		}
	}
	return append(figures, figure{"the same when podid-auth fails (429, 500, 503, hang, reset): calls", fmt.Sprint(calls, bad), "1", bad == ""}), nil
}

// recovered has a pod ask until it is answered.
func (p *process) recovered(u *upstream.Server, n int) error {
	token, err := u.Run(n)
	if err != nil {
		return err
	}
	return p.warm([]string{token})
}

// hangup: the first client goes away before its answer comes.
func hangup(l *lab) ([]figure, error) {
	u, err := l.upstream()
	if err != nil {
		return nil, err
	}
	p, err := l.agent(u)
	if err != nil {
		return nil, err
	}
	u.Fail(upstream.Slow(300 * time.Millisecond))
	token, err := u.Run(0)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", p.address)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(request(p.address, token)); err != nil {
		return nil, err
	}
	time.Sleep(50 * time.Millisecond)
	_ = conn.Close()
	answers, err := p.together(10, func(int) string { return token })
	if err != nil {
		return nil, err
	}
	return []figure{{"first client hangs up: the others", fmt.Sprintf("%d of 10 answered, %d call", with(answers, 200), u.CallsOf(0)), "10, 1 call", with(answers, 200) == 10 && u.CallsOf(0) == 1}}, nil
}

// flood: one pod asks as fast as it can, another ten times a second.
func flood(l *lab) ([]figure, error) {
	_, p, tokens, err := l.warmed(2)
	if err != nil {
		return nil, err
	}
	const n, every = 120, 50 * time.Millisecond
	neighbour := func() (answers []answer, failed int) {
		kept := &http.Client{Timeout: 2 * time.Second}
		for range n {
			a, err := ask(kept, "http://"+p.address+"/v1/credentials", tokens[1])
			if err != nil || a.status != http.StatusOK {
				failed++
			}
			answers = append(answers, a)
			time.Sleep(every)
		}
		return answers, failed
	}
	quiet, failed := neighbour()
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	var mu sync.Mutex
	asked, refused := 0, 0
	for range 32 {
		clients.Go(func() {
			kept := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
			defer kept.CloseIdleConnections()
			for ctx.Err() == nil {
				a, _ := ask(kept, "http://"+p.address+"/v1/credentials", tokens[0])
				mu.Lock()
				asked++
				if a.status == http.StatusTooManyRequests {
					refused++
				}
				mu.Unlock()
			}
		})
	}
	time.Sleep(time.Second) // what a pod may ask at once is used up
	flooded, failedToo := neighbour()
	cancel()
	clients.Wait()
	was, is := percentile(quiet, 0.99), percentile(flooded, 0.99)
	return []figure{
		{"one pod floods (32 connections): its neighbour's requests", fmt.Sprintf("%.0f %% answered", 100*float64(n-failedToo)/n), "100 %", failed+failedToo == 0},
		{"the same: the neighbour's p99", fmt.Sprintf("%s, unflooded %s; p50 %s, unflooded %s", ms(is), ms(was), ms(percentile(flooded, 0.5)), ms(percentile(quiet, 0.5))), "≤ 2 ×", is <= 2*was},
		{"the same: the flood", fmt.Sprintf("%d asked, %d refused", asked, refused), "", true},
	}, nil
}

// storm: all pods of a node start at once.
func storm(l *lab) ([]figure, error) {
	const n = 110
	u, err := l.upstream()
	if err != nil {
		return nil, err
	}
	p, err := l.agent(u)
	if err != nil {
		return nil, err
	}
	tokens, err := pods(u, n)
	if err != nil {
		return nil, err
	}
	u.Fail(upstream.Slow(50 * time.Millisecond))
	answers, err := p.together(n, func(i int) string { return tokens[i] })
	if err != nil {
		return nil, err
	}
	return []figure{{"110 pods start at once, podid-auth takes 50 ms", fmt.Sprintf("%d answered, the last after %s, %d calls", with(answers, 200), ms(percentile(answers, 1)), u.Calls.Load()),
		"110, 110 calls", with(answers, 200) == n && u.Calls.Load() == n}}, nil
}

// families: one cache for both.
func families(l *lab) ([]figure, error) {
	six := free("::1")
	if six == "" {
		return []figure{{"IPv4 and IPv6: calls of a pod that asks at both", "SKIP: this machine has no IPv6", "1", true}}, nil
	}
	u, err := l.upstream()
	if err != nil {
		return nil, err
	}
	four := free("127.0.0.1")
	p, err := l.agent(u, "--listen", four+","+six)
	if err != nil {
		return nil, err
	}
	token, err := u.Run(0)
	if err != nil {
		return nil, err
	}
	one, err := ask(client, "http://"+four+"/v1/credentials", token)
	if err != nil {
		return nil, err
	}
	two, err := ask(client, "http://"+six+"/v1/credentials", token)
	same := one.status == 200 && one.body == two.body && u.Calls.Load() == 1
	_ = p
	return []figure{{"IPv4 and IPv6: calls of a pod that asks at both", fmt.Sprint(u.Calls.Load()), "1", same}}, err
}

// rollout: agents replace one another under pods that ask.
func rollout(l *lab) ([]figure, error) {
	name := fmt.Sprintf("@podid-bench-%d", time.Now().UnixNano())
	u, p, tokens, err := l.warmed(40, "--handover", name)
	if err != nil {
		return nil, err
	}
	calls := u.Calls.Load()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var clients sync.WaitGroup
	var mu sync.Mutex
	asked, failed := 0, 0
	for i := range 8 {
		clients.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				a, err := ask(client, "http://"+p.address+"/v1/credentials", tokens[n%len(tokens)])
				mu.Lock()
				asked++
				if err != nil || a.status != http.StatusOK {
					failed++
				}
				mu.Unlock()
			}
		})
	}
	const rollouts = 3
	old := p
	for range rollouts {
		time.Sleep(500 * time.Millisecond)
		next := &process{address: p.address, probes: p.probes, metrics: p.metrics}
		arguments := append([]string{}, p.Args[1:]...)
		if err := l.start(next, newCommand(l.program, arguments)); err != nil {
			return nil, err
		}
		time.Sleep(time.Second) // as the readiness probe's initialDelaySeconds, and shorter
		if err := next.until("/readyz"); err != nil {
			return nil, err
		}
		if err := old.end(syscall.SIGTERM); err != nil {
			return nil, err
		}
		old = next
	}
	time.Sleep(200 * time.Millisecond)
	cancel()
	clients.Wait()
	return []figure{
		{fmt.Sprintf("%d rollouts, a new connection for each request", rollouts), fmt.Sprintf("%d of %d requests failed", failed, asked), "0", failed == 0},
		{"the same: calls of podid-auth", fmt.Sprint(u.Calls.Load() - calls), "0", u.Calls.Load() == calls},
	}, nil
}
