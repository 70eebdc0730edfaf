package kube_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/accesskey"
	"github.com/openpodidentity/podid/internal/association"
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
