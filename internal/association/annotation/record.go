package annotation

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/problem"
)

// RecordName is the ConfigMap, in podid's namespace, that holds the record.
const RecordName = "podid-annotations"

// Its keys: which guard the record is of, and what was annotated when that came and
// nobody has consented to, a digest on each line.
const (
	guardKey   = "guard"
	refusedKey = "unconsented"
)

// Annotated is a service account and what it is annotated with. Nothing else of it matters:
// a service account that is made anew, or annotated with another role, is another.
type Annotated struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	RoleARN   string    `json:"roleArn"`
}

// digest keeps the record short: 40,000 fit into a ConfigMap, whoever chose the names.
func (a Annotated) digest() string {
	sum := sha256.Sum256([]byte(string(a.UID) + "\x00" + a.RoleARN))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// record is what was annotated when a guard came, and is not consented to.
type record struct {
	guard   string
	refused map[string]bool // by digest
	object  *corev1.ConfigMap
}

func (r record) of(g guard) bool { return r.guard == g.String() }

func readRecord(ctx context.Context, api client.Reader, namespace string) (record, error) {
	o := new(corev1.ConfigMap)
	if err := read(ctx, api, types.NamespacedName{Namespace: namespace, Name: RecordName}, o); err != nil {
		return record{}, err
	}
	return decode(o), nil
}

// decode never fails: what is not a record is one of no guard, which serves nothing.
func decode(o *corev1.ConfigMap) record {
	r := record{guard: o.Data[guardKey], refused: map[string]bool{}, object: o}
	for line := range strings.Lines(o.Data[refusedKey]) {
		r.refused[strings.TrimSpace(line)] = true
	}
	delete(r.refused, "")
	return r
}

// parseGuard reads what guard.String wrote.
func parseGuard(s string) (g guard, ok bool) {
	var policy, binding string
	if n, err := fmt.Sscanf(strings.ReplaceAll(s, "/", " "), "%s %d %s %d", &policy, &g.policy.generation, &binding, &g.binding.generation); n != 4 || err != nil {
		return guard{}, false
	}
	g.policy.uid, g.binding.uid = types.UID(policy), types.UID(binding)
	return g, g.String() == s
}

// write keeps r unless another has written since it was read.
func (r record) write(ctx context.Context, api client.Client, namespace string) error {
	data := map[string]string{guardKey: r.guard, refusedKey: strings.Join(slices.Sorted(maps.Keys(r.refused)), "\n")}
	var err error
	if r.object == nil || r.object.ResourceVersion == "" {
		err = api.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: RecordName, Labels: map[string]string{"app.kubernetes.io/part-of": "podid"}},
			Data:       data,
		}, owner)
	} else {
		o := r.object.DeepCopy()
		o.Data = data
		err = api.Update(ctx, o, owner)
	}
	if err != nil {
		return fmt.Errorf("write the record of annotations: %w", err)
	}
	return nil
}

const owner = client.FieldOwner("podid")

// survey lists what is annotated, as the API server has it at one moment.
func survey(ctx context.Context, api client.Reader) ([]Annotated, error) {
	const page = 500
	for attempt := 0; ; attempt++ {
		all, err := surveyOnce(ctx, api, page)
		if apierrors.IsResourceExpired(err) && attempt < 3 {
			continue // the pages took too long to be of one moment
		}
		return all, err
	}
}

func surveyOnce(ctx context.Context, api client.Reader, page int64) ([]Annotated, error) {
	var all []Annotated
	for next := ""; ; {
		var accounts corev1.ServiceAccountList
		if err := api.List(ctx, &accounts, client.Limit(page), client.Continue(next)); err != nil {
			return nil, fmt.Errorf("list service accounts: %w", err)
		}
		for i := range accounts.Items {
			if a, is := annotated(&accounts.Items[i]); is {
				all = append(all, a)
			}
		}
		if next = accounts.Continue; next == "" {
			return all, nil
		}
	}
}

func annotated(o *corev1.ServiceAccount) (Annotated, bool) {
	role := o.Annotations[Role]
	if len(role) > longest {
		role = role[:longest]
	}
	return Annotated{o.Namespace, o.Name, o.UID, role}, role != ""
}

