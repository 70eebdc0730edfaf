package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid/test/upstream"
)

// world is the pods of a node and what becomes of them.
type world struct {
	auth    *upstream.Server
	agent   *agent
	weather *weather
	still   standstills
	next    atomic.Int64 // pod
	tally   tally
}

// run lets n workloads live until ctx ends.
func (w *world) run(ctx context.Context, n int) {
	var all sync.WaitGroup
	all.Go(func() { w.weather.run(ctx) })
	all.Go(func() {
		if err := w.still.feel(ctx); err != nil {
			w.tally.wrong("nobody felt whether the machine stood still: %v", err)
		}
	})
	all.Go(func() { w.agent.watch(ctx) })
	for i := range n {
		all.Go(func() {
			// Not all in one second: storms are another test's.
			w.weather.wait(ctx, w.weather.period/5*time.Duration(i)/time.Duration(n))
			for ctx.Err() == nil {
				w.live(ctx)
			}
		})
	}
	all.Wait()
}

// live is the life of one pod: it asks now and then, its token is replaced, and
// at last it ends.
func (w *world) live(ctx context.Context) {
	n := int(w.next.Add(1))
	token, err := w.auth.Run(n)
	if err != nil {
		w.tally.wrong("a token cannot be made: %v", err)
		return
	}
	p := &pod{n: n, client: client(n)}
	defer p.client.CloseIdleConnections()
	period := w.weather.period
	end := time.Now().Add(period/4 + rand.N(period))
	rotate := time.Now().Add(rand.N(period / 2))
	for time.Now().Before(end) {
		if !w.weather.wait(ctx, rand.N(4*time.Second)+time.Millisecond) {
			return
		}
		if time.Now().After(rotate) {
			if token, err = w.auth.Token(n, time.Hour); err != nil {
				w.tally.wrong("a token cannot be made: %v", err)
				return
			}
			rotate = rotate.Add(period / 2)
		}
		w.check(p, w.ask(p, token))
	}
	w.auth.End(n)
	// Within five seconds it must be refused, unless the news could not come.
	asked := time.Now()
	if !w.weather.wait(ctx, 5*time.Second) {
		return
	}
	if got := w.ask(p, token); got.status == http.StatusOK && !w.weather.excuses(asked) && !w.still.within(asked, time.Now()) {
		w.tally.wrong("pod %d is served five seconds after it ended", n)
	}
}

// pod is one of them.
type pod struct {
	n      int
	client *http.Client
	has    bool // credentials
}

// client asks from an address of its own, as pods do.
func client(n int) *http.Client {
	from := net.IPv4(127, byte(1+n>>16&0x7f), byte(n>>8), byte(n))
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: 5 * time.Second}
	return &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: n%2 == 0, IdleConnTimeout: 30 * time.Second},
	}
}

// reply is what came back.
type reply struct {
	asked  time.Time
	status int
	body   string
	err    error
}

func (w *world) ask(p *pod, token string) reply {
	r := reply{asked: time.Now()}
	request, err := http.NewRequest(http.MethodGet, "http://"+w.agent.address+"/v1/credentials", nil)
	if err != nil {
		r.err = err
		return r
	}
	request.Header.Set("Authorization", token)
	var connected, written time.Duration
	request = request.WithContext(httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { connected = time.Since(r.asked) },
		WroteRequest: func(httptrace.WroteRequestInfo) { written = time.Since(r.asked) },
	}))
	response, err := p.client.Do(request)
	if err != nil {
		r.err = fmt.Errorf("%w (connected after %s, written after %s, failed after %s)", err, connected, written, time.Since(r.asked))
		return r
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	r.status, r.body, r.err = response.StatusCode, string(text), err
	return r
}

// check holds an answer to what the design promises.
func (w *world) check(p *pod, r reply) {
	var got struct {
		Token, Expiration string
		Code              string
	}
	if r.err == nil {
		r.err = json.Unmarshal([]byte(r.body), &got)
	}
	end := time.Now()
	took, since := end.Sub(r.asked), r.asked
	if !p.has {
		since = since.Add(-aftermath)
	}
	switch {
	case (r.err != nil || r.status != http.StatusOK) && !w.weather.excuses(r.asked) && w.still.within(since, end):
		w.tally.setAside()
	case r.err != nil:
		w.tally.wrong("pod %d: %v", p.n, r.err)
	case r.status != http.StatusOK && p.has:
		w.tally.wrong("pod %d had credentials and got %d %.300s", p.n, r.status, r.body)
	case r.status != http.StatusOK && !w.weather.excuses(r.asked):
		w.tally.wrong("pod %d got %d %.300s", p.n, r.status, r.body)
	case r.status != http.StatusOK:
		w.tally.excused(got.Code + ", while podid-auth failed")
	case !strings.HasPrefix(got.Token, fmt.Sprint("cart-", p.n, "/")):
		w.tally.wrong("pod %d got what is %.20s's", p.n, got.Token)
	default:
		expires, err := time.Parse(time.RFC3339, got.Expiration)
		if err != nil || expires.Before(r.asked) {
			w.tally.wrong("pod %d got what expired at %s", p.n, got.Expiration)
			return
		}
		p.has = true
		w.tally.answered(took)
	}
}
