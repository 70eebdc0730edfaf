package auth_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpodidentity/podid/internal/auth"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

func TestNewsThatAreTooOldDecideNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard atomic.Pointer[time.Time]
		hear := func() { heard.Store(new(time.Now())) }
		hear()
		var works atomic.Bool
		works.Store(true)
		var asked atomic.Int64
		news := &auth.News{Max: 10 * time.Minute, Sources: []auth.Source{{
			Name:  "pods",
			Heard: func() time.Time { return *heard.Load() },
			Quiet: func(context.Context) bool { asked.Add(1); return works.Load() },
		}}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go news.Run(ctx)

		// Where nothing happens, that is what there is to know.
		time.Sleep(time.Hour)
		if err := news.Ready(); err != nil {
			t.Errorf("in a quiet cluster: %v", err)
		}
		if n := asked.Load(); n < 200 || n > 361 {
			t.Errorf("asked %d times in an hour", n)
		}
		// A watch that is broken looks the same, but is found out.
		works.Store(false)
		time.Sleep(9 * time.Minute)
		if err := news.Ready(); err != nil {
			t.Errorf("after nine minutes: %v", err)
		}
		time.Sleep(3 * time.Minute)
		if err := news.Ready(); !problem.Is(err, problem.ClusterUnavailable) {
			t.Errorf("after twelve minutes: %v", err)
		}
		hear()
		if err := news.Ready(); err != nil {
			t.Errorf("news have come: %v", err)
		}
	})
}

func TestAReplicaThatHasOldNewsSaysSo(t *testing.T) {
	w := newWorld(t)
	w.associate(t)
	w.handler.Ready = func() error { return problem.New(problem.ClusterUnavailable, "there was no news of pods for 2h") }
	if r := w.ask(t, w.body(t)); r.StatusCode != 503 || decode(t, r)["code"] != string(problem.ClusterUnavailable) {
		t.Errorf("got %s", r.Status)
	}
}

// What agents take for old must not come up where the API server answers.
func TestWhereNothingHappensNewsAreNeverOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var answers atomic.Bool
		answers.Store(true)
		quiet := auth.Source{
			Name:  "associations",
			Heard: func() time.Time { return start },
			Quiet: func(ctx context.Context) bool {
				if answers.Load() {
					time.Sleep(4 * time.Second) // slowly
					return true
				}
				<-ctx.Done()
				return false
			},
		}
		pods := quiet
		pods.Name = "pods"
		news := &auth.News{Sources: []auth.Source{pods, quiet, {Name: "keys", Heard: func() time.Time { return start }}}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go news.Run(ctx)
		var oldest time.Duration
		for range 3600 {
			time.Sleep(time.Second)
			oldest = max(oldest, news.Age())
		}
		if oldest >= stream.OldAfter {
			t.Errorf("they are up to %s old", oldest)
		}
		answers.Store(false)
		time.Sleep(2 * stream.OldAfter)
		if age := news.Age(); age < stream.OldAfter {
			t.Errorf("nobody answers, and they are %s old", age)
		}
	})
}
