//go:build unix

package kube_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/association/annotation"
	"github.com/openpodidentity/podid/internal/association/associationtest"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// TestAnnotations shares one control plane.
func TestAnnotations(t *testing.T) {
	w := newDoors(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *doors)
	}{
		{"WhatIsAnnotatedAlreadyNeedsConsent", consentFirst},
		{"AnAnnotationThatWasCheckedBindsItsRole", checkedAnnotation},
		{"AnObjectBeatsAnAnnotation", objectBeats},
		{"AnnotatingWhileThePolicyIsAwayBindsNothing", bypasses},
		{"WhatIsRemovedAndSetAgainIsChecked", setAgain},
		{"WhatCannotBeARoleIsRefusedByCode", oddAnnotations},
		{"AnnotationsAreListedInTheirPlaces", listed},
		{"AnAPIServerThatIsAwayRefusesNobodyItKnows", annotationsWhileAway},
		{"Objects", func(t *testing.T, w *doors) {
			associationtest.Run(t, func(t *testing.T) association.Store {
				w.clear(t)
				return w.open(t)
			})
		}},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, w) })
	}
}

func consentFirst(t *testing.T, w *doors) {
	w.clear(t)
	// As if the door were switched on now: the record is of what there is.
	w.make(t, "alice", annotated("cart", reader))
	w.make(t, "", annotated("till", writer))
	record := &core.ConfigMap{ObjectMeta: meta.ObjectMeta{Namespace: podidSystem, Name: annotation.RecordName}}
	if err := client.IgnoreNotFound(w.admin.Delete(t.Context(), record)); err != nil {
		t.Fatal(err)
	}
	w.recorded(t)
	w.refused(t, "cart", problem.ConsentMissing)
	w.refused(t, "till", problem.ConsentMissing)
	all, err := annotation.Unconsented(t.Context(), w.admin, podidSystem)
	if err != nil || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	for _, a := range all {
		if a.Name == "cart" {
			if err := annotation.Consent(t.Context(), w.admin, podidSystem, []annotation.Annotated{a}); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.found(t, "cart", reader)
	w.refused(t, "till", problem.ConsentMissing)
	if err := w.as["bob"].Patch(t.Context(), annotated("till", ""), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`))); err != nil {
		t.Errorf("who may not pass the role can still label: %v", err)
	}
	w.refused(t, "till", problem.ConsentMissing)
}

func checkedAnnotation(t *testing.T, w *doors) {
	w.clear(t)
	w.recorded(t)
	o := annotated("new", reader)
	w.make(t, "alice", o)
	// At once, whether or not the watch has told of it.
	a, err := w.door.Find(t.Context(), "shop", "new")
	if err != nil || a.Role != reader || a.UID != "annotation-"+string(o.UID) || association.Revision(a.Version) < association.Revision(o.ResourceVersion) {
		t.Fatalf("%+v, %v", a, err)
	}
	eventually(t, "it is told", func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.changes["shop/new"] == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	if heard := w.door.Heard("shop", "new"); heard.UID != a.UID {
		t.Errorf("heard %v", heard)
	}
	if err := w.as["bob"].Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":null}}`))); err != nil {
		t.Fatal(err)
	}
	w.refused(t, "new", problem.AssociationMissing)
	if heard := w.door.Heard("shop", "new"); heard.UID != "" || heard.Revision < association.Revision(o.ResourceVersion) {
		t.Errorf("heard %v after version %s", heard, o.ResourceVersion)
	}
}

func objectBeats(t *testing.T, w *doors) {
	w.clear(t)
	w.recorded(t)
	w.make(t, "alice", annotated("cart", reader))
	w.found(t, "cart", reader)
	o := pia("cart", writer)
	w.make(t, "", o)
	w.found(t, "cart", writer)
	before := w.door.Heard("shop", "cart")
	if err := w.admin.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	w.found(t, "cart", reader)
	eventually(t, "the version tells the annotation from the object that hid it", func(context.Context) error {
		if after := w.door.Heard("shop", "cart"); !before.Older(after) || !strings.HasPrefix(after.UID, annotation.Prefix) {
			return fmt.Errorf("%v after %v", after, before)
		}
		return nil
	})
	a, err := w.door.FindAtLeast(t.Context(), "shop", "cart", stream.Version{Revision: before.Revision})
	if err != nil || association.VersionOf(a).Older(before) {
		t.Errorf("%+v, %v", a, err)
	}
	// One that breaks a rule hides it as well: what somebody wrote last is not to be guessed.
	spoilt := pia("cart", reader)
	spoilt.Spec.Policy, spoilt.Spec.DisableSessionTags = `{"a":1}`, true
	w.make(t, "", spoilt)
	w.refused(t, "cart", problem.SessionPolicyInvalid)
}

