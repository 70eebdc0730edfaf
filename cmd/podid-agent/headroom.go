package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
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
