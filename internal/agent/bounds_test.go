package agent_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/problem"
)

func TestHoweverManyAddressesAskAThousandAreRemembered(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.Log = nil
		ask := func(i int) { n.ask(t, "no token", from(fmt.Sprintf("10.0.%d.%d", i/250, i%250))) }
		for i := range 1200 { // all in one instant: the last share an account
			ask(i)
		}
		if kept := n.Sources(); kept != 1024 {
			t.Errorf("%d addresses are remembered", kept)
		}
		time.Sleep(time.Minute) // those may ask as much as ever, and make room
		ask(1200)
		if kept := n.Sources(); kept != 1 {
			t.Errorf("a minute later %d addresses are remembered", kept)
		}
	})
}

func TestNoAnswerMakesAllWaitForLongerThanAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		n.answers(client(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 429, Header: http.Header{"X-Amzn-Errortype": {"ThrottlingException"}, "Retry-After": {"3000"}},
				Body: io.NopCloser(strings.NewReader("{}"))}, nil
		}).Exchange)
		raw := mint(t, workload(1))
		if got := n.ask(t, raw); got.Code != string(problem.TooManyRequests) {
			t.Errorf("got %+v", got)
		}
		n.answers(n.works)
		pause(59 * time.Second)
		if got := n.ask(t, raw); got.Status != 429 || n.calls.Load() != 1 {
			t.Errorf("%d calls within the minute: %+v", n.calls.Load(), got)
		}
		pause(32 * time.Second) // and jitter: half of it
		if got := n.ask(t, raw); got.Status != 200 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestOfALongAnswerNoMoreIsReadThanItMayHave(t *testing.T) {
	const size = 10 << 20
	for _, status := range []int{200, 500} {
		body := strings.NewReader(strings.Repeat(" ", size))
		c := client(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: io.NopCloser(body)}, nil
		})
		if _, err := c.Exchange(t.Context(), agent.Ask{Token: "a.b.c"}); !problem.Is(err, problem.AuthUnavailable) {
			t.Errorf("%d: got %v", status, err)
		}
		if read := size - body.Len(); read > 64<<10+1 {
			t.Errorf("%d: %d bytes were read", status, read)
		}
	}
}
