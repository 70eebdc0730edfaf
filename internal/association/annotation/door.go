package annotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// Door is an association store of objects and annotations. Those of annotations are read
// alone; what is written is an object.
type Door struct {
	association.Store // the objects

	// OnChange, if set, is called after each change of what is annotated, and of what
	// guards it; changes of objects are the inner store's to tell. Set it before the
	// cache is started.
	OnChange func(namespace, serviceAccount string)
	// Log is told of what is not answered to anybody; nothing, unless it is set.
	Log *slog.Logger

	api       client.Client
	namespace string
	accounts  *accounts
	watch     *watch
	synced    []func() bool
	events    chan struct{} // something has happened to the guard
}

var _ association.Store = (*Door)(nil)

// Restrict narrows what a cache keeps of the kinds that only the door reads, to what it
// reads: for the ByObject of the cache's options.
func Restrict(kinds map[client.Object]cache.ByObject) {
	named := cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", PolicyName)}
	kinds[&admissionv1.ValidatingAdmissionPolicy{}] = named
	kinds[&admissionv1.ValidatingAdmissionPolicyBinding{}] = named
}

// New returns a door beside the objects of a store. It reads service accounts through
// informers, whose transformation, if there is one, leaves the annotation [Role]; api reads from no cache. The scheme
// of both knows core/v1 and admissionregistration.k8s.io/v1. Namespace is podid's own.
// Whoever calls New starts informers, narrowed by [Restrict], and runs [Door.Follow].
func New(ctx context.Context, informers cache.Cache, api client.Client, namespace string, objects association.Store) (*Door, error) {
	d := &Door{
		Store: objects, Log: slog.New(slog.DiscardHandler), api: api, namespace: namespace,
		watch: &watch{api: api, namespace: namespace}, events: make(chan struct{}, 1),
	}
	d.accounts = newAccounts(d.changed)
	for _, follow := range []struct {
		kind    client.Object
		handler toolscache.ResourceEventHandler
	}{
		{&corev1.ServiceAccount{}, d.accounts.handler()},
		{&admissionv1.ValidatingAdmissionPolicy{}, d.guardHandler()},
		{&admissionv1.ValidatingAdmissionPolicyBinding{}, d.guardHandler()},
	} {
		informer, err := informers.GetInformer(ctx, follow.kind, cache.BlockUntilSynced(false))
		if err != nil {
			return nil, fmt.Errorf("follow %T: %w", follow.kind, err)
		}
		registration, err := informer.AddEventHandler(follow.handler)
		if err != nil {
			return nil, fmt.Errorf("follow %T: %w", follow.kind, err)
		}
		d.synced = append(d.synced, registration.HasSynced)
	}
	return d, nil
}

// Synced reports whether the annotations that were there at the start have been read. Until
// then they are missing from listings.
func (d *Door) Synced() bool {
	for _, synced := range d.synced {
		if !synced() {
			return false
		}
	}
	return true
}

func (d *Door) changed(namespace, account string) {
	if d.OnChange != nil {
		d.OnChange(namespace, account)
	}
}

func (d *Door) guardHandler() toolscache.ResourceEventHandler {
	tell := func(given any) {
		if unknown, missed := given.(toolscache.DeletedFinalStateUnknown); missed {
			given = unknown.Obj
		}
		if o, ok := given.(client.Object); ok && o.GetName() == PolicyName {
			d.watch.told(association.Revision(o.GetResourceVersion()))
			select {
			case d.events <- struct{}{}:
			default:
			}
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: tell,
		UpdateFunc: func(was, is any) {
			a, before := was.(client.Object)
			b, after := is.(client.Object)
			// Its status, and what the informer repeats, change nothing.
			if !before || !after || a.GetUID() != b.GetUID() || a.GetGeneration() != b.GetGeneration() ||
				(a.GetDeletionTimestamp() == nil) != (b.GetDeletionTimestamp() == nil) {
				tell(is)
			}
		},
		DeleteFunc: tell,
	}
}

// Follow tells OnChange of what has happened to the guard, until ctx ends.
func (d *Door) Follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.events:
		}
		if _, err := d.watch.read(ctx); err != nil && ctx.Err() == nil {
			d.Log.WarnContext(ctx, "the guard of annotations cannot be read", "error", err)
		}
		for _, a := range d.accounts.all(func(*account) bool { return true }) {
			d.changed(a.Namespace, a.Name)
		}
	}
}

