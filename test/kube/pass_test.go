//go:build unix

package kube_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	roleAnnotation    = "eks.amazonaws.com/role-arn"
	accountAnnotation = "podid.dev/service-account"
	accessKey         = core.SecretType("podid.dev/access-key")
)

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
