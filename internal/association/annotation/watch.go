package annotation

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid/problem"
)

// reading is what the API server said of the guard and its record.
type reading struct {
	began   time.Time // before the first question
	fault   error     // why nothing is served
	refused map[string]bool
}

const (
	// recheck bounds how old a reading may become while the API server answers, should the
	// watch be broken and tell nothing.
	recheck = time.Minute
	// retry is how often a refusal is looked into: consent does not come with an event.
	retry = 2 * time.Second
	// patience bounds one reading.
	patience = 5 * time.Second
)

// watch says of each annotated account whether its annotation was checked, or consented to.
//
// That the guard is there now proves nothing of an annotation that came before. But a guard
// that is the same as the record's was there all the time since, so what is annotated so
// and is not in the record was checked. So the guard is read after the annotation was
// seen, from the API server itself: two watches are of different moments.
type watch struct {
	api       client.Reader
	namespace string

	flight singleflight.Group
	mu     sync.Mutex
	last   *reading
	// event is when the watch last told of a change of the guard, revision what it told.
	event    time.Time
	revision uint64
}

// admit is nil for an account whose annotation gives it a role.
func (w *watch) admit(ctx context.Context, a *account) error {
	r, event := w.known()
	if !r.good(a, event) {
		fresh, err := w.read(ctx)
		switch {
		case err == nil:
			r = fresh
		case !r.proves(a, event):
			return err
		}
	}
	return r.says(a)
}

func (w *watch) known() (*reading, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.event
}

// proves says that r is of a moment after a was seen and after anything is known to have
// happened to the guard.
func (r *reading) proves(a *account, event time.Time) bool {
	return r != nil && r.began.After(a.seen) && r.began.After(event)
}

// good says that there is no need to read again.
func (r *reading) good(a *account, event time.Time) bool {
	if !r.proves(a, event) {
		return false
	}
	age := time.Since(r.began)
	return age < retry || age < recheck && r.says(a) == nil
}

func (r *reading) says(a *account) error {
	if r.fault != nil {
		return r.fault
	}
	if r.refused[a.digest()] {
		return problem.New(problem.ConsentMissing, "the annotation %s of service account %s/%s was there before anything checked who sets it", Role, a.Namespace, a.Name).
			Because("nobody knows whether who set it may pass %s, and nobody has consented to it", a.RoleARN).
			Fixed("consent to it: podid consent; or remove the annotation and, half a minute later, set it again as somebody who may pass the role")
	}
	return nil
}

// read asks the API server; who asks at the same time shares the answer, if the asking
// began after they came.
func (w *watch) read(ctx context.Context) (*reading, error) {
	came := time.Now()
	for {
		done := w.flight.DoChan("", func() (any, error) {
			// It is not for one caller alone.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			return w.ask(ctx)
		})
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("read what guards annotations: %w", ctx.Err())
		case result := <-done:
			if result.Err != nil {
				return nil, result.Err
			}
			if r, _ := result.Val.(*reading); !r.began.Before(came) {
				return r, nil
			}
		}
	}
}

func newReading(ctx context.Context, api client.Reader, namespace string) (*reading, error) {
	r := &reading{began: time.Now()}
	_, record, err := current(ctx, api, namespace)
	switch {
	case err == nil:
		r.refused = record.refused
	case problem.Is(err, problem.PassPolicyMissing), problem.Is(err, problem.ConsentMissing):
		r.fault = err
	default:
		return nil, err
	}
	return r, nil
}

func (w *watch) ask(ctx context.Context) (*reading, error) {
	r, err := newReading(ctx, w.api, w.namespace)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == nil || w.last.began.Before(r.began) {
		w.last = r
	}
	return r, nil
}

// told notes that the watch told of a change of the guard, of this revision.
func (w *watch) told(revision uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.event, w.revision = time.Now(), max(w.revision, revision)
}

// served says, without asking, whether a was admitted when that was last known, and the
// revision of what has happened to the guard.
func (w *watch) served(a *account) (bool, uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last == nil || w.last.says(a) == nil, w.revision
}
