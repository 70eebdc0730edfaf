//go:build unix

package kube_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

const (
	roleAnnotation    = "eks.amazonaws.com/role-arn"
	accountAnnotation = "podid.dev/service-account"
	accessKey         = core.SecretType("podid.dev/access-key")
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

// TestPass shares one control plane; its last part takes policies away.
func TestPass(t *testing.T) {
	w := newPassWorld(t)
	t.Run("PoliciesFailClosedAndHoldEverywhere", w.failClosed)
	t.Run("Associations", func(t *testing.T) { w.attempts(t, associationAttempts()) })
	t.Run("Annotations", func(t *testing.T) { w.attempts(t, annotationAttempts()) })
	t.Run("AccessKeys", func(t *testing.T) { w.attempts(t, accessKeyAttempts()) })
	t.Run("ServiceAccountsAsUsers", w.serviceAccountUser)
	t.Run("Messages", w.messages)
	t.Run("TheCommandInTheMessageGrants", w.grants)
	t.Run("WhatIsDoneWhileAPolicyIsAwayStays", w.whilePolicyIsAway)
}

const (
	notReader = "may not pass " + reader
	notWriter = "may not pass " + writer
	notTarget = "may not pass " + target
)

func associationAttempts() []attempt {
	type P = *v1alpha1.PodIdentityAssociation
	cart, till := pia("cart", ""), pia("till", "")
	with := func(name, role, target string) P {
		o := pia(name, role)
		o.Spec.TargetRoleARN = v1alpha1.RoleARN(target)
		return o
	}
	generated := pia("", reader)
	generated.GenerateName = "made-"
	const merge = types.MergePatchType
	ssa := func(name, role string) string { return manifest("shop", name, "roleARN: "+role) }
	return []attempt{
		{"CreateWithPass", "alice", creates(pia("new", reader)), ""},
		{"CreateWithout", "bob", creates(pia("new", reader)), notReader},
		{"CreateWithPassOnAnotherRole", "alice", creates(pia("new", writer)), notWriter},
		{"CreateWithPassOnBoth", "alice", creates(with("new", reader, target)), ""},
		{"CreateWithPassOnRoleOnly", "alice", creates(with("new", reader, writer)), notWriter + " (spec.targetRoleARN)"},
		{"CreateWithPassOnTargetOnly", "alice", creates(with("new", writer, target)), notWriter + " (spec.roleARN)"},
		{"CreateWithPassOnEveryRole", "erin", creates(with("new", writer, target)), ""},
		{"WildcardOnPodidDev", "carol", creates(pia("new", reader)), notReader},
		{"WildcardInTheNamespace", "dave", creates(pia("new", reader)), notReader},
		{"PassByRoleBinding", "frank", creates(pia("new", reader)), notReader},
		{"PassIsNoRightToCreate", "alice", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			o := pia("new", reader)
			o.Namespace = "podid-system"
			return as.Create(t.Context(), o)
		}, `cannot create resource "podidentityassociations"`},
		{"GenerateNameWithPass", "alice", creates(generated), ""},
		{"GenerateNameWithout", "bob", creates(generated), notReader},
		{"DryRunWithPass", "alice", creates(pia("new", reader), client.DryRunAll), ""},
		{"DryRunWithout", "bob", creates(pia("new", reader), client.DryRunAll), notReader},
		{"MalformedARN", "erin", creates(pia("new", "reader")), "this is not the ARN of a role"},
		{"MalformedARNWithout", "bob", creates(pia("new", "arn:aws:iam::1:role/x")), "this is not the ARN of a role"},
		{"SessionARN", "erin", creates(pia("new", "arn:aws:sts::111122223333:assumed-role/reader/x")), "this is the ARN of a role session"},
		{"MalformedTarget", "erin", creates(with("new", reader, "*")), "this is not the ARN of a role"},
		{"AStarIsNoWildcard", "alice", creates(pia("new", "arn:aws:iam::111122223333:role/*")), "this is not the ARN of a role"},
		{"AnotherCaseIsAnotherRole", "alice", creates(pia("new", "arn:aws:iam::111122223333:role/Reader")), "may not pass"},

		{"UpdateToPassedRole", "alice", updates(till, func(o P) { o.Spec.RoleARN = reader }), ""},
		{"UpdateToAnotherRole", "alice", updates(cart, func(o P) { o.Spec.RoleARN = writer }), notWriter},
		{"UpdateAddsTarget", "alice", updates(cart, func(o P) { o.Spec.TargetRoleARN = target }), ""},
		{"UpdateOfTargetAlone", "alice", updates(cart, func(o P) { o.Spec.TargetRoleARN = writer }), notWriter + " (spec.targetRoleARN)"},
		{"UpdateOfTargetAloneWithoutTheRole", "alice", updates(till, func(o P) { o.Spec.TargetRoleARN = target }), notWriter + " (spec.roleARN)"},
		{"PatchOfTargetAlone", "bob", patches(cart, merge, `{"spec":{"targetRoleARN":"`+target+`"}}`), notReader},
		{"SessionPolicyDropped", "bob", patches(cart, merge, `{"spec":{"policy":null}}`), notReader},
		{"SessionPolicyDroppedWithPass", "alice", patches(cart, merge, `{"spec":{"policy":null}}`), ""},
		{"SessionTagsBackOn", "bob", patches(cart, merge, `{"spec":{"policy":null,"disableSessionTags":null}}`), notReader},
		{"SessionTagsOff", "alice", patches(till, merge, `{"spec":{"disableSessionTags":true}}`), notWriter},
		{"TagsOfTheSpec", "bob", patches(cart, merge, `{"spec":{"tags":{"team":"b"}}}`), notReader},
		{"JSONPatch", "bob", patches(till, types.JSONPatchType, `[{"op":"replace","path":"/spec/roleARN","value":"`+reader+`"}]`), notReader},
		{"ApplyCreates", "alice", applies(pia("new", ""), ssa("new", reader)), ""},
		{"ApplyCreatesWithout", "bob", applies(pia("new", ""), ssa("new", reader)), notReader},
		{"ApplyChanges", "alice", applies(till, ssa("till", reader)), ""},
		{"ApplyChangesWithout", "bob", applies(till, ssa("till", reader)), notReader},
		{"ApplyDryRun", "bob", applies(till, ssa("till", reader), client.DryRunAll), notReader},
		{"ApplyOfTheSame", "bob", applies(till, ssa("till", writer)), ""},
		{"UpdateDryRun", "bob", updates(till, func(o P) { o.Spec.RoleARN = reader }, client.DryRunAll), notReader},
		{"KubectlApply", "bob", kubectls(ssa("till", reader), "apply", "-f", "-"), notReader},
		{"KubectlApplyWithPass", "alice", kubectls(ssa("till", reader), "apply", "-f", "-"), ""},
		{"KubectlApplyServerSide", "bob", kubectls(ssa("till", reader), "apply", "--server-side", "--force-conflicts", "-f", "-"), notReader},
		{"KubectlReplace", "bob", kubectls(ssa("till", reader), "replace", "-f", "-"), notReader},
		{"KubectlReplaceForce", "bob", kubectls(ssa("till", reader), "replace", "--force", "-f", "-"), notReader},
		{"KubectlReplaceWithPass", "alice", kubectls(ssa("till", reader), "replace", "-f", "-"), ""},
		{"KubectlEdit", "bob", edits("till", writer, reader), notReader},
		{"KubectlEditWithPass", "alice", edits("till", writer, reader), ""},

		{"Label", "bob", patches(cart, merge, `{"metadata":{"labels":{"a":"b"}}}`), ""},
		{"Annotate", "bob", patches(cart, merge, `{"metadata":{"annotations":{"a":"b"}}}`), ""},
		{"KubectlLabel", "bob", kubectls("", "label", "pia", "cart", "a=b"), ""},
		{"KubectlAnnotate", "bob", kubectls("", "annotate", "pia", "cart", "a=b"), ""},
		{"UpdateOfLabels", "bob", updates(cart, func(o P) { o.Labels = map[string]string{"a": "b"} }), ""},
		{"LabelAndRoleAtOnce", "bob", updates(cart, func(o P) { o.Labels = map[string]string{"a": "b"}; o.Spec.RoleARN = writer }), notWriter},
		{"Owner", "bob", updates(cart, func(o P) {
			o.OwnerReferences = []meta.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "x"}}
		}), ""},
		{"FinalizerAddedAndRemoved", "bob", finalizes(cart), ""},
		{"FinalizerOfTheDeletedRemoved", "bob", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			o := pia("cart", "")
			if err := as.Patch(t.Context(), o, client.RawPatch(merge, []byte(`{"metadata":{"finalizers":["test.podid.dev/hold"]}}`))); err != nil {
				return err
			}
			if err := as.Delete(t.Context(), o); err != nil {
				return err
			}
			if err := as.Patch(t.Context(), o, client.RawPatch(merge, []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
				return err
			}
			if err := as.Get(t.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
				return fmt.Errorf("still there: %w", err)
			}
			return nil
		}, ""},
		{"Status", "bob", statusPatched(`{"status":{"externalID":"x"}}`), ""},
		{"StatusCarriesNoSpec", "bob", statusPatched(`{"spec":{"roleARN":"` + writer + `"},"status":{"externalID":"x"}}`), ""},
		{"Delete", "bob", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			return as.Delete(t.Context(), pia("cart", ""))
		}, ""},
		{"DeleteCollection", "bob", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			return as.DeleteAllOf(t.Context(), pia("", ""), client.InNamespace("shop"))
		}, ""},
	}
}

