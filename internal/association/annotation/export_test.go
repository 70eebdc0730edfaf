package annotation

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid/internal/association"
)

// ReadGuard is the error of a guard.
func ReadGuard(ctx context.Context, api client.Reader) error {
	_, err := readGuard(ctx, api)
	return err
}

// Bare is a door that is told of events by the test.
func Bare(api client.Client, namespace string, objects association.Store) *Door {
	d := &Door{Store: objects, api: api, namespace: namespace, watch: &watch{api: api, namespace: namespace}, events: make(chan struct{}, 1)}
	d.accounts = newAccounts(d.changed)
	return d
}

// Account tells d that o is so now, or is deleted.
func (d *Door) Account(o *corev1.ServiceAccount, deleted bool) {
	if deleted {
		d.accounts.handler().OnDelete(o)
		return
	}
	d.accounts.handler().OnAdd(o, false)
}

// Guard tells d that its guard has changed.
func (d *Door) Guard(o client.Object) { d.guardHandler().OnAdd(o, false) }

// RecordNow is Record where policies act at once.
func RecordNow(ctx context.Context, api client.Client, namespace string) error {
	return recordAfter(ctx, api, namespace, 0)
}

// DecodeRecord is what a record's text means.
func DecodeRecord(guard, refused string) (again string, digests int, known bool) {
	r := decode(&corev1.ConfigMap{Data: map[string]string{guardKey: guard, refusedKey: refused}})
	g, known := parseGuard(r.guard)
	for d := range r.refused {
		if strings.TrimSpace(d) == "" {
			panic("an empty digest")
		}
	}
	return g.String(), len(r.refused), known
}