// Find implements association.Store. An object is found before an annotation, even one that
// breaks a rule.
func (d *Door) Find(ctx context.Context, namespace, serviceAccount string) (podid.Association, error) {
	return d.FindAtLeast(ctx, namespace, serviceAccount, stream.Version{})
}

// readWithin bounds what an exchange asks the API server: who waits for it waits for less
// than a second in all, and should still be told why.
const readWithin = 500 * time.Millisecond

// FindAtLeast implements association.Store. An annotation that is known is served without
// asking whether there is an object: of that its own watch tells, and agents hear of it.
func (d *Door) FindAtLeast(ctx context.Context, namespace, serviceAccount string, heard stream.Version) (podid.Association, error) {
	n := name{namespace, serviceAccount}
	a, _ := d.accounts.find(n)
	if behind := d.Heard(namespace, serviceAccount).Older(heard); a == nil || behind || d.shadowed(a) {
		found, none := d.Store.FindAtLeast(ctx, namespace, serviceAccount, heard)
		if !problem.Is(none, problem.AssociationMissing) {
			return found, none
		}
		within, cancel := context.WithTimeout(ctx, readWithin)
		defer cancel()
		var err error
		switch a, err = d.read(within, n); {
		case err != nil && behind && ctx.Err() == nil:
			return podid.Association{}, association.Behind(namespace, serviceAccount, err)
		case err != nil:
			return podid.Association{}, late(ctx, err)
		case a == nil:
			return podid.Association{}, none
		}
	}
	within, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	if err := d.admit(within, a); err != nil {
		return podid.Association{}, late(ctx, err)
	}
	return association.AsOf(d.association(a), heard), nil
}

// late is err, or the problem of an answer that took too long if ctx goes on.
func late(ctx context.Context, err error) error {
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return unread(ctx, err)
	}
	return err
}

// read asks the API server; nil is an account that is not there or not annotated.
func (d *Door) read(ctx context.Context, n name) (*account, error) {
	for _, s := range []string{n.namespace, n.account} {
		if s == "" || len(content.IsPathSegmentName(s)) > 0 {
			return nil, nil
		}
	}
	var o corev1.ServiceAccount
	switch err := d.api.Get(ctx, types.NamespacedName{Namespace: n.namespace, Name: n.account}, &o); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("read service account: %w", ctx.Err())
	case err != nil:
		return nil, problem.New(problem.ClusterUnavailable, "the service account cannot be read from the API server").
			Because("it does not answer, or answers with an error").From(err)
	}
	a := newAccount(&o)
	if known, _ := d.accounts.find(n); a != nil && known != nil && known.Annotated == a.Annotated {
		a.seen = known.seen
	}
	return a, nil
}

// admit is nil when the annotation gives a role.
func (d *Door) admit(ctx context.Context, a *account) error {
	if err := a.invalid(); err != nil {
		return err
	}
	return d.watch.admit(ctx, a)
}

// association is a's, with a version that counts what was before: an object that hid the
// annotation, and a guard that was away.
func (d *Door) association(a *account) podid.Association {
	out := a.association()
	_, changed := d.watch.served(a)
	out.Version = atLeast(out.Version, max(changed, d.Store.Heard(a.Namespace, a.Name).Revision))
	return out
}

// Heard implements association.Store.
func (d *Door) Heard(namespace, serviceAccount string) stream.Version {
	object := d.Store.Heard(namespace, serviceAccount)
	if object.UID != "" {
		return object
	}
	own := d.heard(d.accounts.find(name{namespace, serviceAccount}))
	own.Revision = max(own.Revision, object.Revision)
	return own
}