// finalizes adds a finalizer and removes it.
func finalizes(o client.Object) act {
	return func(t *testing.T, w *passWorld, as client.Client, user string) error {
		for _, finalizers := range []string{`["test.podid.dev/hold"]`, `null`} {
			if err := patches(o, types.MergePatchType, `{"metadata":{"finalizers":`+finalizers+`}}`)(t, w, as, user); err != nil {
				return err
			}
		}
		return nil
	}
}

// statusPatched patches the status and sees that it is the only thing to have changed.
func statusPatched(patch string) act {
	return func(t *testing.T, w *passWorld, as client.Client, _ string) error {
		o := pia("cart", "")
		if err := as.Status().Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			return err
		}
		if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		if o.Spec.RoleARN != reader || o.Status.ExternalID != "x" {
			return fmt.Errorf("after it: %+v", o)
		}
		return nil
	}
}

// edits is kubectl edit, whose editor replaces from with to.
func edits(name, from, to string) act {
	return func(t *testing.T, w *passWorld, _ client.Client, user string) error {
		t.Setenv("KUBE_EDITOR", "sed -i s#"+from+"#"+to+"#")
		return w.kubectl(t, user, "", "edit", "pia", name)
	}
}

func annotationAttempts() []attempt {
	type A = *core.ServiceAccount
	cart, till := annotated("cart", ""), annotated("till", "")
	const merge = types.MergePatchType
	set := func(role string) string {
		return `{"metadata":{"annotations":{"` + roleAnnotation + `":"` + role + `"}}}`
	}
	ssa := func(name, role string) string {
		return `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"` + name + `","namespace":"shop","annotations":{"` + roleAnnotation + `":"` + role + `"}}}`
	}
	generated := annotated("", reader)
	generated.GenerateName = "made-"
	return []attempt{
		{"Create", "alice", creates(annotated("new", reader)), ""},
		{"CreateWithout", "bob", creates(annotated("new", reader)), notReader},
		{"CreateWithPassOnAnotherRole", "alice", creates(annotated("new", writer)), notWriter},
		{"CreateWithoutAnnotation", "bob", creates(annotated("new", "")), ""},
		{"CreateWithEmptyAnnotation", "bob", applies(annotated("new", ""), ssa("new", "")), ""},
		{"WildcardOnPodidDev", "carol", creates(annotated("new", reader)), notReader},
		{"WildcardInTheNamespace", "dave", creates(annotated("new", reader)), notReader},
		{"PassByRoleBinding", "frank", creates(annotated("new", reader)), notReader},
		{"GenerateName", "bob", creates(generated), notReader},
		{"DryRun", "bob", creates(annotated("new", reader), client.DryRunAll), notReader},
		{"MalformedARN", "erin", creates(annotated("new", "reader")), "is not the ARN of a role"},
		{"ARNWithBlanks", "erin", creates(annotated("new", " "+reader)), "is not the ARN of a role"},
		{"SessionARN", "erin", creates(annotated("new", "arn:aws:sts::111122223333:assumed-role/reader/x")), "is not the ARN of a role"},
		{"AStarIsNoWildcard", "erin", creates(annotated("new", "*")), "is not the ARN of a role"},
		{"TooLong", "erin", creates(annotated("new", "arn:aws:iam::111122223333:role/"+strings.Repeat("p", 640)+"/x")), "is not the ARN of a role"},
		{"PatchSets", "alice", patches(till, merge, set(reader)), ""},
		{"PatchSetsWithout", "bob", patches(till, merge, set(reader)), notReader},
		{"PatchChanges", "alice", patches(cart, merge, set(writer)), notWriter},
		{"StrategicPatch", "bob", patches(till, types.StrategicMergePatchType, set(reader)), notReader},
		{"UpdateSets", "bob", updates(till, func(o A) { o.Annotations = map[string]string{roleAnnotation: reader} }), notReader},
		{"ApplyCreates", "bob", applies(annotated("new", ""), ssa("new", reader)), notReader},
		{"ApplyCreatesWithPass", "alice", applies(annotated("new", ""), ssa("new", reader)), ""},
		{"ApplySets", "bob", applies(till, ssa("till", reader)), notReader},
		{"ApplySetsWithPass", "alice", applies(till, ssa("till", reader)), ""},
		{"ApplyOfTheSame", "bob", applies(cart, ssa("cart", reader)), ""},
		{"KubectlAnnotate", "bob", kubectls("", "annotate", "sa", "till", roleAnnotation+"="+reader), notReader},
		{"KubectlAnnotateWithPass", "alice", kubectls("", "annotate", "sa", "till", roleAnnotation+"="+reader), ""},
		{"Removed", "bob", patches(cart, merge, `{"metadata":{"annotations":{"`+roleAnnotation+`":null}}}`), ""},
		{"Emptied", "bob", patches(cart, merge, set("")), ""},
		{"RemovedAndSetAgain", "bob", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			if err := as.Patch(t.Context(), annotated("cart", ""), client.RawPatch(merge, []byte(`{"metadata":{"annotations":null}}`))); err != nil {
				return err
			}
			return as.Patch(t.Context(), annotated("cart", ""), client.RawPatch(merge, []byte(set(reader))))
		}, notReader},
		{"UnchangedWhileLabelled", "bob", patches(cart, merge, `{"metadata":{"labels":{"a":"b"}}}`), ""},
		{"UnchangedWhileAnotherIsSet", "bob", patches(cart, merge, `{"metadata":{"annotations":{"a":"b"}}}`), ""},
		{"UnchangedWhileOtherFieldsChange", "bob", updates(cart, func(o A) {
			o.AutomountServiceAccountToken = new(false)
			o.ImagePullSecrets = []core.LocalObjectReference{{Name: "x"}}
			o.Secrets = []core.ObjectReference{{Name: "x"}}
		}), ""},
		{"UnchangedWhileFinalizersChange", "bob", finalizes(cart), ""},
		{"Tokens", "bob", kubectls("", "create", "token", "cart"), ""},
		{"Delete", "bob", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			return as.Delete(t.Context(), annotated("cart", ""))
		}, ""},
	}
}

