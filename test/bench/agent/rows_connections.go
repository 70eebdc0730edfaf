package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// connections: what strangers do with theirs, while a neighbour asks twenty times a second.
func connections(l *lab) (figures []figure, err error) {
	_, p, tokens, err := l.warmed(1)
	if err != nil {
		return nil, err
	}
	// crowd is more than the agent has room for, of one client (1,024) and in all (4,096);
	// own is what it has open beside: files, sockets, its connections to podid-auth and to the neighbour.
	const crowd, own, most = 10000, 50, 64 * mb
	before := p.neighbour(tokens[0], func() (string, bool) { time.Sleep(5 * time.Second); return "", true })
	for _, attack := range []struct {
		name string
		make func() (string, bool)
	}{
		{"10,000 idle connections of one client", func() (string, bool) { return p.idle(crowd, 1, 1024+own) }},
		{"10,000 idle connections of 50 clients", func() (string, bool) { return p.idle(crowd, 50, 4096+own) }},
		{"500 clients that send a byte in 100 ms", p.slow},
		{"headers of 1 MB", p.header},
	} {
		is := p.neighbour(tokens[0], attack.make)
		figures = append(figures, figure{attack.name + ": a neighbour's requests",
			fmt.Sprintf("%d of %d failed, p50 %s, the slowest %s (alone %s, %s); %s; memory %.0f MB at the most (before %.0f MB)", is.failed, len(is.answers), ms(percentile(is.answers, 0.5)), ms(percentile(is.answers, 1)),
				ms(percentile(before.answers, 0.5)), ms(percentile(before.answers, 1)), is.note, float64(is.memory)/mb, float64(before.memory)/mb),
			"0 failed, ≤ 64 MB", is.failed == 0 && is.held && is.memory <= most})
	}
	return figures, nil
}

// seen is what a neighbour had of an attack.
type seen struct {
	answers []answer
	failed  int
	memory  int64 // of the agent, at the most
	note    string
	held    bool // the bound that was tried
}

// neighbour asks from an address of its own, on a new connection each time, while something is done.
func (p *process) neighbour(token string, do func() (string, bool)) (is seen) {
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	asking.Go(func() {
		for ctx.Err() == nil {
			start := time.Now()
			status, err := askFrom("127.0.0.2", p.address, token)
			is.answers = append(is.answers, answer{status: status, took: time.Since(start)})
			if err != nil || status != http.StatusOK {
				is.failed++
			}
			is.memory = max(is.memory, p.rss())
			time.Sleep(50 * time.Millisecond)
		}
	})
	is.note, is.held = do()
	cancel()
	asking.Wait()
	return is
}

// dialFrom connects from one of the addresses of loopback, which are clients of their own.
func dialFrom(from, address string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 2 * time.Second}
	return dialer.Dial("tcp", address)
}

func askFrom(from, address, token string) (status int, err error) {
	conn, err := dialFrom(from, address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := conn.Write(request(address, token)); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// idle opens n connections from so many addresses, keeps them a while, and says how many
// the agent keeps: no more descriptors than these.
func (p *process) idle(n, clients, most int) (note string, held bool) {
	open := make([]net.Conn, 0, n)
	defer func() {
		for _, conn := range open {
			_ = conn.Close()
		}
	}()
	for i := range n {
		conn, err := dialFrom(fmt.Sprintf("127.0.1.%d", 1+i%clients), p.address)
		if err != nil {
			return fmt.Sprintf("%d opened, more could not be: %v", len(open), err), false
		}
		open = append(open, conn)
	}
	time.Sleep(time.Second)
	kept := p.descriptors()
	return fmt.Sprintf("%d opened, %d kept", len(open), kept), kept <= most
}

// slow sends a header that never ends.
func (p *process) slow() (note string, held bool) {
	const all = 500
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var clients sync.WaitGroup
	var cut atomic.Int64
	for range all {
		clients.Go(func() {
			conn, err := net.Dial("tcp", p.address)
			if err != nil {
				return
			}
			defer conn.Close()
			for text := "GET /v1/credentials HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 1000); len(text) > 0 && ctx.Err() == nil; text = text[1:] {
				if _, err := conn.Write([]byte(text[:1])); err != nil {
					cut.Add(1)
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	clients.Wait()
	return fmt.Sprintf("%d cut off", cut.Load()), cut.Load() == all
}

// header sends more than is read.
func (p *process) header() (note string, held bool) {
	const all = 50
	text := []byte("GET /v1/credentials HTTP/1.1\r\nHost: x\r\nAuthorization: " + strings.Repeat("a", 1<<20) + "\r\n\r\n")
	refused := 0
	for range all {
		conn, err := net.Dial("tcp", p.address)
		if err != nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
		go func() { _, _ = conn.Write(text) }() // the answer comes before all of it is sent
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && response.StatusCode == http.StatusRequestHeaderFieldsTooLarge {
			refused++
		}
		_ = conn.Close()
	}
	return fmt.Sprintf("%d of %d refused", refused, all), refused == all
}
