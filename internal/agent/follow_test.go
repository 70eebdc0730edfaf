package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpodidentity/podid/internal/agent"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// streamFunc is podid-auth's stream: a function that says it, and returns why it ends.
type streamFunc func(ctx context.Context, say func(stream.Message)) error

func (f streamFunc) Open(ctx context.Context, _ time.Duration) (agent.Lines, error) {
	l := &said{lines: make(chan stream.Message), why: make(chan error, 1)}
	go func() {
		l.why <- f(ctx, func(m stream.Message) {
			select {
			case l.lines <- m:
			case <-ctx.Done():
			}
		})
		close(l.lines)
	}()
	return l, nil
}

type said struct {
	lines chan stream.Message
	why   chan error
}

func (s *said) Next() (stream.Message, error) {
	if m, ok := <-s.lines; ok {
		return m, nil
	}
	return stream.Message{}, <-s.why
}

func (s *said) Close() error { return nil }

// following has a node follow a stream.
func following(t *testing.T, from agent.Stream, f func(t *testing.T, n *node)) {
	t.Helper()
	issuer()
	synctest.Test(t, func(t *testing.T) {
		n := newListener(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.Follow(ctx, from)
		}()
		f(t, n)
		cancel()
		<-done
		if err := n.Ready(); err == nil {
			t.Error("ready without a stream")
		}
		n.Close()
	})
}

func TestABrokenStreamIsConnectedAnew(t *testing.T) {
	var connections atomic.Int32
	following(t, streamFunc(func(ctx context.Context, say func(stream.Message)) error {
		switch connections.Add(1) {
		case 1:
			return errors.New("refused")
		case 2:
			say(listed(nil))
			say(stream.Message{Keys: json.RawMessage(`{"keys":[]}`)}) // what cannot be read ends it
		default:
			say(listed(nil))
		}
		<-ctx.Done() // and it says nothing more
		return context.Cause(ctx)
	}), func(t *testing.T, n *node) {
		pause(100 * time.Millisecond)
		if err := n.Ready(); !problem.Is(err, problem.AuthUnavailable) {
			t.Errorf("ready without a stream: %v", err)
		}
		pause(5 * time.Second)
		if err := n.Ready(); err != nil || connections.Load() != 3 {
			t.Errorf("%v after %d connections", err, connections.Load())
		}
		pause(26 * time.Second) // three pings did not come
		if connections.Load() != 4 {
			t.Errorf("%d connections", connections.Load())
		}
	})
}

