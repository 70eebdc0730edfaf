//go:build unix

package kube_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/accesskey"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/association/annotation"
	"github.com/openpodidentity/podid/internal/eksapi"
)

// eksWorld is a cluster whose EKS API is served as podid-auth serves it, with the rights
// that its packages say they need. Keys act as these accounts of shop, which may do
// anything with associations there, and what else:
//
//	deployer   pass on reader and target
//	dreamer    nothing
//	wildcard   everything in the group podid.dev, cluster-wide
//	tenant     everything at all, but only in shop (cluster-admin by RoleBinding)
//	local      pass on reader, but by RoleBinding in shop
//	platform   everything with associations everywhere, and pass on every role
type eksWorld struct {
	*doors
	server *httptest.Server
	bundle string // the server's CA, a file
	keys   map[string]accesskey.Key
	podid  string // the program
}

const region = "eu-central-1"

func newEKSWorld(t *testing.T) *eksWorld {
	t.Helper()
	w := &eksWorld{doors: newDoors(t), keys: map[string]accesskey.Key{}}
	accounts := []string{"deployer", "dreamer", "wildcard", "tenant", "local", "platform"}
	pass := only(may("iam.podid.dev", "iamroles", "pass"), reader, target)
	for _, name := range accounts {
		w.make(t, "", annotated(name, ""))
		user := "system:serviceaccount:shop:" + name
		w.grant(t, user, "shop", may("podid.dev", "podidentityassociations", "get list create patch delete"))
		switch name {
		case "deployer":
			w.grant(t, user, "", pass)
		case "wildcard":
			w.grant(t, user, "", may("podid.dev", "*", "*"))
		case "tenant":
			w.grant(t, user, "shop", may("*", "*", "*"))
		case "local":
			w.grant(t, user, "shop", pass)
		case "platform":
			w.grant(t, user, "", may("podid.dev", "podidentityassociations", "get list create patch delete"), may("iam.podid.dev", "iamroles", "pass"))
		}
	}
	w.build(t)
	w.serve(t)
	for _, name := range accounts {
		w.keys[name] = w.create(t, name)
	}
	w.configure(t)
	return w
}

// serve is what podid-auth has on :8444.
func (w *eksWorld) serve(t *testing.T) {
	t.Helper()
	keys, err := accesskey.Informer(w.config, podidSystem)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.GetInformer(t.Context(), new(core.Secret)); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := keys.Start(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	api, err := client.New(w.config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	door := &accesskey.Door{Namespace: podidSystem, Region: region, Keys: keys, API: api}
	w.server = httptest.NewTLSServer(&eksapi.Handler{
		Cluster: podid.Cluster{Name: "lab", Region: region, Account: "111122223333"},
		Store:   door.Store(w.door), Access: door.Access, PassRole: door.PassRole, Caller: accesskey.Caller,
		Log: slog.New(slog.NewTextHandler(testLog{t}, nil)),
	})
	t.Cleanup(w.server.Close)
	w.bundle = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(w.bundle, w.certificate(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *eksWorld) certificate() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.server.Certificate().Raw})
}

type testLog struct{ t *testing.T }

func (l testLog) Write(line []byte) (int, error) {
	l.t.Log(string(bytes.TrimSpace(line)))
	return len(line), nil
}

// configure is what an installation has that the command line reads.
func (w *eksWorld) configure(t *testing.T) {
	t.Helper()
	for name, data := range map[string]map[string]string{
		"podid":    {"clusterName": "lab", "region": region, "account": "111122223333", "annotations": "true"},
		"podid-ca": {"ca.crt": string(w.certificate())},
	} {
		w.make(t, "", &core.ConfigMap{ObjectMeta: meta.ObjectMeta{Namespace: podidSystem, Name: name}, Data: data})
	}
}

func (w *eksWorld) build(t *testing.T) {
	t.Helper()
	w.podid = filepath.Join(t.TempDir(), "podid")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", w.podid, "./cmd/podid")
	build.Dir = "../.."
	w.run(t, build)
}

// cli is podid as the administrator.
func (w *eksWorld) cli(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), w.podid, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+w.Kubeconfig(), "XDG_CACHE_HOME="+t.TempDir(), "NO_COLOR=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%v: %w: %s", args, err, &errs)
	}
	return out.String(), nil
}

// create is podid access-key create.
func (w *eksWorld) create(t *testing.T, account string) accesskey.Key {
	t.Helper()
	out, err := w.cli(t, "access-key", "create", "--service-account", "shop/"+account, "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ AccessKeyID, SecretAccessKey string }
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	key := accesskey.Key{ID: made.AccessKeyID, Secret: made.SecretAccessKey}
	eventually(t, "the key is known", func(context.Context) error {
		if _, err := w.list(t, key, "nowhere"); err != nil && strings.Contains(err.Error(), "UnrecognizedClientException") {
			return err
		}
		return nil
	})
	return key
}

// sdk is the EKS API for who has a key.
func (w *eksWorld) sdk(key accesskey.Key) *eks.Client {
	return eks.New(eks.Options{
		Region: region, BaseEndpoint: &w.server.URL, HTTPClient: w.server.Client(), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, ""),
	})
}

