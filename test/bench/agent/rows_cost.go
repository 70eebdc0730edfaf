package main

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/openpodidentity/podid/test/upstream"
)

const mb = 1e6

// memory: idle, and for each pod.
func memory(l *lab) ([]figure, error) {
	u, err := l.upstream()
	if err != nil {
		return nil, err
	}
	p, err := l.agent(u)
	if err != nil {
		return nil, err
	}
	const settle = 8 * time.Second // memory is given back when pods have been quiet
	time.Sleep(settle)
	idle, idleHeap := p.rss(), p.sample("podid_agent_heap_live_bytes")
	const n = 3000
	tokens, err := pods(u, n)
	if err != nil {
		return nil, err
	}
	if err := p.warm(tokens); err != nil {
		return nil, err
	}
	time.Sleep(settle)
	each, heap := float64(p.rss()-idle)/n, (p.sample("podid_agent_heap_live_bytes")-idleHeap)/n
	return []figure{
		{"memory, idle", fmt.Sprintf("%.1f MB", float64(idle)/mb), "≤ 12 MB", idle <= 12*mb},
		{fmt.Sprintf("memory of a workload (a token of %d bytes)", len(tokens[0])), fmt.Sprintf("%.1f KB in use", heap/1e3), "≤ 3 KB", heap > 0 && heap <= 3000},
		{fmt.Sprintf("the same, resident, after %d came at once", n), fmt.Sprintf("%.1f KB", each/1e3), "", true},
	}, nil
}

// program: its size, and how long it takes to start.
func program(l *lab) ([]figure, error) {
	info, err := os.Stat(l.program)
	if err != nil {
		return nil, err
	}
	u, err := l.upstream()
	if err != nil {
		return nil, err
	}
	bare, err := l.starts(func() (*process, error) { return l.bare([]byte("{}"), 0) })
	if err != nil {
		return nil, err
	}
	alive, err := l.starts(func() (*process, error) {
		p := &process{address: free("127.0.0.1"), probes: free("127.0.0.1")}
		err := l.start(p, newCommand(l.program, []string{"--auth", u.URL, "--ca-file", u.CAFile, "--token-file", u.TokenFile,
			"--listen", p.address, "--probes", p.probes, "--metrics", "", "--handover", "", "--holder", ""}))
		if err != nil {
			return nil, err
		}
		return p, p.until("/healthz")
	})
	if err != nil {
		return nil, err
	}
	return []figure{
		{"program, stripped", fmt.Sprintf("%.1f MB", float64(info.Size())/mb), "≤ 12 MB", info.Size() <= 12*mb},
		{"start, until it answers", ms(alive) + ", bare handler " + ms(bare), "≤ 26 ms", alive <= 26*time.Millisecond},
	}, nil
}

// starts is the median of eleven.
func (l *lab) starts(start func() (*process, error)) (time.Duration, error) {
	var took []time.Duration
	for range 11 {
		begin := time.Now()
		p, err := start()
		if err != nil {
			return 0, err
		}
		took = append(took, time.Since(begin))
		if err := p.end(syscall.SIGKILL); err != nil {
			return 0, err
		}
	}
	return median(took), nil
}

// logging: what a hit writes.
func logging(l *lab) ([]figure, error) {
	_, p, tokens, err := l.warmed(20)
	if err != nil {
		return nil, err
	}
	before := p.logged()
	c, err := dial(p.address, tokens, 4)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if _, err := c.drive(1000); err != nil {
		return nil, err
	}
	return []figure{{"bytes logged for 1,000 hits", fmt.Sprint(p.logged() - before), "0", p.logged() == before}}, nil
}

// shutdown: a request in flight and an idle connection.
func shutdown(l *lab) ([]figure, error) {
	u, err := l.upstream()
	if err != nil {
		return nil, err
	}
	p, err := l.agent(u)
	if err != nil {
		return nil, err
	}
	token, err := u.Run(0)
	if err != nil {
		return nil, err
	}
	u.Fail(upstream.Slow(600 * time.Millisecond))
	idle, err := net.Dial("tcp", p.address)
	if err != nil {
		return nil, err
	}
	defer idle.Close()
	got := make(chan int, 1)
	go func() {
		a, _ := p.credentials(token)
		got <- a.status
	}()
	time.Sleep(100 * time.Millisecond)
	start := time.Now()
	if err := p.end(syscall.SIGTERM); err != nil {
		return nil, err
	}
	took, status := time.Since(start), <-got
	return []figure{{"shutdown: a request in flight, an idle connection", fmt.Sprintf("%s, answered %d", ms(took), status), "< 5 s, 200", took < 5*time.Second && status == 200}}, nil
}
