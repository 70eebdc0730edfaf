package kube_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/test/kube"
)

// passWorld is an API server with the policies. These people may do anything with associations, service accounts
// and Secrets in shop, and RBAC says what else:
//
//	alice   pass on reader and target
//	bob     nothing
//	carol   everything in the group podid.dev, cluster-wide
//	dave    everything at all, but only in shop (cluster-admin by RoleBinding)
//	erin    pass on every role (no resourceNames)
//	frank   pass on reader, but by RoleBinding in shop
//	grace   impersonate on the service account shop/deployer
type passWorld struct {
	*kube.ControlPlane
	admin client.Client
	as    map[string]client.Client
	paths map[string]string // of kubeconfigs
}

func newPassWorld(t *testing.T) *passWorld {
	t.Helper()
	w := &passWorld{ControlPlane: kube.New(t, kube.Options{}), as: map[string]client.Client{}, paths: map[string]string{}}
	// Policies before the kind they guard, as they are installed.
	for _, file := range []string{"policies/pass-role.yaml", "policies/pass-role-annotation.yaml", "policies/access-key.yaml", "crds"} {
		w.run(t, w.Kubectl(t.Context(), "apply", "-f", "../../deploy/"+file))
	}
	w.run(t, w.Kubectl(t.Context(), "wait", "--for=condition=Established", "--timeout=60s", "-f", "../../deploy/crds"))
	w.admin = w.client(t, w.Config())
	w.makeRights(t)
	for _, user := range []string{"alice", "bob", "carol", "dave", "erin", "frank", "grace"} {
		w.makeUser(t, user)
	}
	w.awaitPolicies(t)
	return w
}

func (w *passWorld) client(t testing.TB, config *rest.Config) client.Client {
	t.Helper()
	s := scheme(t)
	if err := clientgoscheme.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	api, err := client.New(config, client.Options{Scheme: s})
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// makeUser gives user a client and a kubeconfig.
func (w *passWorld) makeUser(t *testing.T, user string) {
	t.Helper()
	config, err := w.ConfigFor(user)
	if err != nil {
		t.Fatal(err)
	}
	w.as[user] = w.client(t, config)
	file := clientcmdapi.NewConfig()
	file.Clusters["c"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	file.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
	file.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u", Namespace: "shop"}
	file.CurrentContext = "x"
	w.paths[user] = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*file, w.paths[user]); err != nil {
		t.Fatal(err)
	}
}

func (w *passWorld) makeRights(t *testing.T) {
	t.Helper()
	everybody := []string{"alice", "bob", "carol", "dave", "erin", "frank", "grace", "o'neil\"\\%;/ $(reboot)"}
	all := []string{"*"}
	role := func(name, namespace string, rule rbac.PolicyRule) client.Object {
		if namespace == "" {
			return &rbac.ClusterRole{ObjectMeta: meta.ObjectMeta{Name: name}, Rules: []rbac.PolicyRule{rule}}
		}
		return &rbac.Role{ObjectMeta: meta.ObjectMeta{Name: name, Namespace: namespace}, Rules: []rbac.PolicyRule{rule}}
	}
	bind := func(role, kind, namespace string, users ...string) client.Object {
		var subjects []rbac.Subject
		for _, user := range users {
			subjects = append(subjects, rbac.Subject{APIGroup: rbac.GroupName, Kind: rbac.UserKind, Name: user})
		}
		ref := rbac.RoleRef{APIGroup: rbac.GroupName, Kind: kind, Name: role}
		if namespace == "" {
			return &rbac.ClusterRoleBinding{ObjectMeta: meta.ObjectMeta{Name: role}, RoleRef: ref, Subjects: subjects}
		}
		return &rbac.RoleBinding{ObjectMeta: meta.ObjectMeta{Name: role, Namespace: namespace}, RoleRef: ref, Subjects: subjects}
	}
	pass := func(arns ...string) rbac.PolicyRule {
		return rbac.PolicyRule{APIGroups: []string{"iam.podid.dev"}, Resources: []string{"iamroles"}, Verbs: []string{"pass"}, ResourceNames: arns}
	}
	for _, o := range []client.Object{
		&core.Namespace{ObjectMeta: meta.ObjectMeta{Name: "shop"}},
		&core.Namespace{ObjectMeta: meta.ObjectMeta{Name: "podid-system"}},
		role("writers", "shop", rbac.PolicyRule{APIGroups: []string{"podid.dev", ""}, Verbs: all,
			Resources: []string{"podidentityassociations", "podidentityassociations/status", "serviceaccounts/token", "secrets"}}),
		role("accounts", "shop", rbac.PolicyRule{APIGroups: []string{""}, Resources: []string{"serviceaccounts"},
			Verbs: []string{"get", "list", "create", "update", "patch", "delete", "deletecollection"}}),
		bind("writers", "Role", "shop", everybody...),
		bind("accounts", "Role", "shop", everybody...),
		role("some-roles", "", pass(reader, target)), bind("some-roles", "ClusterRole", "", "alice"),
		role("wildcard", "", rbac.PolicyRule{APIGroups: []string{"podid.dev"}, Resources: all, Verbs: all}), bind("wildcard", "ClusterRole", "", "carol"),
		bind("cluster-admin", "ClusterRole", "shop", "dave"),
		role("any-role", "", pass()), bind("any-role", "ClusterRole", "", "erin"),
		role("here-only", "shop", pass(reader)), bind("here-only", "Role", "shop", "frank"),
		role("deployer", "shop", rbac.PolicyRule{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"impersonate"}, ResourceNames: []string{"deployer"}}),
		bind("deployer", "Role", "shop", "grace"),
		role("keys", "podid-system", rbac.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: all}),
		bind("keys", "Role", "podid-system", everybody...),
	} {
		if err := w.admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitPolicies waits until each of them refuses: a new policy takes a second or so to act.
func (w *passWorld) awaitPolicies(t *testing.T) {
	t.Helper()
	for _, o := range []client.Object{pia("await", reader), annotated("await", reader), key("await", "shop/deployer")} {
		eventually(t, fmt.Sprintf("the policy on %T refuses", o), func(ctx context.Context) error {
			err := w.as["bob"].Create(ctx, o.DeepCopyObject().(client.Object), client.DryRunAll)
			return wants(err, "ValidatingAdmissionPolicy")
		})
	}
}

func (w *passWorld) run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args, err, out)
	}
	return string(out)
}