func (w *eksWorld) list(t *testing.T, key accesskey.Key, namespace string) ([]ekstypes.PodIdentityAssociationSummary, error) {
	t.Helper()
	input := &eks.ListPodIdentityAssociationsInput{ClusterName: new("lab")}
	if namespace != "" {
		input.Namespace = &namespace
	}
	out, err := w.sdk(key).ListPodIdentityAssociations(t.Context(), input)
	if err != nil {
		return nil, err
	}
	return out.Associations, nil
}

// bind is create-pod-identity-association, without a target if that is empty.
func (w *eksWorld) bind(t *testing.T, key accesskey.Key, namespace, account, role, target string) (*ekstypes.PodIdentityAssociation, error) {
	t.Helper()
	input := &eks.CreatePodIdentityAssociationInput{ClusterName: new("lab"), Namespace: &namespace, ServiceAccount: &account, RoleArn: &role}
	if target != "" {
		input.TargetRoleArn = &target
	}
	out, err := w.sdk(key).CreatePodIdentityAssociation(t.Context(), input)
	if err != nil {
		return nil, err
	}
	return out.Association, nil
}

func (w *eksWorld) bound(t *testing.T, key accesskey.Key, namespace, account, role, target string) *ekstypes.PodIdentityAssociation {
	t.Helper()
	a, err := w.bind(t, key, namespace, account, role, target)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// change is update-pod-identity-association of a.
func (w *eksWorld) change(t *testing.T, key accesskey.Key, a *ekstypes.PodIdentityAssociation, to eks.UpdatePodIdentityAssociationInput) error {
	t.Helper()
	to.ClusterName, to.AssociationId = a.ClusterName, a.AssociationId
	_, err := w.sdk(key).UpdatePodIdentityAssociation(t.Context(), &to)
	return err
}

func (w *eksWorld) unbind(t *testing.T, key accesskey.Key, id *string) error {
	t.Helper()
	_, err := w.sdk(key).DeletePodIdentityAssociation(t.Context(), &eks.DeletePodIdentityAssociationInput{ClusterName: new("lab"), AssociationId: id})
	return err
}

func (w *eksWorld) describe(t *testing.T, key accesskey.Key, id *string) (*ekstypes.PodIdentityAssociation, error) {
	t.Helper()
	out, err := w.sdk(key).DescribePodIdentityAssociation(t.Context(), &eks.DescribePodIdentityAssociationInput{ClusterName: new("lab"), AssociationId: id})
	if err != nil {
		return nil, err
	}
	return out.Association, nil
}

func (w *eksWorld) tag(t *testing.T, key accesskey.Key, arn *string) error {
	t.Helper()
	_, err := w.sdk(key).TagResource(t.Context(), &eks.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"a": "b"}})
	return err
}

// aws is aws eks with a key.
func (w *eksWorld) aws(t *testing.T, key accesskey.Key, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "aws", append([]string{"eks"}, args...)...)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "AWS_") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, "AWS_ENDPOINT_URL_EKS="+w.server.URL, "AWS_CA_BUNDLE="+w.bundle, "AWS_REGION="+region, "AWS_DEFAULT_REGION="+region,
		"AWS_ACCESS_KEY_ID="+key.ID, "AWS_SECRET_ACCESS_KEY="+key.Secret, "AWS_MAX_ATTEMPTS=1",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_PAGER=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("aws eks %v: %w: %s", args, err, out)
	}
	return string(out), nil
}

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

// reset leaves no association.
func (w *eksWorld) reset(t *testing.T) {
	t.Helper()
	if err := w.admin.DeleteAllOf(t.Context(), pia("", ""), client.InNamespace("shop")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the door has heard of it", func(ctx context.Context) error {
		left, _, err := w.door.Store.List(ctx, association.Filter{Namespace: "shop"}, "", 100)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d are left", len(left))
		}
		return err
	})
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