// bypasses: bob, who may pass nothing, annotates while a part of the guard is away or
// harmless; then it is as it was.
func bypasses(t *testing.T, w *doors) {
	for name, does := range map[string][]string{
		"ThePolicy":      {"delete", "validatingadmissionpolicy", annotation.PolicyName},
		"TheBinding":     {"delete", "validatingadmissionpolicybinding", annotation.PolicyName},
		"ABindingOfLess": {"patch", "validatingadmissionpolicybinding", annotation.PolicyName, "--type=merge", `-p={"spec":{"validationActions":["Audit"]}}`},
		"APolicyOfLess":  {"patch", "validatingadmissionpolicy", annotation.PolicyName, "--type=merge", `-p={"spec":{"matchConditions":[{"name":"never","expression":"false"}]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			w.clear(t)
			w.recorded(t)
			w.make(t, "alice", annotated("cart", reader))
			w.found(t, "cart", reader)
			served := w.door.Heard("shop", "cart")

			w.unguard(t, does...)
			w.refused(t, "cart", problem.PassPolicyMissing)
			eventually(t, "agents are told", func(context.Context) error {
				if now := w.door.Heard("shop", "cart"); now.UID != "" || !served.Older(now) {
					return fmt.Errorf("%v after %v", now, served)
				}
				return nil
			})
			w.make(t, "bob", annotated("till", writer))
			w.refused(t, "till", problem.PassPolicyMissing)
			page, _, err := w.door.List(t.Context(), association.Filter{Namespace: "shop"}, "", 10)
			if err != nil || len(page) != 0 {
				t.Errorf("listed: %v, %v", page, err)
			}

			w.guardAgain(t)
			w.refused(t, "till", problem.ConsentMissing)
			w.recorded(t)
			if err := w.as["bob"].Patch(t.Context(), annotated("till", ""), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`))); err != nil {
				t.Fatal(err)
			}
			w.refused(t, "till", problem.ConsentMissing)
			w.refused(t, "cart", problem.ConsentMissing) // nobody can tell it from till
			replica := w.open(t)
			if a, err := replica.Find(t.Context(), "shop", "till"); !problem.Is(err, problem.ConsentMissing) {
				t.Errorf("another replica: %+v, %v", a, err)
			}
			w.make(t, "alice", annotated("new", reader))
			w.found(t, "new", reader)
		})
	}
}

