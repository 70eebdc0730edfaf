package annotation

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid/problem"
)

// Recorder makes the record of each guard that comes, and forgets in it what is not
// annotated any more, so that who removes an annotation and sets it again is checked. It
// is for one replica at a time; a second would do no harm.
type Recorder struct {
	// API reads from no cache.
	API client.Client
	// Accounts may read service accounts from one: it only says when to look.
	Accounts client.Reader
	// Namespace is podid's own.
	Namespace string
	// Settle is how long a policy may take to act, 10 s if it is zero: each API server
	// has a watch of it.
	Settle time.Duration
	Log    *slog.Logger
}

// glance is how often the guard is looked at.
const glance = 5 * time.Second

// Run keeps the record until ctx ends.
func (r *Recorder) Run(ctx context.Context) {
	ticks := time.NewTicker(glance)
	defer ticks.Stop()
	told := ""
	for {
		err := r.keep(ctx)
		switch text := said(err); {
		case ctx.Err() != nil:
			return
		case text != told && err != nil:
			r.Log.WarnContext(ctx, "annotations bind no roles at present", "error", err)
			told = text
		case err == nil:
			told = ""
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// said is empty for what is in order, and for what the other writer has done.
func said(err error) string {
	if err == nil || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return ""
	}
	return err.Error()
}

func (r *Recorder) keep(ctx context.Context) error {
	g, kept, err := current(ctx, r.API, r.Namespace)
	switch {
	case problem.Is(err, problem.ConsentMissing): // a new guard
		return recordAfter(ctx, r.API, r.Namespace, cmp.Or(r.Settle, settling))
	case err != nil || len(kept.refused) == 0:
		return err
	}
	var accounts corev1.ServiceAccountList
	if err := r.Accounts.List(ctx, &accounts, client.UnsafeDisableDeepCopy); err != nil {
		return unread(ctx, err)
	}
	here := map[string]bool{}
	for i := range accounts.Items {
		if a, is := annotated(&accounts.Items[i]); is {
			here[a.digest()] = true
		}
	}
	for digest := range kept.refused {
		if !here[digest] {
			return remake(ctx, r.API, r.Namespace, kept, g)
		}
	}
	return nil
}
