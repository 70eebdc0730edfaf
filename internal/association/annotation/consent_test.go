package annotation_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/openpodidentity/podid/internal/association/annotation"
	"github.com/openpodidentity/podid/internal/association/memory"
	"github.com/openpodidentity/podid/problem"
)

const namespace = "podid-system"

// cluster is one in which some annotate without the right to pass a role, and the guard is
// taken away, changed and put back. What is said of it here is what the API server does;
// test/kube has a real one.
type cluster struct {
	api  client.Client
	door *annotation.Door

	uid, generation map[string]int // of the parts of the guard
	harmless        map[string]bool
	rightful        map[string]bool // service accounts whose annotation is by somebody who may pass it
	consented       map[annotation.Annotated]bool
	versions, uids  int
}

func newCluster(t failer) *cluster {
	t.Helper()
	objects, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	known := runtime.NewScheme() // a small one: the fake goes through all of it at each call
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, admissionv1.AddToScheme} {
		if err := add(known); err != nil {
			t.Fatal(err)
		}
	}
	c := &cluster{
		api: fake.NewClientBuilder().WithScheme(known).Build(),
		uid: map[string]int{}, generation: map[string]int{}, harmless: map[string]bool{},
		rightful: map[string]bool{}, consented: map[annotation.Annotated]bool{},
	}
	c.door = annotation.Bare(c.api, namespace, objects)
	return c
}

// guard makes, changes or deletes a part of the guard, and perhaps tells the door.
func (c *cluster) guard(t *rapid.T, part, change string) {
	p, b := policy(t, ""), binding(t, "")
	o := map[string]client.Object{"policy": p, "binding": b}[part]
	switch there := c.uid[part] > 0; {
	case there && change == "delete":
		c.uid[part] = 0
		if err := c.api.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	case there: // spoil, restore, upgrade
		harmless := change == "spoil"
		if change != "upgrade" && harmless == c.harmless[part] {
			return
		}
		c.harmless[part] = harmless
		c.generation[part]++
		if err := c.api.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			t.Fatal(err)
		}
		version := o.GetResourceVersion()
		fresh := map[string]client.Object{"policy": policy(t, ""), "binding": binding(t, "")}[part]
		fresh.SetResourceVersion(version)
		fresh.SetUID(o.GetUID())
		fresh.SetGeneration(int64(c.generation[part]))
		spoil(fresh, harmless)
		if err := c.api.Update(t.Context(), fresh); err != nil {
			t.Fatal(err)
		}
		o = fresh
	case change != "restore":
		return
	default:
		c.uids++
		c.uid[part], c.generation[part], c.harmless[part] = c.uids, 1, false
		o.SetUID(types.UID(fmt.Sprint(part, c.uids)))
		if err := c.api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if rapid.Bool().Draw(t, "the watch tells") {
		o.SetResourceVersion(c.next())
		c.door.Guard(o)
	}
}

func (c *cluster) next() string {
	c.versions++
	return strconv.Itoa(c.versions)
}

func (c *cluster) guarded() bool {
	return c.uid["policy"] > 0 && c.uid["binding"] > 0 && !c.harmless["policy"] && !c.harmless["binding"]
}

// annotate sets the annotation of a service account, "" to remove it, as somebody who may
// pass every role, or none.
func (c *cluster) annotate(ctx context.Context, t *rapid.T, account, role string, rightful bool) {
	o := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: account}}
	err := c.api.Get(ctx, client.ObjectKeyFromObject(o), o)
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if was := o.Annotations[annotation.Role]; was == role || role != "" && c.guarded() && !rightful {
		return // nothing changes, or the policy refuses it
	}
	o.Annotations = map[string]string{annotation.Role: role}
	if role == "" {
		o.Annotations = nil
	}
	if err == nil {
		err = c.api.Update(ctx, o)
	} else {
		c.uids++
		o.UID = types.UID(fmt.Sprint("account", c.uids))
		err = c.api.Create(ctx, o)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.rightful[account] = rightful
	c.tell(ctx, t, account)
}

