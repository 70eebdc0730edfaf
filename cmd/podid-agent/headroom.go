package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid/internal/agent"
)

const (
	// percent and limit are the garbage collector's (GOGC, GOMEMLIMIT). The heap is small,
	// and by default it would be collected for every four megabytes of requests: a
	// quarter of what a cached answer costs. The limit, in bytes, is well under the DaemonSet's.
	percent, limit = 400, 80 << 20
	// quietEvery is how often it looks whether nothing is going on, quiet how many bytes are
	// allocated meanwhile at the most if so, and worth how many since the last time make it
	// worth while to give memory back.
	quietEvery   = 3 * time.Second
	quiet, worth = 256 << 10, 1 << 20
	// sweepEvery is how many calls of podid-auth may be made between two collections. What they
	// leave behind lies between what is kept: the more of it, the more pages are kept for a
	// few bytes each.
	sweepEvery = 16
)

// headroom lets the heap grow while pods ask, and gives the memory back when they are
// quiet: on every node it is somebody else's.
func headroom(ctx context.Context) {
	debug.SetGCPercent(percent)
	debug.SetMemoryLimit(limit)
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var last, released uint64
	ticker := time.NewTicker(quietEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(sample)
		now := sample[0].Value.Uint64()
		if now-last < quiet && now-released > worth {
			debug.FreeOSMemory()
			released = now
		}
		last = now
	}
}

// sweeping has the garbage of calls collected before there is much of it.
type sweeping struct {
	next  agent.Exchange
	calls atomic.Uint64
}

// Exchange implements agent.Exchange.
func (s *sweeping) Exchange(ctx context.Context, ask agent.Ask) (agent.Reply, error) {
	if s.calls.Add(1)%sweepEvery == 0 {
		go runtime.GC()
	}
	return s.next.Exchange(ctx, ask)
}