func setAgain(t *testing.T, w *doors) {
	w.clear(t)
	w.unguard(t, "delete", "-f", passPolicy)
	w.make(t, "bob", annotated("till", reader))
	w.guardAgain(t)
	w.recorded(t)
	w.refused(t, "till", problem.ConsentMissing)
	remove := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":null}}`))
	if err := w.as["bob"].Patch(t.Context(), annotated("till", ""), remove); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is forgotten", func(ctx context.Context) error {
		record := new(core.ConfigMap)
		err := w.admin.Get(ctx, types.NamespacedName{Namespace: podidSystem, Name: annotation.RecordName}, record)
		if err == nil && record.Data["unconsented"] != "" {
			err = fmt.Errorf("record %q", record.Data)
		}
		return err
	})
	set := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"`+annotation.Role+`":"`+reader+`"}}}`))
	if err := wants(w.as["bob"].Patch(t.Context(), annotated("till", ""), set), notReader); err != nil {
		t.Error(err)
	}
	if err := w.as["alice"].Patch(t.Context(), annotated("till", ""), set); err != nil {
		t.Fatal(err)
	}
	w.found(t, "till", reader)
}

func oddAnnotations(t *testing.T, w *doors) {
	w.clear(t)
	w.unguard(t, "delete", "-f", passPolicy)
	long := annotated("long", reader+strings.Repeat("a", 200_000))
	odd := annotated("odd", " "+reader)
	other := annotated("other", reader)
	other.Namespace = "podid-system"
	for _, o := range []client.Object{long, odd, other} {
		w.make(t, "", o)
	}
	huge := annotated("huge", strings.Repeat("a", 1<<20))
	if err := wants(w.admin.Create(t.Context(), huge), "Too long"); err != nil {
		t.Error(err)
	}
	w.guardAgain(t)
	w.recorded(t)
	w.refused(t, "odd", problem.AssociationInvalid)
	_, err := w.door.Find(t.Context(), "shop", "long")
	if !problem.Is(err, problem.AssociationInvalid) && !problem.Is(err, problem.AssociationMissing) || len(err.Error()) > 3000 {
		t.Errorf("a long one: %.300v", err)
	}
	// That of another namespace is of no use here.
	w.refused(t, "other", problem.AssociationMissing)
	if _, err := w.door.Find(t.Context(), "..", "cart"); !problem.Is(err, problem.AssociationMissing) {
		t.Errorf("a name that is a path: %v", err)
	}
}

func listed(t *testing.T, w *doors) {
	w.clear(t)
	w.recorded(t)
	var want []string
	for i := range 20 {
		name := fmt.Sprintf("sa-%02d", i)
		if i%3 == 0 {
			w.make(t, "alice", annotated(name, reader))
		}
		if i%2 == 0 {
			w.make(t, "alice", pia(name, target))
		}
		if i%3 == 0 || i%2 == 0 {
			want = append(want, name)
		}
	}
	w.found(t, "sa-15", reader)
	for _, limit := range []int{1, 2, 3, 7, 100} {
		eventually(t, fmt.Sprint("all are listed, in pages of ", limit), func(ctx context.Context) error {
			var got []string
			for cursor := ""; ; {
				page, next, err := w.door.List(ctx, association.Filter{Namespace: "shop"}, cursor, limit)
				if err != nil || len(page) > limit {
					return fmt.Errorf("%d of %d: %w", len(page), limit, err)
				}
				for _, a := range page {
					got = append(got, a.ServiceAccount)
					again, err := w.door.Get(ctx, a.ID())
					if err != nil || again.UID != a.UID || again.Role != a.Role {
						return fmt.Errorf("%s: %+v, %w", a.ID(), again, err)
					}
				}
				if cursor = next; cursor == "" {
					break
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				return fmt.Errorf("%v, want %v", got, want)
			}
			return nil
		})
	}
	a, err := w.door.Find(t.Context(), "shop", "sa-15")
	if err != nil {
		t.Fatal(err)
	}
	nothing := func(*podid.Association) error { return nil }
	if _, err := w.door.Update(t.Context(), a.ID(), nothing); !problem.Is(err, problem.RequestInvalid) || !strings.Contains(err.Error(), annotation.Role) {
		t.Errorf("update: %v", err)
	}
	if _, err := w.door.Delete(t.Context(), a.ID()); !problem.Is(err, problem.RequestInvalid) || !strings.Contains(err.Error(), "kubectl annotate") {
		t.Errorf("delete: %v", err)
	}
}

func annotationsWhileAway(t *testing.T, w *doors) {
	w.clear(t)
	w.recorded(t)
	w.make(t, "alice", annotated("cart", reader))
	w.found(t, "cart", reader)
	eventually(t, "the watch has told of it", func(context.Context) error {
		if w.door.Heard("shop", "cart").UID == "" {
			return errors.New("not yet")
		}
		return nil
	})
	w.found(t, "cart", reader)
	w.StopAPIServer()
	a, err := w.door.Find(t.Context(), "shop", "cart")
	_, unknown := w.door.Find(t.Context(), "shop", "unknown")
	if startErr := w.StartAPIServer(t.Context()); startErr != nil {
		t.Fatal(startErr)
	}
	if err != nil || a.Role != reader {
		t.Errorf("a known one: %+v, %v", a, err)
	}
	if !problem.Is(unknown, problem.ClusterUnavailable) {
		t.Errorf("an unknown one: %v", unknown)
	}
}
