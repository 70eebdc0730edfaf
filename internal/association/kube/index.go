package kube

import (
	"maps"
	"strings"
	"sync"

	"k8s.io/client-go/tools/cache"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/stream"
)

// index is what the informer has told so far. Nothing else writes to it: an answer of
// the API server put in here could outlive its object, if the event that ends it had
// come before.
type index struct {
	// changed is called after each change of a spec, and of what there is.
	changed func(namespace, serviceAccount string)

	mu      sync.RWMutex
	byName  map[name]*entry
	byID    map[string]*entry
	byToken map[string][]*entry
	gone    map[name]uint64 // as of when there is none, of those that were deleted
	latest  uint64          // the newest resourceVersion of an event that was reported
	telling bool            // an event is in the index and not yet reported
	news    chan struct{}   // closed when the next event was reported
}

type name struct{ namespace, serviceAccount string }

// entry is one object. It is immutable.
type entry struct {
	association podid.Association
	// fault is what keeps the association from being used.
	fault error
	// ending: it was deleted, and finalizers hold what is left. It gives no role.
	ending     bool
	generation int64
	revision   uint64
}

func newIndex(changed func(namespace, serviceAccount string)) *index {
	return &index{
		changed: changed,
		byName:  map[name]*entry{}, byID: map[string]*entry{}, byToken: map[string][]*entry{},
		gone: map[name]uint64{},
		news: make(chan struct{}),
	}
}

func newEntry(o *v1alpha1.PodIdentityAssociation) *entry {
	a := Association(o)
	e := &entry{association: a, ending: o.DeletionTimestamp != nil, generation: o.Generation, revision: association.Revision(o.ResourceVersion)}
	// Tags are for people: one that breaks a rule takes no role from a pod.
	a.Tags = nil
	e.fault = association.Validate(a)
	return e
}

// handler feeds the index. It is called by one goroutine, in the order of events.
func (x *index) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(given any, initial bool) {
			if o, ok := given.(*v1alpha1.PodIdentityAssociation); ok {
				x.put(newEntry(o), initial)
			}
		},
		UpdateFunc: func(_, given any) {
			if o, ok := given.(*v1alpha1.PodIdentityAssociation); ok {
				x.put(newEntry(o), false)
			}
		},
		DeleteFunc: func(given any) {
			unknown, missed := given.(cache.DeletedFinalStateUnknown)
			if missed {
				given = unknown.Obj
			}
			if o, ok := given.(*v1alpha1.PodIdentityAssociation); ok {
				e := newEntry(o)
				if missed {
					e.revision++ // it was deleted some time after this
				}
				x.remove(e)
			}
		},
	}
}

func (x *index) put(e *entry, initial bool) {
	x.mu.Lock()
	x.telling = true
	was := x.byName[e.name()]
	x.drop(was)
	delete(x.gone, e.name())
	x.byName[e.name()] = e
	x.byID[e.association.ID()] = e
	if token := e.association.ClientToken; token != "" {
		x.byToken[token] = append(x.byToken[token], e)
	}
	x.mu.Unlock()
	same := was != nil && was.association.UID == e.association.UID && was.generation == e.generation && was.ending == e.ending
	x.tell(e, !initial && !same)
}

func (x *index) remove(e *entry) {
	x.mu.Lock()
	x.telling = true
	was := x.byName[e.name()]
	x.drop(was)
	x.bury(e)
	x.mu.Unlock()
	x.tell(e, was != nil && !was.ending)
}

// maxGone bounds what is remembered of deleted associations. Who hears nothing of one
// that was forgotten asks the API server.
const maxGone = 10_000

// bury remembers as of when e is no more.
func (x *index) bury(e *entry) {
	if len(x.gone) >= maxGone {
		for n := range x.gone { // any
			delete(x.gone, n)
			break
		}
	}
	x.gone[e.name()] = e.revision
}

// heard is what the informer has told of a service account's association.
func (x *index) heard(n name) stream.Version {
	v, _ := x.heardAnd(n)
	return v
}

// heardAnd gives what is closed at the next event, too.
func (x *index) heardAnd(n name) (stream.Version, <-chan struct{}) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	switch e := x.byName[n]; {
	case e == nil:
		return stream.Version{Revision: x.gone[n]}, x.news
	case e.ending:
		return stream.Version{Revision: e.revision}, x.news
	default:
		return stream.Version{UID: e.association.UID, Revision: e.revision}, x.news
	}
}

// drop forgets e, which may be nil.
func (x *index) drop(e *entry) {
	if e == nil {
		return
	}
	delete(x.byName, e.name())
	delete(x.byID, e.association.ID())
	token := e.association.ClientToken
	var rest []*entry
	for _, other := range x.byToken[token] {
		if other != e {
			rest = append(rest, other)
		}
	}
	if rest == nil {
		delete(x.byToken, token)
	} else {
		x.byToken[token] = rest
	}
}

// tell reports a change, and then wakes those who wait for it.
func (x *index) tell(e *entry, report bool) {
	if report && x.changed != nil {
		x.changed(e.association.Namespace, e.association.ServiceAccount)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.latest, x.telling = max(x.latest, e.revision), false
	close(x.news)
	x.news = make(chan struct{})
}

func (e *entry) name() name { return name{e.association.Namespace, e.association.ServiceAccount} }

func (x *index) find(n name) *entry {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.byName[n]
}

func (x *index) get(id string) *entry {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.byID[id]
}

// made is the association that a request with this token made. Copies of an object
// carry its token along: the one asked for wins, then the oldest.
func (x *index) made(token string, asked name) *entry {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var best *entry
	for _, e := range x.byToken[token] {
		switch {
		case e.ending:
		case e.name() == asked:
			return e
		case best == nil || e.association.CreatedAt.Before(best.association.CreatedAt):
			best = e
		}
	}
	return best
}

func (x *index) size() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.byName)
}

// all are the entries that satisfy keep, in no order.
func (x *index) all(keep func(*entry) bool) []*entry {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []*entry
	for e := range maps.Values(x.byName) {
		if !e.ending && keep(e) {
			out = append(out, e)
		}
	}
	return out
}

// has says whether an event as new as this version of an association was reported, and
// gives what is closed at the next.
func (x *index) has(a podid.Association) (bool, <-chan struct{}) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	// After a broken watch events come in the order of names, so that the newest says
	// nothing of this one; if it is not there at all, it was deleted since or is read through.
	e, written := x.byName[name{a.Namespace, a.ServiceAccount}], association.Revision(a.Version)
	stale := e != nil && e.association.UID == a.UID && e.revision < written
	return x.latest >= written && !stale, x.news
}

// lost says whether it was reported that this association is gone.
func (x *index) lost(a podid.Association) (bool, <-chan struct{}) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	e := x.byName[name{a.Namespace, a.ServiceAccount}]
	gone := e == nil || e.association.UID != a.UID || e.ending
	return gone && !x.telling, x.news
}

func before(a, b *entry) int {
	if c := strings.Compare(a.association.Namespace, b.association.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.association.ServiceAccount, b.association.ServiceAccount)
}
