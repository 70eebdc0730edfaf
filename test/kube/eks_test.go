//go:build unix

package kube_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid/internal/accesskey"
	"github.com/openpodidentity/podid/internal/association/annotation"
)

// TestEKSDoor is the EKS API in a cluster, as aws eks, Terraform and podid itself find it.
func TestEKSDoor(t *testing.T) {
	w := newEKSWorld(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *eksWorld)
	}{
		{"AKeyDoesWhatItsAccountMay", keysMay},
		{"NoBypassOfPass", passBypasses},
		{"KeysAreOfServiceAccountsThatExist", keysOf},
		{"AnnotationsAreListedAndNotChanged", annotationsByREST},
		{"WhatItMakesIsAnObject", madeByREST},
		{"WithTheAWSCLI", withTheCLI},
		{"TheCommandLine", commandLine},
		{"Terraform", terraformDoor},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, w) })
	}
}

func wantsLine(t *testing.T, text, pattern string) {
	t.Helper()
	if !regexp.MustCompile("(?m)" + pattern).MatchString(text) {
		t.Errorf("no line %q in\n%s", pattern, text)
	}
}

func keysMay(t *testing.T, w *eksWorld) {
	w.reset(t)
	deployer, dreamer, platform := w.keys["deployer"], w.keys["dreamer"], w.keys["platform"]
	type to = eks.UpdatePodIdentityAssociationInput
	made := w.bound(t, deployer, "shop", "cart", reader, target)
	denied := func(what, says string, err error) {
		t.Helper()
		if err := wants(err, says); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	// dreamer may do anything with associations in shop, and pass no role.
	if _, err := w.describe(t, dreamer, made.AssociationId); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]to{
		"another role":     {RoleArn: new(writer)},
		"no session tags":  {DisableSessionTags: new(true)},
		"no target":        {TargetRoleArn: new("")},
		"a session policy": {DisableSessionTags: new(true), Policy: new(allow)},
	} {
		denied(what, "AccessDeniedException", w.change(t, dreamer, made, change))
	}
	denied("tags", "may not pass "+reader, w.tag(t, dreamer, made.AssociationArn))
	if err := w.change(t, dreamer, made, to{TargetRoleArn: new(target)}); err != nil {
		t.Errorf("an update that changes nothing: %v", err)
	}
	denied("another role than may be passed", "may not pass "+writer, w.change(t, deployer, made, to{RoleArn: new(writer)}))
	if err := w.change(t, deployer, made, to{TargetRoleArn: new("")}); err != nil {
		t.Error(err)
	}
	_, err := w.bind(t, deployer, podidSystem, "x", reader, "")
	denied("another namespace", "may not create podidentityassociations in namespace podid-system", err)
	_, err = w.bind(t, deployer, "nowhere", "x", reader, "")
	denied("a namespace that is not there, without rights", "AccessDeniedException", err)
	_, err = w.bind(t, platform, "nowhere", "x", reader, "")
	denied("a namespace that is not there", `The namespace "nowhere" does not exist`, err)
	_, err = w.list(t, deployer, "")
	denied("a list of all", "may not list podidentityassociations in all namespaces", err)
	if all, err := w.list(t, deployer, "shop"); err != nil || len(all) != 1 || *all[0].AssociationId != *made.AssociationId {
		t.Errorf("%+v, %v", all, err)
	}
	// One of a namespace that it may not see looks like none.
	elsewhere := w.bound(t, platform, "a", "cart", reader, "")
	_, err = w.describe(t, deployer, elsewhere.AssociationId)
	denied("one of another namespace", "ResourceNotFoundException", err)
	denied("to delete one of another namespace", "ResourceNotFoundException", w.unbind(t, deployer, elsewhere.AssociationId))
	for _, one := range []*ekstypes.PodIdentityAssociation{made, elsewhere} {
		if err := w.unbind(t, platform, one.AssociationId); err != nil {
			t.Error(err)
		}
	}
}

func passBypasses(t *testing.T, w *eksWorld) {
	w.reset(t)
	for _, test := range []struct{ account, role, target, denied string }{
		{"deployer", writer, "", "may not pass " + writer},
		{"deployer", reader, writer, "may not pass " + writer},
		{"deployer", "arn:aws:iam::444455556666:role/theirs", "", "Cross-account pass role is not allowed"},
		{"dreamer", reader, "", "may not pass " + reader},
		{"wildcard", reader, "", "may not pass " + reader},
		{"tenant", reader, "", "may not pass " + reader},
		{"local", reader, "", "may not pass " + reader},
	} {
		_, err := w.bind(t, w.keys[test.account], "shop", "cart", test.role, test.target)
		if err := wants(err, test.denied); err != nil {
			t.Errorf("%s: %v", test.account, err)
		}
	}
	// The command in the message grants it.
	_, err := w.bind(t, w.keys["dreamer"], "shop", "cart", reader, "")
	_, command, found := strings.Cut(fmt.Sprint(err), "an administrator grants it with: ")
	if !found {
		t.Fatal(err)
	}
	sh := exec.CommandContext(t.Context(), "/bin/sh", "-c", strings.TrimSuffix(strings.TrimSpace(command), "."))
	sh.Env = append(w.Kubectl(t.Context()).Env, "PATH="+w.kubectlOnPath(t)+":"+os.Getenv("PATH"))
	w.run(t, sh)
	eventually(t, "the grant counts", func(context.Context) error {
		_, err := w.bind(t, w.keys["dreamer"], "shop", "cart", reader, "")
		return err
	})
}

