package main

import (
	"net/http"
	"net/netip"
	"sync"
)

// budget bounds the bytes of requests that are in memory at once: in all, and for each
// client (IP address), so that one that sends large things slowly leaves room for API
// servers. A review has some thousand bytes; reading one takes several times its size.
type budget struct {
	total, perClient int64

	mu    sync.Mutex
	taken int64
	of    map[netip.Addr]int64
}

// unknownSize is for requests that do not say how large they are: as large as may be.
const unknownSize = 8 << 20

// guard refuses what does not fit with 503: the failure policy of the webhook's entry
// decides then.
func (b *budget) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, size := netip.Addr{}, r.ContentLength
		if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
			from = peer.Addr().Unmap()
		}
		if size < 0 {
			size = unknownSize
		}
		if !b.take(from, size) {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too much is being answered already", http.StatusServiceUnavailable)
			return
		}
		defer b.give(from, size)
		next.ServeHTTP(w, r)
	})
}

func (b *budget) take(from netip.Addr, size int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.taken+size > b.total || b.of[from]+size > b.perClient {
		return false
	}
	if b.of == nil {
		b.of = map[netip.Addr]int64{}
	}
	b.taken += size
	b.of[from] += size
	return true
}

func (b *budget) give(from netip.Addr, size int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken -= size
	if b.of[from] -= size; b.of[from] <= 0 {
		delete(b.of, from)
	}
}