// kubectl is kubectl as user, with stdin as its standard input.
func (w *passWorld) kubectl(t *testing.T, user, stdin string, args ...string) error {
	t.Helper()
	cmd := w.Kubectl(t.Context(), args...)
	cmd.Env = append(cmd.Env, "KUBECONFIG="+w.paths[user])
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.New(string(out))
	}
	return nil
}

// reset makes the objects anew that the parts change, as the administrator.
func (w *passWorld) reset(t *testing.T) {
	t.Helper()
	for _, o := range []client.Object{new(v1alpha1.PodIdentityAssociation), new(core.ServiceAccount), new(core.Secret)} {
		for _, namespace := range []string{"shop", "podid-system"} {
			if err := w.admin.DeleteAllOf(t.Context(), o, client.InNamespace(namespace)); err != nil {
				t.Fatal(err)
			}
		}
	}
	cart := pia("cart", reader)
	cart.Spec.DisableSessionTags = true
	cart.Spec.Policy = allow
	for _, o := range []client.Object{cart, pia("till", writer), annotated("cart", reader), annotated("till", ""), key("k", "shop/deployer")} {
		if err := w.admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func pia(name, role string) *v1alpha1.PodIdentityAssociation {
	o := &v1alpha1.PodIdentityAssociation{ObjectMeta: meta.ObjectMeta{Name: name, Namespace: "shop"}}
	o.Spec.RoleARN = v1alpha1.RoleARN(role)
	return o
}

func annotated(name, role string) *core.ServiceAccount {
	o := &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: name, Namespace: "shop"}}
	if role != "" {
		o.Annotations = map[string]string{roleAnnotation: role}
	}
	return o
}

func key(name, account string) *core.Secret {
	o := &core.Secret{
		ObjectMeta: meta.ObjectMeta{Name: name, Namespace: "podid-system"}, Type: accessKey,
		StringData: map[string]string{"access-key-id": "AKIDEXAMPLE", "secret-access-key": "not one"},
	}
	if account != "" {
		o.Annotations = map[string]string{accountAnnotation: account}
	}
	return o
}

// attempt is what user does to the objects of reset; denied is a part of the answer, and empty if it is allowed.
type attempt struct {
	name   string
	user   string
	do     func(t *testing.T, w *passWorld, as client.Client, user string) error
	denied string
}

func (w *passWorld) attempts(t *testing.T, attempts []attempt) {
	for _, a := range attempts {
		t.Run(a.name, func(t *testing.T) {
			w.reset(t)
			err := a.do(t, w, w.as[a.user], a.user)
			switch {
			case a.denied == "" && err != nil:
				t.Errorf("%s: %v", a.user, err)
			case a.denied != "":
				if err := wants(err, a.denied); err != nil {
					t.Errorf("%s: %v", a.user, err)
				}
			}
		})
	}
}

type act = func(*testing.T, *passWorld, client.Client, string) error

func creates(o client.Object, options ...client.CreateOption) act {
	return func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
		return as.Create(t.Context(), o.DeepCopyObject().(client.Object), options...)
	}
}

func patches(o client.Object, kind types.PatchType, patch string, options ...client.PatchOption) act {
	return func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
		return as.Patch(t.Context(), o.DeepCopyObject().(client.Object), client.RawPatch(kind, []byte(patch)), options...)
	}
}

// updates reads an object, changes it and sends it whole.
func updates[O client.Object](o O, change func(O), options ...client.UpdateOption) act {
	return func(t *testing.T, w *passWorld, as client.Client, _ string) error {
		o := o.DeepCopyObject().(O)
		if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		change(o)
		return as.Update(t.Context(), o, options...)
	}
}

func applies(o client.Object, text string, options ...client.PatchOption) act {
	return patches(o, types.ApplyPatchType, text, append(options, client.FieldOwner("test"), client.ForceOwnership)...)
}

func kubectls(stdin string, args ...string) act {
	return func(t *testing.T, w *passWorld, _ client.Client, user string) error {
		return w.kubectl(t, user, stdin, args...)
	}
}
