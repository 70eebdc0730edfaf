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
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association/annotation"
	store "github.com/openpodidentity/podid/internal/association/kube"
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