// longest is more than an ARN has, so that what was cut to it is none: nobody shall fill
// the memory with annotations.
const longest = 641

// renew is the record of guard g, made of the one before and of what is annotated now.
func renew(before record, g guard, now []Annotated) record {
	was, known := parseGuard(before.guard)
	same := known && g.follows(was)
	after := record{guard: g.String(), refused: map[string]bool{}, object: before.object}
	for _, a := range now {
		// Where nothing was unguarded in between, all that is new was checked. And what is
		// not annotated any more is forgotten: to annotate it again is checked as well.
		if d := a.digest(); !same || before.refused[d] {
			after.refused[d] = true
		}
	}
	return after
}

// Record makes the record of the guard that there is now, unless it is made: it waits
// until every API server has had the time to act on the guard, and takes down what is
// annotated by then. The error is pass-policy-missing while there is no guard.
func Record(ctx context.Context, api client.Client, namespace string) error {
	return recordAfter(ctx, api, namespace, settling)
}

// settling is how long a policy may take to act: each API server has a watch of it.
const settling = 10 * time.Second

func recordAfter(ctx context.Context, api client.Client, namespace string, wait time.Duration) error {
	g, err := readGuard(ctx, api)
	if err != nil {
		return err
	}
	before, err := readRecord(ctx, api, namespace)
	if err != nil || before.of(g) {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
	}
	return remake(ctx, api, namespace, before, g)
}

// remake writes the record of g, which is there since before now.
func remake(ctx context.Context, api client.Client, namespace string, before record, g guard) error {
	now, err := survey(ctx, api)
	if err != nil {
		return err
	}
	return renew(before, g, now).write(ctx, api, namespace)
}

// Unconsented lists what is annotated and was so before anything guarded it. The error is
// pass-policy-missing while nothing does, and consent-missing while there is no record
// of what does, which podid-auth makes within a minute.
func Unconsented(ctx context.Context, api client.Reader, namespace string) ([]Annotated, error) {
	_, r, err := current(ctx, api, namespace)
	if err != nil {
		return nil, err
	}
	all, err := survey(ctx, api)
	if err != nil {
		return nil, err
	}
	var out []Annotated
	for _, a := range all {
		if r.refused[a.digest()] {
			out = append(out, a)
		}
	}
	return out, nil
}

// Judge reads the guard and its record, and returns what they say of a service account:
// whether its annotation gives it a role, and the problem if not.
func Judge(ctx context.Context, api client.Reader, namespace string) (func(*corev1.ServiceAccount) error, error) {
	r, err := newReading(ctx, api, namespace)
	if err != nil {
		return nil, err
	}
	return func(o *corev1.ServiceAccount) error {
		a := newAccount(o)
		if a == nil {
			return association.Missing(o.Namespace, o.Name)
		}
		if err := a.invalid(); err != nil {
			return err
		}
		return r.says(a)
	}, nil
}

// Consent notes that somebody consents to what is annotated so. Others that write at the
// same time are not overwritten.
func Consent(ctx context.Context, api client.Client, namespace string, to []Annotated) error {
	for attempt := 0; ; attempt++ {
		_, r, err := current(ctx, api, namespace)
		if err != nil {
			return err
		}
		for _, a := range to {
			delete(r.refused, a.digest())
		}
		err = r.write(ctx, api, namespace)
		if !apierrors.IsConflict(err) || attempt == 10 {
			return err
		}
	}
}

// current is the guard and its record.
func current(ctx context.Context, api client.Reader, namespace string) (guard, record, error) {
	g, err := readGuard(ctx, api)
	if err != nil {
		return guard{}, record{}, err
	}
	r, err := readRecord(ctx, api, namespace)
	if err != nil {
		return guard{}, record{}, err
	}
	if !r.of(g) {
		return g, r, problem.New(problem.ConsentMissing, "it is not recorded yet what was annotated before the policy %s came", PolicyName).
			Because("the policy is new, and podid-auth makes the record some seconds after it came").
			Fixed("wait a minute; if this stays, look at the log of podid-auth's leader")
	}
	return g, r, nil
}
