package main

import (
	"cmp"
	"context"
	"regexp"
	"sync"
	"time"

	"github.com/openpodidentity/podid/test/cluster/ask"
)

// load asks at a steady rate, whether or not the last answer is there: a slow answer must not hide others.
type load struct {
	mu   sync.Mutex
	stop context.CancelFunc
	out  *sync.WaitGroup
	seen ask.Figures
}

// ownAddress is the client's side in an error of package net, which differs from request to request.
var ownAddress = regexp.MustCompile(`\S+->`)

func (l *load) begin(every time.Duration, one func(context.Context) ask.Answer) {
	l.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	l.stop, l.out, l.seen = cancel, &sync.WaitGroup{}, ask.Figures{Failures: map[string]int{}, Keys: map[string]int{}}
	out := l.out
	out.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case at := <-tick.C:
				out.Go(func() { l.note(at, one(context.WithoutCancel(ctx))) })
			}
		}
	})
}

func (l *load) note(asked time.Time, a ask.Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen.Asked++
	l.seen.Longest = max(l.seen.Longest, a.Took)
	if a.OK() {
		l.seen.Keys[a.String()]++
		return
	}
	l.seen.Failed++
	l.seen.Failures[cmp.Or(a.Code, ownAddress.ReplaceAllString(a.Error, ""))]++
	if l.seen.First.IsZero() || asked.Before(l.seen.First) {
		l.seen.First = asked
	}
	if asked.After(l.seen.Last) {
		l.seen.Last = asked
	}
}

func (l *load) figures() ask.Figures {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen.Clone()
}

// end waits for the answers that are still out.
func (l *load) end() ask.Figures {
	l.mu.Lock()
	stop, out := l.stop, l.out
	l.stop = nil
	l.mu.Unlock()
	if stop != nil {
		stop()
		out.Wait()
	}
	return l.figures()
}