func (c *cluster) tell(ctx context.Context, t *rapid.T, account string) {
	o := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: account}}
	deleted := false
	if err := c.api.Get(ctx, client.ObjectKeyFromObject(o), o); apierrors.IsNotFound(err) {
		deleted = true
	} else if err != nil {
		t.Fatal(err)
	}
	o.ResourceVersion = c.next()
	c.door.Account(o, deleted)
}

func (c *cluster) delete(ctx context.Context, t *rapid.T, account string) {
	o := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: account}}
	if err := client.IgnoreNotFound(c.api.Delete(ctx, o)); err != nil {
		t.Fatal(err)
	}
	c.tell(ctx, t, account)
}

func (c *cluster) consent(ctx context.Context, t *rapid.T) {
	all, err := annotation.Unconsented(ctx, c.api, namespace)
	if problem.Is(err, problem.PassPolicyMissing) || problem.Is(err, problem.ConsentMissing) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	var some []annotation.Annotated
	for _, a := range all {
		if rapid.Bool().Draw(t, "yes") {
			some = append(some, a)
			c.consented[a] = true
		}
	}
	if err := annotation.Consent(ctx, c.api, namespace, some); err != nil {
		t.Fatal(err)
	}
}

// check: whatever happened, a role that is handed out was bound by somebody who may pass
// it, or consented to.
func (c *cluster) check(t *rapid.T) {
	for _, account := range []string{"cart", "till"} {
		found, err := c.door.Find(t.Context(), "shop", account)
		if err != nil {
			for _, code := range []problem.Code{problem.AssociationMissing, problem.PassPolicyMissing, problem.ConsentMissing} {
				if problem.Is(err, code) {
					err = nil
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		a := annotation.Annotated{Namespace: "shop", Name: account, RoleARN: string(found.Role), UID: types.UID(strings.TrimPrefix(found.UID, annotation.Prefix))}
		if !c.rightful[account] && !c.consented[a] {
			t.Fatalf("%s has %s, which nobody has checked", account, found.Role)
		}
	}
}

func TestNoRoleComesOfAnAnnotationThatNobodyChecked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(t)
		c.guard(t, "policy", "restore")
		c.guard(t, "binding", "restore")
		account := rapid.SampledFrom([]string{"cart", "till"})
		role := rapid.SampledFrom([]string{"", "arn:aws:iam::111122223333:role/reader", "arn:aws:iam::111122223333:role/admin"})
		part := rapid.SampledFrom([]string{"policy", "binding"})
		change := rapid.SampledFrom([]string{"delete", "spoil", "restore", "restore", "upgrade"})
		record := func(t *rapid.T) {
			if err := annotation.RecordNow(t.Context(), c.api, namespace); err != nil && !problem.Is(err, problem.PassPolicyMissing) {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"annotate": func(t *rapid.T) {
				c.annotate(t.Context(), t, account.Draw(t, "account"), role.Draw(t, "role"), rapid.Bool().Draw(t, "may pass"))
			},
			// The bypass: while a part of the guard is away, somebody annotates.
			"meanwhile": func(t *rapid.T) {
				which := part.Draw(t, "part")
				c.guard(t, which, rapid.SampledFrom([]string{"delete", "spoil"}).Draw(t, "change"))
				c.annotate(t.Context(), t, "cart", role.Draw(t, "role"), false)
				c.guard(t, which, "restore")
			},
			"delete":       func(t *rapid.T) { c.delete(t.Context(), t, account.Draw(t, "account")) },
			"guard":        func(t *rapid.T) { c.guard(t, part.Draw(t, "part"), change.Draw(t, "change")) },
			"record":       record,
			"record again": record,
			"consent":      func(t *rapid.T) { c.consent(t.Context(), t) },
			"":             c.check,
		})
	})
}