func keysOf(t *testing.T, w *eksWorld) {
	w.reset(t)
	list := func(key accesskey.Key) error {
		_, err := w.list(t, key, "shop")
		return err
	}
	// Keys for system: names: nobody can write one, and if somebody could, it would be none.
	// The binding is away meanwhile.
	w.run(t, w.Kubectl(t.Context(), "delete", "validatingadmissionpolicybinding", "access-key.podid.dev"))
	defer w.run(t, w.Kubectl(t.Context(), "apply", "-f", "../../deploy/policies/access-key.yaml"))
	for _, account := range []string{"system:masters", "system:serviceaccount:shop:platform", "system:admin", "shop/system:platform", ""} {
		forged := accesskey.New(accesskey.Account{Namespace: "shop", Name: "platform"})
		o := accesskey.Object(podidSystem, forged)
		o.Annotations[accesskey.AccountAnnotation] = account
		eventually(t, "it can be written", func(ctx context.Context) error { return w.admin.Create(ctx, o.DeepCopy()) })
		time.Sleep(300 * time.Millisecond)
		if err := wants(list(forged), "UnrecognizedClientException"); err != nil {
			t.Errorf("a key of %q: %v", account, err)
		}
	}
	// Of another namespace, of another type, and not named after its ID.
	for name, spoil := range map[string]func(*core.Secret){
		"another namespace": func(o *core.Secret) { o.Namespace = "shop" },
		"another type":      func(o *core.Secret) { o.Type = core.SecretTypeOpaque },
		"another name":      func(o *core.Secret) { o.Name = "a" + o.Name },
	} {
		forged := accesskey.New(accesskey.Account{Namespace: "shop", Name: "platform"})
		o := accesskey.Object(podidSystem, forged)
		spoil(o)
		w.make(t, "", o)
		time.Sleep(300 * time.Millisecond)
		if err := wants(list(forged), "UnrecognizedClientException"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// An account that is deleted, and made again by somebody.
	w.make(t, "", annotated("brief", ""))
	w.grant(t, "system:serviceaccount:shop:brief", "shop", may("podid.dev", "podidentityassociations", "list"))
	key := w.create(t, "brief")
	eventually(t, "it may list", func(context.Context) error { return list(key) })
	if err := w.admin.Delete(t.Context(), annotated("brief", "")); err != nil {
		t.Fatal(err)
	}
	if err := wants(list(key), "does not exist any more"); err != nil {
		t.Error(err)
	}
	w.make(t, "bob", annotated("brief", ""))
	if err := wants(list(key), "does not exist any more"); err != nil {
		t.Errorf("the one before's: %v", err)
	}
	// A key that is deleted.
	again := w.create(t, "brief")
	if out, err := w.cli(t, "access-key", "delete", again.ID, "--dry-run"); err != nil || !strings.Contains(out, "would be deleted") {
		t.Errorf("%s, %v", out, err)
	}
	if out, err := w.cli(t, "access-key", "list"); err != nil || !strings.Contains(out, again.ID) {
		t.Errorf("after a dry run: %s, %v", out, err)
	}
	if _, err := w.cli(t, "access-key", "delete", again.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it opens nothing", func(context.Context) error { return wants(list(again), "UnrecognizedClientException") })
}

func annotationsByREST(t *testing.T, w *eksWorld) {
	w.reset(t)
	w.recorded(t)
	w.make(t, "alice", annotated("labelled", reader))
	w.found(t, "labelled", reader)
	platform := w.keys["platform"]
	var one ekstypes.PodIdentityAssociationSummary
	eventually(t, "it is listed", func(context.Context) error {
		all, err := w.list(t, platform, "shop")
		if err == nil && (len(all) != 1 || *all[0].ServiceAccount != "labelled") {
			err = fmt.Errorf("%+v", all)
		}
		if err == nil {
			one = all[0]
		}
		return err
	})
	described, err := w.describe(t, platform, one.AssociationId)
	if err != nil || *described.RoleArn != reader {
		t.Fatalf("%+v, %v", described, err)
	}
	for what, err := range map[string]error{
		"update": w.change(t, platform, described, eks.UpdatePodIdentityAssociationInput{RoleArn: new(writer)}),
		"delete": w.unbind(t, platform, one.AssociationId),
		"tag":    w.tag(t, platform, one.AssociationArn),
	} {
		if err := wants(err, "is the annotation "+annotation.Role+" of service account shop/labelled"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	// An object for the same account is made, and decides.
	w.bound(t, platform, "shop", "labelled", writer, "")
	w.found(t, "labelled", writer)
	if err := w.admin.Delete(t.Context(), annotated("labelled", "")); err != nil {
		t.Fatal(err)
	}
}

func madeByREST(t *testing.T, w *eksWorld) {
	w.reset(t)
	w.bound(t, w.keys["deployer"], "shop", "cart", reader, "")
	o := pia("cart", "")
	if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil || o.Spec.RoleARN != reader {
		t.Fatalf("%+v, %v", o.Spec, err)
	}
	// Who may not pass the role can label it; and a finalizer that was put there is removed.
	for _, patch := range []string{`{"metadata":{"labels":{"a":"b"},"finalizers":["test.podid.dev/hold"]}}`, `{"metadata":{"finalizers":null}}`} {
		if err := w.as["bob"].Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			t.Error(err)
		}
	}
	if _, err := w.bind(t, w.keys["deployer"], "shop", "cart", reader, ""); wants(err, "Association already exists") != nil {
		t.Error(err)
	}
	_, err := w.bind(t, accesskey.New(accesskey.Account{}), "shop", "cart", reader, "")
	if err := wants(err, "UnrecognizedClientException"); err != nil {
		t.Error(err)
	}
	response, err := w.server.Client().Post(w.server.URL+"/clusters/lab/pod-identity-associations", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("unsigned: %s", response.Status)
	}
}