func TestAPodidAuthThatHangsKeepsNobodyFromHearingOfChanges(t *testing.T) {
	var connections atomic.Int32
	following(t, streamFunc(func(ctx context.Context, say func(stream.Message)) error {
		if connections.Add(1) > 1 {
			say(listed(map[int]stream.Version{1: version("a", 7)}))
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}), func(t *testing.T, n *node) {
		pause(4 * time.Second)
		if err := n.Ready(); err != nil {
			t.Error(err)
		}
	})
}

// auths are replicas of podid-auth as one name stands for them: whoever opens a stream gets
// one of the first that will have them.
type auths []*hearing

// hearing is a replica that has heard from the API server until a time, or hears still.
type hearing struct {
	mu      sync.Mutex
	until   time.Time // zero: it hears
	pods    map[int]stream.Version
	asked   int // for a stream
	refused int
}

// hears makes these its pods, as of a time if it hears nothing after it.
func (h *hearing) hears(pods map[int]stream.Version, until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pods, h.until = pods, until
}

// streams is for how many it was asked, and how many it refused.
func (h *hearing) streams() (asked, refused int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked, h.refused
}

// age is how old its news are. mu is held.
func (h *hearing) age() time.Duration {
	if h.until.IsZero() {
		return 0
	}
	return time.Since(h.until)
}

func (a auths) Open(ctx context.Context, within time.Duration) (agent.Lines, error) {
	for _, h := range a {
		if h.takes(within) {
			return streamFunc(h.say).Open(ctx, within)
		}
	}
	return nil, problem.New(problem.ClusterUnavailable, "no news")
}

func (h *hearing) takes(within time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	if within == 0 || h.age() <= within {
		return true
	}
	h.refused++
	return false
}

func (h *hearing) say(ctx context.Context, say func(stream.Message)) error {
	aged := func(make func() stream.Message) stream.Message {
		h.mu.Lock()
		defer h.mu.Unlock()
		m := make()
		m.Age = int64(h.age() / time.Second)
		return m
	}
	say(aged(func() stream.Message { return listed(h.pods) }))
	for ctx.Err() == nil {
		select {
		case <-time.After(stream.PingEvery):
			say(aged(func() stream.Message { return stream.Message{Ping: 1} }))
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

func TestAReplicaWithoutNewsKeepsNoAgentWhileAnotherHasSome(t *testing.T) {
	deaf, good := &hearing{pods: map[int]stream.Version{1: version("a", 7)}}, &hearing{pods: map[int]stream.Version{1: version("a", 7)}}
	following(t, auths{deaf, good}, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		pause(time.Minute)
		if asked, _ := good.streams(); asked != 0 {
			t.Fatalf("%d streams were asked for", asked)
		}
		if got := n.ask(t, raw); got.Status != 200 {
			t.Fatalf("%+v", got)
		}
		// The role is withdrawn, of which one replica does not hear.
		deaf.hears(map[int]stream.Version{1: version("a", 7)}, time.Now())
		good.hears(map[int]stream.Version{1: version("", 9)}, time.Time{})
		n.answers(func(_ context.Context, ask agent.Ask) (agent.Reply, error) {
			return agent.Reply{Association: ask.Association}, problem.New(problem.AssociationMissing, "there is none any more")
		})
		pause(stream.OldAfter + stream.PingEvery + time.Second)
		if got := n.ask(t, raw); got.Code != string(problem.AssociationMissing) {
			t.Errorf("still served: %+v", got)
		}
		pause(time.Hour)
		ofDeaf, _ := deaf.streams()
		if ofGood, _ := good.streams(); ofDeaf != 2 || ofGood != 1 {
			t.Errorf("%d and %d streams were asked for", ofDeaf, ofGood)
		}
		if !strings.Contains(n.log.String(), "stream of newer news") {
			t.Error("the log has nothing of it")
		}
	})
}

func TestWhereNobodyHasNewsNothingChanges(t *testing.T) {
	all := auths{{pods: map[int]stream.Version{1: version("a", 7)}}, {pods: map[int]stream.Version{1: version("a", 7)}}}
	following(t, all, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		pause(time.Minute)
		n.ask(t, raw)
		for _, h := range all {
			h.hears(map[int]stream.Version{1: version("a", 7)}, time.Now()) // the API server is away
		}
		for range 20 * 60 {
			pause(time.Second)
			if got := n.ask(t, raw); got.AccessKeyID != key(1) || n.Ready() != nil {
				t.Fatalf("%+v, %v", got, n.Ready())
			}
		}
		one, refusedByOne := all[0].streams()
		looks, refused := all[1].streams()
		if streams := one - refusedByOne + looks - refused; streams != 1 {
			t.Errorf("%d streams", streams)
		}
		if looks < 20 || looks > 40 {
			t.Errorf("it looked for others %d times in 20 minutes", looks)
		}
		// The first that hears again has it.
		all[1].hears(map[int]stream.Version{1: version("b", 9)}, time.Time{})
		pause(2*stream.OldAfter + stream.PingEvery)
		if got := n.ask(t, raw); got.AccessKeyID != key(2) {
			t.Errorf("got %+v", got)
		}
	})
}

func TestNewsOfAReplicaThatHasNoneAreOld(t *testing.T) {
	deaf := &hearing{pods: map[int]stream.Version{1: version("a", 7)}}
	following(t, auths{deaf}, func(t *testing.T, n *node) {
		n.MaxStaleness = 10 * time.Minute
		raw := mint(t, workload(1))
		pause(time.Second)
		n.ask(t, raw)
		deaf.hears(map[int]stream.Version{1: version("a", 7)}, time.Now().Add(9*time.Minute))
		pause(18 * time.Minute)
		if got := n.ask(t, raw); got.AccessKeyID != key(1) {
			t.Errorf("got %+v", got)
		}
		n.answers(unavailable)
		pause(2 * time.Minute)
		if got := n.ask(t, raw); got.Code != string(problem.AuthUnavailable) {
			t.Errorf("it talks, and knows nothing: %+v", got)
		}
	})
}

func TestASnapshotOfAReplicaThatIsBehindEndsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, n *node) {
		raw := mint(t, workload(1))
		n.hears(t, listed(map[int]stream.Version{1: version("a", 7)}))
		n.ask(t, raw)
		behind := listed(nil)
		behind.Age = 3600
		n.hears(t, behind)
		if got := n.ask(t, raw); got.AccessKeyID != key(1) || n.calls.Load() != 1 {
			t.Errorf("got %+v after %d calls", got, n.calls.Load())
		}
		n.hears(t, listed(nil))
		if got := n.ask(t, raw); got.AccessKeyID != key(2) {
			t.Errorf("a pod that may have ended in between is served: %+v", got)
		}
	})
}