func accessKeyAttempts() []attempt {
	type S = *core.Secret
	const (
		merge = types.MergePatchType
		not   = "may not impersonate service account shop/deployer"
		other = "may not impersonate service account shop/other"
		none  = "is not a service account, NAMESPACE/NAME"
	)
	k := key("k", "")
	name := func(account string) string {
		return `{"metadata":{"annotations":{"` + accountAnnotation + `":"` + account + `"}}}`
	}
	elsewhere := key("new", "shop/deployer")
	elsewhere.Namespace = "shop"
	opaque := key("new", "shop/deployer")
	opaque.Type = core.SecretTypeOpaque
	generated := key("", "shop/deployer")
	generated.GenerateName = "key-"
	attempts := []attempt{
		{"Create", "grace", creates(key("new", "shop/deployer")), ""},
		{"CreateWithout", "bob", creates(key("new", "shop/deployer")), not},
		{"CreateForAnother", "grace", creates(key("new", "shop/other")), other},
		{"CreateForTheSameNameElsewhere", "grace", creates(key("new", "podid-system/deployer")), "may not impersonate service account podid-system/deployer"},
		{"SuperuserOfTheNamespace", "dave", creates(key("new", "shop/deployer")), ""},
		{"SuperuserOfAnotherNamespace", "dave", creates(key("new", "kube-system/generic-garbage-collector")), "may not impersonate"},
		{"InAnyNamespace", "bob", creates(elsewhere), not},
		{"OtherSecretsAreFree", "bob", creates(opaque), ""},
		{"GenerateName", "bob", creates(generated), not},
		{"DryRun", "bob", creates(key("new", "shop/deployer"), client.DryRunAll), not},
		{"KubectlCreate", "bob", kubectls("", "create", "secret", "generic", "new", "-n", "podid-system", "--type=podid.dev/access-key"), none},
		{"TypeChangedAfterwards", "bob", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			if err := as.Create(t.Context(), opaque.DeepCopy()); err != nil {
				return err
			}
			return as.Patch(t.Context(), key("new", ""), client.RawPatch(merge, []byte(`{"type":"podid.dev/access-key"}`)))
		}, "field is immutable"},
		{"TypeTakenAway", "grace", patches(k, merge, `{"type":"Opaque"}`), "field is immutable"},
		{"AccountChangedAfterwards", "grace", patches(k, merge, name("shop/other")), other},
		{"AccountChangedToOneOfOurs", "grace", func(t *testing.T, w *passWorld, as client.Client, _ string) error {
			if err := w.admin.Create(t.Context(), key("theirs", "shop/other")); err != nil {
				return err
			}
			return as.Patch(t.Context(), key("theirs", ""), client.RawPatch(merge, []byte(name("shop/deployer"))))
		}, ""},
		{"AccountRemoved", "grace", patches(k, merge, `{"metadata":{"annotations":null}}`), none},
		{"AccountAndDataApplied", "bob", applies(k, `{"apiVersion":"v1","kind":"Secret","type":"podid.dev/access-key","metadata":{"name":"k","namespace":"podid-system","annotations":{"`+accountAnnotation+`":"shop/other"}}}`), other},
		{"KeyReplaced", "bob", updates(k, func(o S) { o.Data["secret-access-key"] = []byte("mine") }), not},
		{"KeyReplacedByStringData", "bob", patches(k, merge, `{"stringData":{"secret-access-key":"mine"}}`), not},
		{"KeyReplacedByImpersonator", "grace", patches(k, merge, `{"stringData":{"secret-access-key":"mine"}}`), ""},
		{"DataRemoved", "bob", patches(k, merge, `{"data":null}`), not},
		{"Label", "bob", patches(k, merge, `{"metadata":{"labels":{"a":"b"}}}`), ""},
		{"Annotate", "bob", patches(k, merge, `{"metadata":{"annotations":{"a":"b"}}}`), ""},
		{"FinalizerAddedAndRemoved", "bob", finalizes(k), ""},
		{"Immutable", "bob", patches(k, merge, `{"immutable":true}`), ""},
		{"Delete", "bob", func(t *testing.T, _ *passWorld, as client.Client, _ string) error {
			return as.Delete(t.Context(), k.DeepCopy())
		}, ""},
	}
	// The administrator could impersonate anybody, and still makes no such key.
	for _, account := range []string{
		"", "deployer", "/deployer", "shop/", "shop/a/b", "shop/../kube-system/x", "SHOP/deployer", "shop/deployer ", "*/*", "shop/*",
		"system:admin", "system:masters", "system:serviceaccount:shop:deployer", "system:node:a", "system:serviceaccounts/shop", "shop/system:admin",
		"alice", "user/alice@example.com", "shop/de.p..loyer", "shop/deployer\nshop/other", strings.Repeat("n", 64) + "/deployer",
		"shop/" + strings.Repeat("n", 254),
	} {
		attempts = append(attempts, attempt{"Not" + strings.Map(func(r rune) rune {
			if r == '/' || r == ' ' || r == '\n' {
				return '_'
			}
			return r
		}, account[:min(len(account), 40)]), "alice", func(t *testing.T, w *passWorld, _ client.Client, _ string) error {
			return w.admin.Create(t.Context(), key("new", account))
		}, none})
	}
	return attempts
}

