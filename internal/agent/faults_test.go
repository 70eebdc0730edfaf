package agent_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// faults are ways of podid-auth to fail, and the code that a pod is told.
var faults = map[string]struct {
	auth exchangeFunc
	code problem.Code
}{
	"refuses connections": {behind(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }), problem.AuthUnavailable},
	"hangs": {behind(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}), problem.AuthUnavailable},
	"hangs within the body": {behind(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(hanging{r.Context()})}, nil
	}), problem.AuthUnavailable},
	"breaks off":     {behind(replying(200, "", func() io.Reader { return io.MultiReader(strings.NewReader(goodReply[:50]), broken{}) })), problem.AuthUnavailable},
	"throttles":      {behind(replying(429, "ThrottlingException", text(`{"message":"slow down"}`))), problem.TooManyRequests},
	"fails":          {behind(replying(500, "InternalServerException", text(`{"code":"internal","what":"podid could not answer"}`))), problem.Internal},
	"has no STS":     {behind(replying(503, "", text(`{"code":"sts-unavailable","what":"STS does not answer"}`))), problem.STSUnavailable},
	"is a proxy":     {behind(replying(502, "", text("<html>"))), problem.AuthUnavailable},
	"sends an array": {behind(replying(200, "", text("[]"))), problem.AuthUnavailable},
	"sends 10 MB":    {behind(replying(200, "", func() io.Reader { return io.LimitReader(endless{}, 10<<20) })), problem.AuthUnavailable},
	"has an old clock": {behind(replying(200, "", text(strings.Replace(goodReply, "4102444800.5", "946684799", 1)))),
		problem.AuthUnavailable},
	"forgets all of it":     {func(context.Context, agent.Ask) (agent.Reply, error) { return agent.Reply{}, nil }, problem.AuthUnavailable},
	"makes the agent panic": {func(context.Context, agent.Ask) (agent.Reply, error) { panic("?") }, problem.Internal},
	"says nothing known":    {func(context.Context, agent.Ask) (agent.Reply, error) { return agent.Reply{}, errors.New("?") }, problem.Internal},
}

// behind is a podid-auth behind the client that the agent has for it.
func behind(f roundTrip) exchangeFunc {
	return func(ctx context.Context, ask agent.Ask) (agent.Reply, error) { return client(f).Exchange(ctx, ask) }
}

func replying(status int, exception string, body func() io.Reader) roundTrip {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{"X-Amzn-Errortype": {exception}}, Body: io.NopCloser(body())}, nil
	}
}

func text(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }

type (
	hanging struct{ ctx context.Context }
	broken  struct{}
	endless struct{}
)

func (h hanging) Read([]byte) (int, error) {
	<-h.ctx.Done()
	return 0, h.ctx.Err()
}
func (broken) Read([]byte) (int, error)    { return 0, io.ErrUnexpectedEOF }
func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestHoweverPodidAuthFails(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *node) {
				n.Log = nil
				cached, raw := mint(t, workload(1)), mint(t, workload(2))
				n.hears(t, listed(map[int]stream.Version{1: version("a", 1)}))
				n.ask(t, cached)
				n.answers(fault.auth)

				start := time.Now()
				var group sync.WaitGroup
				for range 500 {
					group.Go(func() {
						got := n.ask(t, raw)
						if got.Code != string(fault.code) || got.Message == "" || got.Header.Get("Content-Type") != "application/json" {
							t.Errorf("got %+v", got)
						}
						if transient := problem.Lookup(fault.code).Kind == problem.Transient; transient != (got.Header.Get("Retry-After") != "") {
							t.Errorf("got %+v", got)
						}
					})
				}
				group.Wait()
				if took := time.Since(start); took > 900*time.Millisecond || n.calls.Load() != 2 {
					t.Errorf("%d calls, and an answer after %s", n.calls.Load()-1, took)
				}
				synctest.Wait()
				for range 50 { // who has its credentials notices nothing
					pause(time.Minute)
					start := time.Now()
					if got := n.ask(t, cached); got.AccessKeyID != key(1) || time.Since(start) > 0 {
						t.Fatalf("got %+v after %s", got, time.Since(start))
					}
				}
				n.answers(n.works)
				pause(61 * time.Second) // the longest pause after it said that it is too much
				if got := n.ask(t, raw); got.Status != 200 {
					t.Errorf("got %+v once it works again", got)
				}
			})
		})
	}
}
