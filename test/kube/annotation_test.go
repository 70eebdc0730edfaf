//go:build unix

package kube_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/association/annotation"
	"github.com/openpodidentity/podid/internal/association/associationtest"
	store "github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/internal/stream"
	tokens "github.com/openpodidentity/podid/internal/token/kube"
	"github.com/openpodidentity/podid/problem"
)

// doors is a pass world with a replica of what finds roles in it, which has the rights that
// its packages say they need.
type doors struct {
	*passWorld
	config *rest.Config
	door   *annotation.Door

	mu      sync.Mutex
	changes map[string]int
}

const podidSystem = "podid-system"

func newDoors(t *testing.T) *doors {
	t.Helper()
	w := &doors{passWorld: newPassWorld(t), changes: map[string]int{}}
	log.SetLogger(logr.Discard())                                                 // it complains once if nobody sets one
	for _, namespace := range []string{"a", "b", "a-b", "ab", "before", "stay"} { // of the suite
		makeNamespace(t, kubernetes.NewForConfigOrDie(w.Config()), namespace)
	}
	for i := range 50 {
		makeNamespace(t, kubernetes.NewForConfigOrDie(w.Config()), fmt.Sprint("ns-", i))
	}
	config, err := w.ConfigFor("podid-auth")
	if err != nil {
		t.Fatal(err)
	}
	w.config = config
	w.grant(t, "podid-auth", "",
		may("podid.dev", "podidentityassociations", "get list watch create patch delete"),
		may("iam.podid.dev", "iamroles", "pass"),
		may("", "serviceaccounts", "get list watch"),
		may("authorization.k8s.io", "subjectaccessreviews", "create"),
		only(may("admissionregistration.k8s.io", "validatingadmissionpolicies validatingadmissionpolicybindings", "get list watch"), annotation.PolicyName))
	w.grant(t, "podid-auth", podidSystem,
		may("", "secrets", "get list watch"), may("", "configmaps", "create"),
		only(may("", "configmaps", "get update"), annotation.RecordName))
	w.door = w.open(t)
	return w
}

func may(group, resources, verbs string) rbac.PolicyRule {
	return rbac.PolicyRule{APIGroups: []string{group}, Resources: strings.Fields(resources), Verbs: strings.Fields(verbs)}
}

func only(rule rbac.PolicyRule, names ...string) rbac.PolicyRule {
	rule.ResourceNames = names
	return rule
}

