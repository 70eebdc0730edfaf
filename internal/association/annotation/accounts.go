package annotation

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/problem"
)

// Role is the annotation of a service account that names its role.
const Role = "eks.amazonaws.com/role-arn"

// Prefix of the UID of an association that an annotation makes; the rest is the service
// account's.
const Prefix = "annotation-"

// account is an annotated service account. It is immutable.
type account struct {
	Annotated
	version  string
	revision uint64
	created  time.Time
	// seen is when this process first knew it to be annotated so: what the guard was
	// before then proves nothing.
	seen time.Time
}

type name struct{ namespace, account string }

// newAccount is nil for a service account that is not annotated, or is being deleted.
func newAccount(o *corev1.ServiceAccount) *account {
	a, is := annotated(o)
	if !is || o.DeletionTimestamp != nil {
		return nil
	}
	return &account{
		Annotated: a, version: o.ResourceVersion, revision: association.Revision(o.ResourceVersion),
		created: o.CreationTimestamp.UTC(), seen: time.Now(),
	}
}

// association is what the annotation says. The value is taken as it stands, without
// trimming: that is what the policy checked.
func (a *account) association() podid.Association {
	return podid.Association{
		UID: Prefix + string(a.UID), Version: a.version,
		Namespace: a.Namespace, ServiceAccount: a.Name, Role: podid.RoleARN(a.RoleARN),
		CreatedAt: a.created, ModifiedAt: a.created,
	}
}

// invalid is the problem of an annotation that is no role.
func (a *account) invalid() error {
	_, err := podid.ParseRoleARN(a.RoleARN)
	if err == nil {
		return nil
	}
	return problem.New(problem.AssociationInvalid, "the annotation %s of service account %s/%s is no role: %v", Role, a.Namespace, a.Name, err).
		Because("").Fixed("annotate it with the ARN of a role, arn:aws:iam::ACCOUNT:role/NAME")
}

// Association is what the annotation of a service account says, whether or not it gives a
// role; see [Judge].
func Association(o *corev1.ServiceAccount) podid.Association {
	a, _ := annotated(o)
	return (&account{Annotated: a, version: o.ResourceVersion, created: o.CreationTimestamp.UTC()}).association()
}

// accounts is what the informer has told of annotated service accounts.
type accounts struct {
	// changed is called after each change of what is annotated how.
	changed func(namespace, account string)

	mu     sync.RWMutex
	byName map[name]*account
	byID   map[string]*account
	gone   map[name]uint64 // as of when one is not annotated any more
}

func newAccounts(changed func(namespace, account string)) *accounts {
	return &accounts{changed: changed, byName: map[name]*account{}, byID: map[string]*account{}, gone: map[name]uint64{}}
}

// handler is called by one goroutine, in the order of events.
func (x *accounts) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(given any, initial bool) {
			if o, ok := given.(*corev1.ServiceAccount); ok {
				x.put(o, newAccount(o), !initial)
			}
		},
		UpdateFunc: func(_, given any) {
			if o, ok := given.(*corev1.ServiceAccount); ok {
				x.put(o, newAccount(o), true)
			}
		},
		DeleteFunc: func(given any) {
			if unknown, missed := given.(cache.DeletedFinalStateUnknown); missed {
				given = unknown.Obj
			}
			if o, ok := given.(*corev1.ServiceAccount); ok {
				x.put(o, nil, true)
			}
		},
	}
}

// put notes that o is annotated as is says, which is nil if it is not.
func (x *accounts) put(o *corev1.ServiceAccount, is *account, report bool) {
	n := name{o.Namespace, o.Name}
	x.mu.Lock()
	was := x.byName[n]
	switch {
	case was == nil && is == nil:
		x.mu.Unlock()
		return
	case is == nil:
		x.bury(n, association.Revision(o.ResourceVersion))
	default:
		if was != nil && was.Annotated == is.Annotated {
			is.seen = was.seen
		}
		delete(x.gone, n)
		x.byName[n] = is
	}
	if was != nil {
		delete(x.byID, was.association().ID())
	}
	if is != nil {
		x.byID[is.association().ID()] = is
	}
	x.mu.Unlock()
	if report && (was == nil || is == nil || was.Annotated != is.Annotated) {
		x.changed(n.namespace, n.account)
	}
}

// maxGone bounds what is remembered of annotations that were removed.
const maxGone = 10_000

func (x *accounts) bury(n name, revision uint64) {
	delete(x.byName, n)
	if len(x.gone) >= maxGone {
		for other := range x.gone { // any
			delete(x.gone, other)
			break
		}
	}
	x.gone[n] = revision
}

// find is the annotated account of a name, and as of when there is none.
func (x *accounts) find(n name) (is *account, gone uint64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.byName[n], x.gone[n]
}

func (x *accounts) get(id string) *account {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.byID[id]
}

// all are those that satisfy keep, in the order of listings.
func (x *accounts) all(keep func(*account) bool) []*account {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []*account
	for _, a := range x.byName {
		if keep(a) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b *account) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func atLeast(version string, revision uint64) string {
	if association.Revision(version) >= revision {
		return version
	}
	return strconv.FormatUint(revision, 10)
}