// failClosed sees that no policy has an exception: what cannot be decided is refused, in every namespace.
func (w *passWorld) failClosed(t *testing.T) {
	for kind, is := range map[string][2]string{
		"validatingadmissionpolicies": {
			"{.metadata.name} {.spec.failurePolicy} {.spec.matchConstraints.matchPolicy} {.spec.matchConstraints.namespaceSelector} {.spec.matchConstraints.objectSelector}",
			"Fail Equivalent {} {}"},
		"validatingadmissionpolicybindings": {"{.spec.policyName} {.spec.validationActions}{.spec.matchResources}", `["Deny"]`},
	} {
		var want string
		for _, name := range []string{"access-key", "pass-role-annotation", "pass-role"} {
			want += name + ".podid.dev " + is[1] + "\n"
		}
		out := w.run(t, w.Kubectl(t.Context(), "get", kind, "-o", `jsonpath={range .items[*]}`+is[0]+`{"\n"}{end}`))
		if out != want {
			t.Errorf("%s:\n%s\nwant:\n%s", kind, out, want)
		}
	}
}

// serviceAccountUser is a GitOps controller's account: whom the administrator impersonates is who is asked about.
func (w *passWorld) serviceAccountUser(t *testing.T) {
	w.reset(t)
	const name = "system:serviceaccount:shop:flux"
	config := w.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	as := w.client(t, config)
	w.run(t, w.Kubectl(t.Context(), "create", "rolebinding", "flux", "-n", "shop", "--role=writers", "--serviceaccount=shop:flux"))
	if err := wants(as.Create(t.Context(), pia("new", reader)), name+" "+notReader); err != nil {
		t.Error(err)
	}
	w.run(t, w.Kubectl(t.Context(), "create", "clusterrolebinding", "flux", "--clusterrole=some-roles", "--group=system:serviceaccounts"))
	eventually(t, "the grant to its group counts", func(ctx context.Context) error { return as.Create(ctx, pia("new", reader)) })
}

