package s3

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
)

// locks keeps changes of one thing apart while changes of others reach the disk
// together. A name is locked through a stripe that it shares with others.
type locks struct {
	stripes [256]sync.RWMutex
	seed    maphash.Seed
}

// hold locks the names, shared or exclusively, until the returned function is
// called. Stripes are taken in order, so that no two calls wait for each other;
// nobody may hold twice.
func (l *locks) hold(shared, exclusive []string) (unlock func()) {
	stripes := make(map[uint64]bool, len(shared)+len(exclusive))
	index := func(name string) uint64 { return maphash.String(l.seed, name) % uint64(len(l.stripes)) }
	for _, name := range shared {
		stripes[index(name)] = false
	}
	for _, name := range exclusive {
		stripes[index(name)] = true
	}
	order := slices.Sorted(maps.Keys(stripes))
	for _, i := range order {
		if stripes[i] {
			l.stripes[i].Lock()
		} else {
			l.stripes[i].RLock()
		}
	}
	return func() {
		for _, i := range order {
			if stripes[i] {
				l.stripes[i].Unlock()
			} else {
				l.stripes[i].RUnlock()
			}
		}
	}
}