// heard is what is known of an annotation, beside what is of an object.
func (d *Door) heard(a *account, gone uint64) stream.Version {
	if a == nil {
		return stream.Version{Revision: gone}
	}
	served, changed := d.watch.served(a)
	v := stream.Version{Revision: max(a.revision, changed)}
	if served {
		v.UID = Prefix + string(a.UID)
	}
	return v
}

// shadowed says that an object decides instead of a's annotation.
func (d *Door) shadowed(a *account) bool { return d.Store.Heard(a.Namespace, a.Name).UID != "" }

// Get implements association.Store.
func (d *Door) Get(ctx context.Context, id string) (podid.Association, error) {
	a := d.accounts.get(id)
	switch {
	case a == nil:
		return d.Store.Get(ctx, id)
	case d.shadowed(a):
		return podid.Association{}, association.NotFound(id)
	}
	switch err := d.admit(ctx, a); {
	case err == nil:
		return d.association(a), nil
	case problem.Is(err, problem.ClusterUnavailable), ctx.Err() != nil:
		return podid.Association{}, err
	}
	return podid.Association{}, association.NotFound(id) // it gives no role
}

// List implements association.Store. It has the annotations that give a role, in their places
// among the objects.
func (d *Door) List(ctx context.Context, filter association.Filter, cursor string, limit int) ([]podid.Association, string, error) {
	objects, next, err := d.Store.List(ctx, filter, cursor, limit)
	if err != nil {
		return nil, "", err
	}
	var after association.Cursor
	if cursor != "" {
		if after, err = association.ParseCursor(cursor); err != nil {
			return nil, "", err
		}
	}
	annotations := d.accounts.all(func(a *account) bool {
		return (filter.Namespace == "" || a.Namespace == filter.Namespace) &&
			(filter.ServiceAccount == "" || a.Name == filter.ServiceAccount) &&
			before(after.Namespace, after.ServiceAccount, a.Namespace, a.Name)
	})
	var page []podid.Association
	for len(page) < limit && len(objects)+len(annotations) > 0 {
		if len(annotations) == 0 || len(objects) > 0 && !before(annotations[0].Namespace, annotations[0].Name, objects[0].Namespace, objects[0].ServiceAccount) {
			page, objects = append(page, objects[0]), objects[1:]
			continue
		}
		// The objects of this page are at their end, and those of the next come before.
		if len(objects) == 0 && next != "" {
			break
		}
		a := annotations[0]
		annotations = annotations[1:]
		if d.shadowed(a) {
			continue
		}
		switch err := d.admit(ctx, a); {
		case err == nil:
			page = append(page, d.association(a))
		case problem.Is(err, problem.ClusterUnavailable), ctx.Err() != nil:
			return nil, "", err
		}
	}
	if len(objects)+len(annotations) == 0 && next == "" || len(page) == 0 {
		return page, next, nil
	}
	last := page[len(page)-1]
	return page, association.Cursor{Namespace: last.Namespace, ServiceAccount: last.ServiceAccount}.String(), nil
}

func before(namespace, account, otherNamespace, otherAccount string) bool {
	if namespace != otherNamespace {
		return namespace < otherNamespace
	}
	return account < otherAccount
}

// Update implements association.Store, for objects.
func (d *Door) Update(ctx context.Context, id string, change func(*podid.Association) error) (podid.Association, error) {
	if a := d.accounts.get(id); a != nil {
		return podid.Association{}, unchangeable(id, a)
	}
	return d.Store.Update(ctx, id, change)
}

// Delete implements association.Store, for objects.
func (d *Door) Delete(ctx context.Context, id string) (podid.Association, error) {
	if a := d.accounts.get(id); a != nil {
		return podid.Association{}, unchangeable(id, a)
	}
	return d.Store.Delete(ctx, id)
}

func unchangeable(id string, a *account) error {
	return problem.New(problem.RequestInvalid, "association %s is the annotation %s of service account %s/%s", id, Role, a.Namespace, a.Name).
		Because("it is changed where it is, and not through this API").
		Fixed("kubectl annotate serviceaccount %s -n %s --overwrite %s=ARN, or %s- to remove it; or create an association, which the annotation then yields to",
			a.Name, a.Namespace, Role, Role)
}