func (w *passWorld) messages(t *testing.T) {
	w.reset(t)
	withTarget := pia("new", reader)
	withTarget.Spec.TargetRoleARN = writer
	for _, test := range []struct {
		user   string
		o      client.Object
		reason meta.StatusReason
		want   string
	}{
		{"bob", pia("new", reader), meta.StatusReasonForbidden,
			`podidentityassociations.podid.dev "new" is forbidden: ValidatingAdmissionPolicy 'pass-role.podid.dev' with binding 'pass-role.podid.dev' denied request: ` +
				`bob may not pass arn:aws:iam::111122223333:role/reader (spec.roleARN); an administrator grants it with: ` +
				`printf %s '{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"pass:arn:aws:iam::111122223333:role:reader:bob"},` +
				`"rules":[{"apiGroups":["iam.podid.dev"],"resources":["iamroles"],"verbs":["pass"],"resourceNames":["arn:aws:iam::111122223333:role/reader"]}]}' | kubectl create -f -` +
				` && kubectl create clusterrolebinding 'pass:arn:aws:iam::111122223333:role:reader:bob' --clusterrole='pass:arn:aws:iam::111122223333:role:reader:bob' --user='bob'`},
		{"alice", withTarget, meta.StatusReasonForbidden,
			`podidentityassociations.podid.dev "new" is forbidden: ValidatingAdmissionPolicy 'pass-role.podid.dev' with binding 'pass-role.podid.dev' denied request: ` +
				`alice may not pass arn:aws:iam::111122223333:role/team/writer (spec.targetRoleARN); an administrator grants it with: ` +
				`printf %s '{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"pass:arn:aws:iam::111122223333:role:team:writer:alice"},` +
				`"rules":[{"apiGroups":["iam.podid.dev"],"resources":["iamroles"],"verbs":["pass"],"resourceNames":["arn:aws:iam::111122223333:role/team/writer"]}]}' | kubectl create -f -` +
				` && kubectl create clusterrolebinding 'pass:arn:aws:iam::111122223333:role:team:writer:alice' --clusterrole='pass:arn:aws:iam::111122223333:role:team:writer:alice' --user='alice'`},
		{"bob", annotated("new", reader), meta.StatusReasonForbidden,
			`serviceaccounts "new" is forbidden: ValidatingAdmissionPolicy 'pass-role-annotation.podid.dev' with binding 'pass-role-annotation.podid.dev' denied request: ` +
				`bob may not pass arn:aws:iam::111122223333:role/reader (annotation eks.amazonaws.com/role-arn); an administrator grants it with: ` +
				`printf %s '{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"pass:arn:aws:iam::111122223333:role:reader:bob"},` +
				`"rules":[{"apiGroups":["iam.podid.dev"],"resources":["iamroles"],"verbs":["pass"],"resourceNames":["arn:aws:iam::111122223333:role/reader"]}]}' | kubectl create -f -` +
				` && kubectl create clusterrolebinding 'pass:arn:aws:iam::111122223333:role:reader:bob' --clusterrole='pass:arn:aws:iam::111122223333:role:reader:bob' --user='bob'`},
		{"erin", annotated("new", "reader"), meta.StatusReasonInvalid,
			`serviceaccounts "new" is forbidden: ValidatingAdmissionPolicy 'pass-role-annotation.podid.dev' with binding 'pass-role-annotation.podid.dev' denied request: ` +
				`the annotation eks.amazonaws.com/role-arn is not the ARN of a role, arn:aws:iam::ACCOUNT:role/NAME`},
		{"bob", key("new", "shop/deployer"), meta.StatusReasonForbidden,
			`secrets "new" is forbidden: ValidatingAdmissionPolicy 'access-key.podid.dev' with binding 'access-key.podid.dev' denied request: ` +
				`bob may not impersonate service account shop/deployer, for which this access key is; an administrator grants it with: ` +
				`kubectl create role 'impersonate:shop:deployer:bob' --namespace=shop --verb=impersonate --resource=serviceaccounts --resource-name=deployer` +
				` && kubectl create rolebinding 'impersonate:shop:deployer:bob' --namespace=shop --role='impersonate:shop:deployer:bob' --user='bob'`},
		{"grace", key("new", "system:admin"), meta.StatusReasonInvalid,
			`secrets "new" is forbidden: ValidatingAdmissionPolicy 'access-key.podid.dev' with binding 'access-key.podid.dev' denied request: ` +
				`the annotation podid.dev/service-account of an access key is not a service account, NAMESPACE/NAME; keys belong to service accounts, never to users, groups or system: names`},
	} {
		err := w.as[test.user].Create(t.Context(), test.o)
		if err == nil || err.Error() != test.want {
			t.Errorf("%s:\n got %v\nwant %s", test.user, err, test.want)
		}
		if reason := apierrors.ReasonForError(err); reason != test.reason {
			t.Errorf("%s: reason %s, want %s", test.user, reason, test.reason)
		}
	}
}

