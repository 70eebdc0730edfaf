package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/test/upstream"
)

// woken: how long after podid-auth's answer came the last of 500 requests that waited for it has it, in this process: the handler
// alone, without HTTP. The reference waits for a channel to be closed, and writes as much.
func woken(*lab) ([]figure, error) {
	const n, turns = 500, 21
	issuer, err := token.NewIssuer(upstream.Issuer)
	if err != nil {
		return nil, err
	}
	var calls, answered int
	var release chan struct{}
	var came time.Time
	server := &agent.Server{
		Tokens: &token.Verifier{Issuer: upstream.Issuer, Audience: podid.AudiencePods, Keys: issuer.Keys},
		Exchange: exchange(func(ask agent.Ask) agent.Reply {
			calls++
			<-release
			came = time.Now()
			return agent.Reply{Association: ask.Association, Credentials: podid.Credentials{
				AccessKeyID: "ASIAEXAMPLE000000001", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", SessionToken: strings.Repeat("a", 900),
				Expires: came.Add(time.Hour), Account: "111122223333",
			}}
		}),
	}
	defer server.Close()
	var last, bare []time.Duration
	body := make([]byte, 1200)
	for i := range turns {
		raw, err := issuer.Mint(upstream.Workload(i), podid.AudiencePods, time.Now(), time.Hour)
		if err != nil {
			return nil, err
		}
		r, err := http.NewRequest(http.MethodGet, "http://"+agent.Addresses[0]+agent.Path, nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", raw)
		release = make(chan struct{})
		end, full := awake(n, func(w http.ResponseWriter) { server.ServeHTTP(w, r) }, func() { close(release) })
		last, answered = append(last, end.Sub(came)), answered+full
		reference := make(chan struct{})
		var closed time.Time
		end, _ = awake(n, func(w http.ResponseWriter) {
			<-reference
			_, _ = w.Write(body)
		}, func() { closed = time.Now(); close(reference) })
		bare = append(bare, end.Sub(closed))
	}
	return []figure{{"500 that wait for one answer, in process: the last is woken after", fmt.Sprintf("%s, %s at the most; of a bare channel %s (medians of %d)", ms(median(last)), ms(slices.Max(last)), ms(median(bare)), turns),
		"≤ 1 ms", median(last) <= time.Millisecond && calls == turns && answered == n*turns}}, nil
}

// awake has n do something that waits until release, and says when the last wrote, and how many wrote an answer.
func awake(n int, do func(http.ResponseWriter), release func()) (last time.Time, full int) {
	writers := make([]written, n)
	var all sync.WaitGroup
	for i := range writers {
		writers[i].header = http.Header{}
		all.Go(func() { do(&writers[i]) })
	}
	time.Sleep(50 * time.Millisecond) // until all wait
	release()
	all.Wait()
	for _, w := range writers {
		if w.at.After(last) {
			last = w.at
		}
		if w.bytes > 900 {
			full++
		}
	}
	return last, full
}

type exchange func(agent.Ask) agent.Reply

func (f exchange) Exchange(_ context.Context, ask agent.Ask) (agent.Reply, error) { return f(ask), nil }

// written is a ResponseWriter that notes when it was written to.
type written struct {
	header http.Header
	at     time.Time
	bytes  int
}

func (w *written) Header() http.Header { return w.header }
func (w *written) WriteHeader(int)     {}
func (w *written) Write(b []byte) (int, error) {
	w.at = time.Now()
	w.bytes += len(b)
	return len(b), nil
}