// kubectlOnPath is a folder with a kubectl.
func (w *eksWorld) kubectlOnPath(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	kubectl := w.Kubectl(t.Context())
	script := fmt.Sprintf("#!/bin/sh\nexec %q %q \"$@\"\n", kubectl.Path, kubectl.Args[1])
	if err := os.WriteFile(filepath.Join(bin, "kubectl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return bin
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

func withTheCLI(t *testing.T, w *eksWorld) {
	needAWS(t)
	w.reset(t)
	deployer := w.keys["deployer"]
	out, err := w.aws(t, deployer, "create-pod-identity-association", "--cluster-name", "lab", "--namespace", "shop",
		"--service-account", "cart", "--role-arn", reader, "--query", "association.associationId", "--output", "text")
	if err != nil {
		t.Fatal(err)
	}
	id := []string{"--cluster-name", "lab", "--association-id", strings.TrimSpace(out)}
	_, err = w.aws(t, w.keys["wildcard"], append([]string{"update-pod-identity-association", "--disable-session-tags"}, id...)...)
	if err := wants(err, "An error occurred (AccessDeniedException)"); err != nil {
		t.Error(err)
	}
	if out, err := w.aws(t, deployer, append([]string{"delete-pod-identity-association"}, id...)...); err != nil || !strings.Contains(out, reader) {
		t.Errorf("%s, %v", out, err)
	}
}

func needAWS(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("aws"); err != nil {
		t.Skip("this machine has no aws")
	}
}

func commandLine(t *testing.T, w *eksWorld) {
	w.reset(t)
	w.recorded(t)
	w.bound(t, w.keys["deployer"], "shop", "by-rest", reader, "")
	w.make(t, "alice", pia("by-object", reader))
	for _, name := range []string{"by-annotation", "by-object"} {
		w.make(t, "alice", annotated(name, reader))
	}
	out, err := w.cli(t, "get", "associations", "-n", "shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"by-annotation .*annotation .*ok", "by-object .*object .*ok", "by-object .*annotation .*association-shadowed", "by-rest .*eks .*ok"} {
		wantsLine(t, out, line)
	}
	out, err = w.cli(t, "get", "associations", "-A", "-o", "json")
	var all struct {
		Associations []struct{ ServiceAccount, Door, AssociationARN string }
	}
	if err := errors.Join(err, json.Unmarshal([]byte(out), &all)); err != nil || len(all.Associations) != 4 {
		t.Errorf("%s, %v", out, err)
	}
	if a := all.Associations; len(a) > 0 && !strings.HasPrefix(a[0].AssociationARN, "arn:aws:eks:eu-central-1:111122223333:podidentityassociation/lab/a-") {
		t.Errorf("ARN %s", a[0].AssociationARN)
	}

	out, err = w.cli(t, "access-key", "list")
	if err != nil || strings.Contains(out, w.keys["deployer"].Secret) {
		t.Errorf("%s, %v", out, err)
	}
	wantsLine(t, out, w.keys["deployer"].ID+" *shop/deployer .*ok")
	if _, err := w.cli(t, "access-key", "create", "--service-account", "shop/nobody"); wants(err, "there is no service account shop/nobody") != nil {
		t.Error(err)
	}
	if out, err := w.cli(t, "access-key", "create", "--service-account", "shop/deployer", "--dry-run"); err != nil || !strings.Contains(out, "none was made") {
		t.Errorf("%s, %v", out, err)
	}
	// Whoever may not impersonate the account is told by the policy.
	_, err = w.cli(t, "access-key", "create", "--service-account", "shop/deployer", "--kubeconfig", w.paths["bob"])
	if err := wants(err, "bob may not impersonate service account shop/deployer"); err != nil {
		t.Error(err)
	}
	if _, err := w.cli(t, "access-key", "delete", "podid-ca"); wants(err, "there is no access key") != nil {
		t.Error(err)
	}

	// What it prints leads the AWS CLI there.
	if _, err := w.cli(t, "eks", "env"); wants(err, "it is not said which to take") != nil {
		t.Error(err)
	}
	script, err := w.cli(t, "eks", "env", "--service-account", "shop/deployer", "--endpoint", w.server.URL, "--ca-bundle", filepath.Join(t.TempDir(), "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("aws"); err != nil {
		script += "exit 0\n" // and the listing is not looked at
	}
	sh := exec.CommandContext(t.Context(), "/bin/sh", "-c", script+"\naws eks list-pod-identity-associations --cluster-name lab --namespace shop")
	if out := w.run(t, sh); !strings.Contains(out, "by-rest") && !strings.Contains(script, "exit 0") {
		t.Errorf("%s", out)
	}
	if out, err := w.cli(t, "eks", "env", "--access-key", w.keys["deployer"].ID, "--in-cluster", "-o", "json"); err != nil || !strings.Contains(out, `"https://podid-eks.podid-system.svc"`) {
		t.Errorf("%s, %v", out, err)
	}
	if out, err := w.cli(t, "eks", "env", "--access-key", w.keys["deployer"].ID); err != nil || !strings.Contains(out, "# in another terminal: kubectl port-forward -n podid-system service/podid-eks 8444:443") {
		t.Errorf("%s, %v", out, err)
	}

	// Consent, for what came while the policy was away.
	w.unguard(t, "delete", "-f", passPolicy)
	w.make(t, "bob", annotated("sneaky", writer))
	w.guardAgain(t)
	w.recorded(t)
	out, err = w.cli(t, "get", "associations", "-n", "shop")
	if err != nil {
		t.Fatal(err)
	}
	wantsLine(t, out, "sneaky .*consent-missing")
	if _, err := w.cli(t, "consent"); wants(err, "there is nobody to ask") != nil {
		t.Error(err)
	}
	if _, err := w.cli(t, "consent", "--yes", "shop/by-annotation"); err != nil {
		t.Error(err)
	}
	w.found(t, "by-annotation", reader)
	out, _ = w.cli(t, "get", "associations", "-n", "shop")
	wantsLine(t, out, "sneaky .*consent-missing")
	wantsLine(t, out, "by-annotation .*ok")
	for _, name := range []string{"by-annotation", "by-object", "sneaky"} {
		if err := w.admin.Delete(t.Context(), annotated(name, "")); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
}

// terraformDoor makes, changes, imports and destroys an association with the AWS provider.
func terraformDoor(t *testing.T, w *eksWorld) {
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip("this machine has no terraform")
	}
	plugins := terraformPlugins(t)
	w.reset(t)
	dir := t.TempDir()
	for name, content := range map[string]string{"main.tf": terraformMain, "terraformrc": "disable_checkpoint = true\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key := w.keys["deployer"]
	terraform := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "terraform", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+filepath.Join(dir, "terraformrc"), "TF_IN_AUTOMATION=1", "TF_INPUT=0",
			"AWS_ENDPOINT_URL_EKS="+w.server.URL, "AWS_CA_BUNDLE="+w.bundle, "AWS_REGION="+region,
			"AWS_ACCESS_KEY_ID="+key.ID, "AWS_SECRET_ACCESS_KEY="+key.Secret)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := terraform(args...)
		if err != nil {
			t.Fatalf("terraform %v: %v\n%s", args, err, out)
		}
		return out
	}
	must("init", "-no-color", "-plugin-dir="+plugins)
	apply := []string{"apply", "-no-color", "-auto-approve", "-var", "role=" + reader}
	plan := []string{"plan", "-no-color", "-detailed-exitcode", "-var", "role=" + reader}
	must(apply...)
	must(plan...) // exit code 0: nothing to change
	o := pia("cart", "")
	if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil || o.Spec.RoleARN != reader || o.Spec.Tags["team"] != "shop" {
		t.Errorf("%+v, %v", o.Spec, err)
	}
	if out, err := terraform("apply", "-no-color", "-auto-approve", "-var", "role="+writer); err == nil || !strings.Contains(strings.Join(strings.Fields(strings.ReplaceAll(out, "│", "")), " "), "may not pass "+writer) {
		t.Errorf("a role that may not be passed: %v\n%s", err, out)
	}
	must("apply", "-no-color", "-auto-approve", "-var", "role="+reader, "-var", "team=till")
	id := strings.TrimSpace(must("output", "-raw", "association"))
	must("state", "rm", "aws_eks_pod_identity_association.cart")
	must("import", "-no-color", "-var", "role="+reader, "-var", "team=till", "aws_eks_pod_identity_association.cart", "lab,"+id)
	must("plan", "-no-color", "-detailed-exitcode", "-var", "role="+reader, "-var", "team=till")
	must("destroy", "-no-color", "-auto-approve", "-var", "role="+reader)
	if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
		t.Errorf("after destroy: %v", err)
	}
}

const terraformMain = `
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

variable "role" { type = string }
variable "team" {
  type    = string
  default = "shop"
}

# What the provider would ask of AWS itself.
provider "aws" {
  region                      = "eu-central-1"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
}

resource "aws_eks_pod_identity_association" "cart" {
  cluster_name    = "lab"
  namespace       = "shop"
  service_account = "cart"
  role_arn        = var.role
  tags            = { team = var.team }
}

output "association" { value = aws_eks_pod_identity_association.cart.association_id }
`

// terraformPlugins is the local plugin directory that holds the AWS provider, found by its
// file name; Terraform's registry is not asked.
func terraformPlugins(t *testing.T) string {
	t.Helper()
	home, _ := os.UserHomeDir() // empty if there is none
	for _, dir := range []string{os.Getenv("TF_PLUGIN_DIR"), filepath.Join(home, ".terraform.d/plugins"), "/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins"} {
		found, err := filepath.Glob(filepath.Join(dir, "*/hashicorp/aws/5.*/*/terraform-provider-aws_v5*"))
		if err == nil && len(found) > 0 {
			return dir
		}
	}
	t.Skip("no local plugin directory (TF_PLUGIN_DIR) holds terraform-provider-aws_v5")
	return ""
}
