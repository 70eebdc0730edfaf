package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/openpodidentity/podid/test/upstream"
)

// weather is when podid-auth fails, and how.
type weather struct {
	auth   *upstream.Server
	period time.Duration

	mu    sync.Mutex
	bad   bool
	since time.Time // of how it is now
}

func newWeather(auth *upstream.Server, period time.Duration) *weather {
	return &weather{auth: auth, period: period, since: time.Now()}
}

// run lets it fail in the fourth of five parts of each period.
func (w *weather) run(ctx context.Context) {
	faults := upstream.Faults()
	for {
		if !w.wait(ctx, w.period*3/5) {
			return
		}
		w.turn(true)
		const kinds = 8
		for range kinds {
			fault := *faults[rand.IntN(len(faults))]
			fault.Stream = rand.IntN(2) == 0
			w.auth.Fail(&fault)
			if fault.Stream {
				w.auth.Break()
			}
			if !w.wait(ctx, w.period/5/kinds) {
				return
			}
		}
		w.auth.Fail(nil)
		w.turn(false)
		if !w.wait(ctx, w.period/5) {
			return
		}
	}
}

func (w *weather) wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (w *weather) turn(bad bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bad, w.since = bad, time.Now()
}

// excuses says whether somebody who asked at a time and has no credentials yet may have been
// refused: podid-auth fails, or did until a moment ago.
func (w *weather) excuses(asked time.Time) bool {
	const moment = 4 * time.Second // as long as a refusal is told again
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bad || asked.Sub(w.since) < moment
}