// grants pastes the command of each message into an administrator's shell, for a user and a role whose names would like to be commands.
func (w *passWorld) grants(t *testing.T) {
	w.reset(t)
	const user, path = "o'neil\"\\%;/ $(reboot)", "arn:aws:iam::111122223333:role/a'b`touch>x`$(touch${IFS}x)%;\"\\n/x"
	w.makeUser(t, user)
	bin := t.TempDir()
	kubectl := w.Kubectl(t.Context())
	script := fmt.Sprintf("#!/bin/sh\nexec %q %q \"$@\"\n", kubectl.Path, kubectl.Args[1])
	if err := os.WriteFile(filepath.Join(bin, "kubectl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	both := pia("granted", reader)
	both.Spec.TargetRoleARN = path
	for _, o := range []client.Object{pia("one", path), both, annotated("two", writer), key("three", "shop/other")} {
		for round := 0; ; round++ {
			err := w.as[user].Create(t.Context(), o.DeepCopyObject().(client.Object))
			if err == nil {
				if round == 0 {
					t.Errorf("%T was free", o)
				}
				break
			}
			_, command, found := strings.Cut(err.Error(), "an administrator grants it with: ")
			if !found || round == 2 {
				t.Fatalf("%T, round %d: %v", o, round, err)
			}
			sh := exec.CommandContext(t.Context(), "/bin/sh", "-c", command)
			sh.Env = append(kubectl.Env, "PATH="+bin+":"+os.Getenv("PATH"))
			sh.Dir = t.TempDir()
			w.run(t, sh)
			if left, err := os.ReadDir(sh.Dir); err != nil || len(left) != 0 {
				t.Fatalf("the command left %v, %v", left, err)
			}
			eventually(t, "the grant counts", func(ctx context.Context) error {
				again := w.as[user].Create(ctx, o.DeepCopyObject().(client.Object), client.DryRunAll)
				if again != nil && again.Error() == err.Error() {
					return again
				}
				return nil
			})
		}
	}
}

// whilePolicyIsAway is why podid-auth serves annotations only while the policy and its binding exist, and asks for consent
// again when they come back: the policy looks at changes, not at what there is.
func (w *passWorld) whilePolicyIsAway(t *testing.T) {
	w.reset(t)
	bob := w.as["bob"]
	set := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"`+roleAnnotation+`":"`+writer+`"}}}`))
	if err := wants(bob.Patch(t.Context(), annotated("till", ""), set), notWriter); err != nil {
		t.Fatal(err)
	}
	w.run(t, w.Kubectl(t.Context(), "delete", "-f", "../../deploy/policies/pass-role-annotation.yaml"))
	eventually(t, "the policy is away", func(ctx context.Context) error { return bob.Patch(ctx, annotated("till", ""), set) })
	if err := wants(bob.Create(t.Context(), pia("new", reader)), notReader); err != nil {
		t.Errorf("the policy on associations went with it: %v", err)
	}
	w.run(t, w.Kubectl(t.Context(), "apply", "-f", "../../deploy/policies/pass-role-annotation.yaml"))
	eventually(t, "the policy is back", func(ctx context.Context) error {
		return wants(bob.Create(ctx, annotated("await", reader), client.DryRunAll), notReader)
	})
	o := annotated("till", "")
	if err := bob.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`))); err != nil {
		t.Errorf("an account that was annotated meanwhile cannot be labelled: %v", err)
	}
	if !maps.Equal(o.Annotations, map[string]string{roleAnnotation: writer}) {
		t.Errorf("annotations %v", o.Annotations)
	}
}
