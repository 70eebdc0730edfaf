package auth_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpodidentity/podid/internal/auth"
	"github.com/openpodidentity/podid/problem"
)

func TestNewsThatAreTooOldDecideNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var version, newest atomic.Value
		version.Store("1")
		newest.Store("1")
		var asked atomic.Int64
		news := &auth.News{Max: 10 * time.Minute, Sources: []auth.Source{{
			Name:    "pods",
			Version: func() string { return version.Load().(string) },
			Ask: func(context.Context) (string, error) {
				asked.Add(1)
				if newest.Load() == "" {
					return "", errors.New("connection refused")
				}
				return newest.Load().(string), nil
			},
		}}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go news.Run(ctx)

		// Where nothing happens, that is what there is to know.
		time.Sleep(time.Hour)
		if err := news.Ready(); err != nil {
			t.Errorf("in a quiet cluster: %v", err)
		}
		if n := asked.Load(); n < 50 || n > 61 {
			t.Errorf("asked %d times in an hour", n)
		}
		// A watch that is told nothing while something happens is broken.
		newest.Store("2")
		time.Sleep(9 * time.Minute)
		if err := news.Ready(); err != nil {
			t.Errorf("after nine minutes: %v", err)
		}
		time.Sleep(3 * time.Minute)
		if err := news.Ready(); !problem.Is(err, problem.ClusterUnavailable) {
			t.Errorf("after twelve minutes: %v", err)
		}
		version.Store("2")
		time.Sleep(10 * time.Second)
		if err := news.Ready(); err != nil {
			t.Errorf("news have come: %v", err)
		}
		// So is one whose API server is away.
		newest.Store("")
		time.Sleep(11 * time.Minute)
		if err := news.Ready(); !problem.Is(err, problem.ClusterUnavailable) {
			t.Errorf("the API server is away: %v", err)
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