// grant gives a user rights, in a namespace or everywhere.
func (w *passWorld) grant(t *testing.T, user, namespace string, rules ...rbac.PolicyRule) {
	t.Helper()
	subjects := []rbac.Subject{{APIGroup: rbac.GroupName, Kind: rbac.UserKind, Name: user}}
	if account, is := strings.CutPrefix(user, "system:serviceaccount:"); is {
		of, name, _ := strings.Cut(account, ":")
		subjects = []rbac.Subject{{Kind: rbac.ServiceAccountKind, Namespace: of, Name: name}}
	}
	at := meta.ObjectMeta{Name: "granted:" + strconv.FormatInt(time.Now().UnixNano(), 36), Namespace: namespace}
	objects := []client.Object{
		&rbac.ClusterRole{ObjectMeta: at, Rules: rules},
		&rbac.ClusterRoleBinding{ObjectMeta: at, RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: at.Name}, Subjects: subjects},
	}
	if namespace != "" {
		objects = []client.Object{
			&rbac.Role{ObjectMeta: at, Rules: rules},
			&rbac.RoleBinding{ObjectMeta: at, RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: at.Name}, Subjects: subjects},
		}
	}
	for _, o := range objects {
		if err := w.admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// open is a replica that lives as long as the test.
func (w *doors) open(t *testing.T) *annotation.Door {
	t.Helper()
	known := scheme(t)
	if err := clientgoscheme.AddToScheme(known); err != nil {
		t.Fatal(err)
	}
	kinds := map[client.Object]cache.ByObject{
		&v1alpha1.PodIdentityAssociation{}: {Transform: store.Trim},
		&core.ServiceAccount{}:             {Transform: tokens.TrimServiceAccount},
	}
	annotation.Restrict(kinds)
	informers, err := cache.New(w.config, cache.Options{Scheme: known, ByObject: kinds})
	if err != nil {
		t.Fatal(err)
	}
	api, err := client.New(w.config, client.Options{Scheme: known})
	if err != nil {
		t.Fatal(err)
	}
	objects, err := store.New(t.Context(), informers, api)
	if err != nil {
		t.Fatal(err)
	}
	door, err := annotation.New(t.Context(), informers, api, podidSystem, objects)
	if err != nil {
		t.Fatal(err)
	}
	door.OnChange = func(namespace, account string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changes[namespace+"/"+account]++
	}
	recorder := &annotation.Recorder{API: api, Accounts: informers, Namespace: podidSystem, Settle: 2 * time.Second, Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := informers.Start(ctx); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() { door.Follow(ctx) })
	running.Go(func() {
		if informers.WaitForCacheSync(ctx) {
			recorder.Run(ctx)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	eventually(t, "the door has read what there is", func(context.Context) error {
		if !door.Synced() || !objects.Synced() {
			return errors.New("not yet")
		}
		return nil
	})
	return door
}

// recorded waits for the record of the guard that there is.
func (w *doors) recorded(t *testing.T) {
	t.Helper()
	eventually(t, "the guard is recorded", func(ctx context.Context) error {
		_, err := annotation.Unconsented(ctx, w.admin, podidSystem)
		return err
	})
}

func (w *doors) found(t *testing.T, account, role string) {
	t.Helper()
	eventually(t, account+" has "+role, func(ctx context.Context) error {
		a, err := w.door.Find(ctx, "shop", account)
		if err == nil && a.Role != podid.RoleARN(role) {
			err = fmt.Errorf("it has %s", a.Role)
		}
		return err
	})
}

func (w *doors) refused(t *testing.T, account string, code problem.Code) {
	t.Helper()
	eventually(t, account+" is refused: "+string(code), func(ctx context.Context) error {
		_, err := w.door.Find(ctx, "shop", account)
		if !problem.Is(err, code) {
			return fmt.Errorf("it is %w", err)
		}
		return nil
	})
}

const passPolicy = "../../deploy/policies/pass-role-annotation.yaml"

// unguard takes the policy away, or what you name of it.
func (w *doors) unguard(t *testing.T, does ...string) {
	t.Helper()
	w.run(t, w.Kubectl(t.Context(), does...))
	eventually(t, "nothing is checked", func(ctx context.Context) error {
		return w.as["bob"].Create(ctx, annotated("await", writer), client.DryRunAll)
	})
}

// guardAgain puts it back.
func (w *doors) guardAgain(t *testing.T) {
	t.Helper()
	w.run(t, w.Kubectl(t.Context(), "apply", "-f", passPolicy))
	w.run(t, w.Kubectl(t.Context(), "replace", "-f", passPolicy)) // apply leaves what others have added to a list
	eventually(t, "it is checked again", func(ctx context.Context) error {
		return wants(w.as["bob"].Create(ctx, annotated("await", writer), client.DryRunAll), notWriter)
	})
}

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

// clear deletes all associations and service accounts.
func (w *doors) clear(t *testing.T) {
	t.Helper()
	used := map[string]bool{}
	var objects v1alpha1.PodIdentityAssociationList
	var accounts core.ServiceAccountList
	if err := errors.Join(w.admin.List(t.Context(), &objects), w.admin.List(t.Context(), &accounts)); err != nil {
		t.Fatal(err)
	}
	for _, o := range objects.Items {
		used[o.Namespace] = true
	}
	for _, o := range accounts.Items {
		used[o.Namespace] = true
	}
	for namespace := range used {
		for _, o := range []client.Object{new(v1alpha1.PodIdentityAssociation), new(core.ServiceAccount)} {
			if err := w.admin.DeleteAllOf(t.Context(), o, client.InNamespace(namespace)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (w *doors) make(t *testing.T, user string, o client.Object) {
	t.Helper()
	as := w.admin
	if user != "" {
		as = w.as[user]
	}
	if err := as.Create(t.Context(), o); err != nil {
		t.Fatal(err)
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
