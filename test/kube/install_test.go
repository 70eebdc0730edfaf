//go:build unix

package kube_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authorization "k8s.io/api/authorization/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/openpodidentity/podid/internal/association/annotation"
	"github.com/openpodidentity/podid/internal/install"
	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/kube"
)

const installYAML = "../../deploy/install.yaml"

// installWorld is a cluster without nodes: programs are deployed, and never run.
type installWorld struct {
	*kube.ControlPlane
	install.Cluster
}

func newInstallWorld(t *testing.T, flags ...string) *installWorld {
	t.Helper()
	cp := kube.New(t, kube.Options{ControllerManager: true, APIServerFlags: flags})
	cluster, err := install.Connect(cp.Config(), install.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	return &installWorld{cp, cluster}
}

// apply is podid install with settings over those that the cluster has.
func (w *installWorld) apply(t *testing.T, o install.Options, dryRun bool) map[install.Action][]string {
	t.Helper()
	current, err := w.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	objects, err := install.Render(current.Keep(o))
	if err != nil {
		t.Fatal(err)
	}
	did := map[install.Action][]string{}
	report := func(c install.Change) {
		did[c.Action] = append(did[c.Action], fmt.Sprintf("%s %v", c.Object, c.Differences))
	}
	if err := errors.Join(w.Apply(t.Context(), objects, dryRun, report), w.Prune(t.Context(), objects, dryRun, report)); err != nil {
		t.Fatal(err)
	}
	return did
}

func (w *installWorld) uninstall(t *testing.T, associations bool) {
	t.Helper()
	err := w.Uninstall(t.Context(), install.Removal{
		Associations: associations,
		Report:       func(install.Change) {},
		Addresses:    func(node string, err error) { t.Errorf("there is no node %s: %v", node, err) },
	})
	if err != nil {
		t.Fatal(err)
	}
}

// objects are all of the cluster, but for news of it and what the API server makes of others.
func (w *installWorld) objects(t *testing.T) map[string]bool {
	t.Helper()
	lists, err := discovery.NewDiscoveryClientForConfigOrDie(w.Config()).ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	config := w.Config()
	config.WarningHandler = rest.NoWarnings{} // of kinds that are old
	api := dynamic.NewForConfigOrDie(config)
	for _, list := range lists {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			if !slices.Contains(r.Verbs, "list") || slices.Contains([]string{"Event", "Lease", "ComponentStatus", "APIService"}, r.Kind) {
				continue
			}
			found, err := api.Resource(group.WithResource(r.Name)).List(t.Context(), meta.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range found.Items {
				all[fmt.Sprintf("%s.%s %s/%s", r.Kind, group.Group, o.GetNamespace(), o.GetName())] = true
			}
		}
	}
	return all
}

func (w *installWorld) run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args[1:], err, out)
	}
	return string(out)
}

func onlyIn(a, b map[string]bool) []string {
	var only []string
	for name := range a {
		if !b[name] {
			only = append(only, name)
		}
	}
	slices.Sort(only)
	return only
}

var lab = map[string]string{"clusterName": "lab", "region": "eu-central-1", "account": "111122223333"}

func TestInstallingAgainIsUpgradingAndUninstallingLeavesNothing(t *testing.T) {
	w := newInstallWorld(t)
	w.settled(t)
	before := w.objects(t)

	if did := w.apply(t, install.Options{Settings: lab}, true); len(did[install.Created]) < 25 || len(did) != 1 {
		t.Errorf("a dry run on an empty cluster: %v", did)
	}
	if made := onlyIn(w.objects(t), before); made != nil {
		t.Fatalf("a dry run made %v", made)
	}
	if did := w.apply(t, install.Options{Settings: lab}, false); len(did) != 1 {
		t.Errorf("an installation in an empty cluster: %v", did)
	}
	if did := w.apply(t, install.Options{}, false); len(did) != 1 || len(did[install.Unchanged]) < 25 {
		t.Errorf("the same again, settings kept: %v", did)
	}

	// Another version: an object that is no more, one of somebody else's, a setting.
	ours := &rbac.ClusterRole{ObjectMeta: meta.ObjectMeta{Name: "podid-of-old", Labels: map[string]string{"app.kubernetes.io/managed-by": "podid"}}}
	theirs := &rbac.ClusterRole{ObjectMeta: meta.ObjectMeta{Name: "podid-of-theirs", Labels: map[string]string{"app.kubernetes.io/part-of": "podid"}}}
	for _, role := range []*rbac.ClusterRole{ours, theirs} {
		if err := w.API.Create(t.Context(), role); err != nil {
			t.Fatal(err)
		}
	}
	dry := w.apply(t, install.Options{Settings: map[string]string{"sessionDuration": "2h"}}, true)
	did := w.apply(t, install.Options{Settings: map[string]string{"sessionDuration": "2h"}}, false)
	for _, done := range []map[install.Action][]string{dry, did} {
		if removed := done[install.Removed]; len(removed) != 1 || !strings.Contains(removed[0], "podid-of-old") {
			t.Errorf("removed: %v", removed)
		}
		changed := strings.Join(done[install.Changed], "\n")
		if len(done[install.Changed]) != 3 || strings.Count(changed, "podid.dev/settings") != 2 || !strings.Contains(changed, "sessionDuration") {
			t.Errorf("changed: %s", changed)
		}
	}
	if err := w.API.Delete(t.Context(), theirs); err != nil {
		t.Fatalf("somebody else's: %v", err)
	}

	w.associate(t, "cart")
	w.uninstall(t, false)
	left := onlyIn(w.objects(t), before)
	want := []string{
		"CustomResourceDefinition.apiextensions.k8s.io /podidentityassociations.podid.dev",
		"PodIdentityAssociation.podid.dev default/cart",
		"ValidatingAdmissionPolicy.admissionregistration.k8s.io /pass-role.podid.dev",
		"ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io /pass-role.podid.dev",
	}
	if !slices.Equal(left, want) {
		t.Errorf("left, with associations:\n%s", strings.Join(left, "\n"))
	}
	exported, err := w.Associations(t.Context())
	if err != nil || len(exported) != 1 || exported[0].GetName() != "cart" {
		t.Errorf("exported %v, %v", exported, err)
	}
	w.apply(t, install.Options{Settings: lab}, false)
	var kept []string
	err = w.Uninstall(t.Context(), install.Removal{
		Associations: true,
		Report: func(c install.Change) {
			if c.Object == "Deployment podid-system/podid-auth" { // what was in flight at its EKS API
				w.associate(t, "late")
			}
		},
		Export: func(all []*unstructured.Unstructured) error {
			if kept == nil { // somebody with kubectl
				w.associate(t, "later")
			}
			for _, o := range all {
				kept = append(kept, o.GetName())
			}
			return nil
		},
	})
	if err != nil || !slices.Equal(kept, []string{"cart", "late", "later"}) {
		t.Errorf("exported before they went: %v, %v", kept, err)
	}
	if left := onlyIn(w.objects(t), before); left != nil {
		t.Errorf("left: %v", left)
	}
	if gone := onlyIn(before, w.objects(t)); gone != nil {
		t.Errorf("taken along: %v", gone)
	}
}

// settled waits until the controller manager has made what it makes once.
func (w *installWorld) settled(t *testing.T) {
	t.Helper()
	var last map[string]bool
	for range 60 {
		now := w.objects(t)
		if maps.Equal(now, last) && now["ServiceAccount. default/default"] {
			return
		}
		last = now
		time.Sleep(time.Second)
	}
	t.Fatal("the cluster goes on changing")
}

func (w *installWorld) associate(t *testing.T, account string) {
	t.Helper()
	apply := w.Kubectl(t.Context(), "apply", "-f", "-")
	apply.Stdin = strings.NewReader(`{"apiVersion":"podid.dev/v1alpha1","kind":"PodIdentityAssociation",` +
		`"metadata":{"name":"` + account + `","namespace":"default"},"spec":{"roleARN":"arn:aws:iam::111122223333:role/cart"}}`)
	w.run(t, apply)
}

// The pods of a node that is lost end for nobody; the addresses of the others go all the same.
func TestUninstallingPassesOverANodeThatIsLost(t *testing.T) {
	w := newInstallWorld(t)
	w.apply(t, install.Options{Settings: lab}, false)
	node := &core.Node{ObjectMeta: meta.ObjectMeta{Name: "lost", Labels: map[string]string{"kubernetes.io/os": "linux"}}}
	pod := &core.Pod{
		ObjectMeta: meta.ObjectMeta{Name: "lost", Namespace: install.Namespace, Labels: map[string]string{"app.kubernetes.io/name": "podid-address"}},
		Spec: core.PodSpec{
			NodeName: node.Name, ServiceAccountName: "podid-address", TerminationGracePeriodSeconds: new(int64(1)),
			Containers: []core.Container{{Name: "address", Image: "registry.example.com/podid-address:0.1.0"}},
		},
	}
	if err := errors.Join(w.API.Create(t.Context(), node), w.API.Create(t.Context(), pod), w.API.Delete(t.Context(), pod)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	told := map[string]error{}
	err := w.Uninstall(ctx, install.Removal{Report: func(install.Change) {}, Addresses: func(node string, err error) { told[node] = err }})
	if p := problem.Of(told["lost"]); p == nil || p.Code != problem.AddressUnavailable || !strings.Contains(p.What, "is not ready") {
		t.Errorf("of the address it is told %v", told)
	}
	if p := problem.Of(err); p == nil || p.Code != problem.InstallIncomplete || !strings.Contains(p.Why, "Namespace podid-system") {
		t.Errorf("it ends with %v", err)
	}
}

func TestInstallYAMLIsEnoughForKubectl(t *testing.T) {
	w := newInstallWorld(t)
	w.settled(t)
	before := w.objects(t)
	first := w.run(t, w.Kubectl(t.Context(), "apply", "-f", installYAML))
	if strings.Contains(strings.ToLower(first), "warning") {
		t.Errorf("kubectl warns:\n%s", first)
	}
	patch := w.Kubectl(t.Context(), "-n", "podid-system", "patch", "configmap", "podid", "--type=merge", "-p", `{"data":{"clusterName":"lab"}}`)
	w.run(t, patch)
	again := w.run(t, w.Kubectl(t.Context(), "apply", "-f", installYAML))
	for line := range strings.Lines(again) {
		if !strings.HasSuffix(strings.TrimSpace(line), "unchanged") && !strings.Contains(line, "configured") {
			t.Errorf("the second time: %s", line)
		}
	}
	config, err := w.Typed.CoreV1().ConfigMaps("podid-system").Get(t.Context(), "podid", meta.GetOptions{})
	if err != nil || config.Data["clusterName"] != "lab" {
		t.Errorf("the setting is gone: %v, %v", config.Data, err)
	}
	status, err := w.Status(t.Context())
	if err != nil || status.OK() || len(status.Programs) != 4 || status.Settings["clusterName"] != "lab" || len(status.Unseen) > 0 {
		t.Errorf("status: %+v, %v", status, err)
	}
	if !strings.HasPrefix(status.Configuration, "configuration-missing") || !strings.Contains(status.Configuration, "region, account") {
		t.Errorf("the status of settings that are not complete: %s", status.Configuration)
	}
	if want := (install.Doors{Objects: true, EKSAPI: true, Webhook: true}); status.Doors != want {
		t.Errorf("doors: %+v", status.Doors)
	}
	// podid goes on from there.
	if did := w.apply(t, install.Options{}, false); len(did[install.Created])+len(did[install.Removed]) > 0 {
		t.Errorf("podid install over kubectl apply: %v", did)
	}
	w.uninstall(t, true)
	if left := onlyIn(w.objects(t), before); left != nil {
		t.Errorf("left: %v", left)
	}
}

// The oldest Kubernetes that this one can play: all is installed, its expressions are compiled and act, and the labelled
// scope is refused before anything is changed.
func TestAnOlderKubernetesHasAllOrNothing(t *testing.T) {
	w := newInstallWorld(t, "--emulated-version=kube=1.34")
	scope, err := install.Render(install.Options{Settings: lab, LabelledScope: new(true)})
	if err != nil {
		t.Fatal(err)
	}
	err = w.Serves(scope)
	if p := problem.Of(err); p == nil || p.Code != problem.InstallIncomplete || !strings.Contains(p.What, "has no MutatingAdmissionPolicy") || !strings.Contains(p.Fix, "leave --labelled-scope out") {
		t.Errorf("the labelled scope: %v", err)
	}
	all := maps.Clone(lab)
	all["annotations"] = "true" // with the policy that guards them
	objects, err := install.Render(install.Options{Settings: all})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Serves(objects); err != nil {
		t.Error(err)
	}
	w.apply(t, install.Options{Settings: all}, false)
	w.guarded(t)
}

// The first Kubernetes that has it.
func TestTheLabelledScopeIsInstalledAndActs(t *testing.T) {
	w := newInstallWorld(t, "--emulated-version=kube=1.36")
	w.apply(t, install.Options{Settings: lab, LabelledScope: new(true)}, false)
	eventually(t, "a labelled pod is injected", func(ctx context.Context) error {
		pod, err := w.Typed.CoreV1().Pods("default").Create(ctx, injectionPod("default", "default", map[string]string{injectLabel: "enabled"}), meta.CreateOptions{DryRun: []string{meta.DryRunAll}})
		if err != nil {
			return err
		}
		return injected(pod)
	})
}

// guarded waits until the policies act: somebody who may write associations, annotate and write Secrets may bind no role by any of them.
func (w *installWorld) guarded(t *testing.T) {
	t.Helper()
	w.run(t, w.Kubectl(t.Context(), "create", "clusterrole", "writer", "--verb=create,get,delete",
		"--resource=podidentityassociations.podid.dev,serviceaccounts,secrets"))
	w.run(t, w.Kubectl(t.Context(), "create", "clusterrolebinding", "writer", "--clusterrole=writer", "--user=writer"))
	for name, text := range map[string]string{
		"may not pass": `{"apiVersion":"podid.dev/v1alpha1","kind":"PodIdentityAssociation",` +
			`"metadata":{"name":"cart","namespace":"default"},"spec":{"roleARN":"arn:aws:iam::111122223333:role/cart"}}`,
		"(annotation eks.amazonaws.com/role-arn)": `{"apiVersion":"v1","kind":"ServiceAccount",` +
			`"metadata":{"name":"cart","namespace":"default","annotations":{"eks.amazonaws.com/role-arn":"arn:aws:iam::111122223333:role/cart"}}}`,
		"may not impersonate": `{"apiVersion":"v1","kind":"Secret","type":"podid.dev/access-key",` +
			`"metadata":{"name":"key","namespace":"default","annotations":{"podid.dev/service-account":"default/default"}}}`,
	} {
		eventually(t, "the API server says: "+name, func(ctx context.Context) error {
			create := w.Kubectl(ctx, "create", "--as=writer", "--dry-run=server", "-f", "-")
			create.Stdin = strings.NewReader(text)
			out, err := create.CombinedOutput()
			if err == nil || !strings.Contains(string(out), name) {
				return fmt.Errorf("%v: %s", err, out)
			}
			return nil
		})
	}
	// The schema's expressions.
	create := w.Kubectl(t.Context(), "create", "--dry-run=server", "-f", "-")
	create.Stdin = strings.NewReader(`{"apiVersion":"podid.dev/v1alpha1","kind":"PodIdentityAssociation",` +
		`"metadata":{"name":"cart","namespace":"default"},"spec":{"roleARN":"arn:aws:iam::111122223333:user/cart"}}`)
	if out, err := create.CombinedOutput(); err == nil || !strings.Contains(string(out), "Invalid value") {
		t.Errorf("a user for a role: %v: %s", err, out)
	}
}

// The command as a person calls it: what is annotated before anything guards annotations gives no role until somebody
// says so.
func TestTheAnnotationDoorOpensWithConsent(t *testing.T) {
	w := newInstallWorld(t)
	program := filepath.Join(t.TempDir(), "podid")
	if err := kube.BuildProgram(t.Context(), "../..", "./cmd/podid", program); err != nil {
		t.Fatal(err)
	}
	podid := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+w.Kubeconfig(), "NO_COLOR=1")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	kubectl := func(args ...string) (string, error) {
		out, err := w.Kubectl(t.Context(), args...).CombinedOutput()
		return string(out), err
	}
	w.run(t, w.Kubectl(t.Context(), "create", "clusterrole", "accounts", "--verb=get,patch", "--resource=serviceaccounts"))
	w.run(t, w.Kubectl(t.Context(), "create", "clusterrolebinding", "bob", "--clusterrole=accounts", "--user=bob"))
	w.run(t, w.Kubectl(t.Context(), "create", "serviceaccount", "early"))
	// Bob may edit service accounts, and pass no role.
	annotate := func(role string) (string, error) {
		return kubectl("--as=bob", "annotate", "--overwrite", "serviceaccount", "early", roleAnnotation+"=arn:aws:iam::111122223333:role/"+role)
	}

	// A cluster that uses the annotation for IRSA does not notice that podid comes.
	if out, err := podid("install", "--cluster-name", "lab", "--region", "eu-central-1", "--account", "111122223333"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := annotate("early"); err != nil {
		t.Errorf("annotating where the door is closed: %v\n%s", err, out)
	}

	args := []string{"install", "--cluster-name", "lab", "--region", "eu-central-1", "--account", "111122223333", "--annotations"}
	if out, err := podid(append(args, "--dry-run")...); err != nil || !strings.Contains(out, "would be created") {
		t.Errorf("a dry run: %v\n%s", err, out)
	}
	out, err := podid(args...)
	if err == nil || !strings.Contains(out, "early") || !strings.Contains(out, "there is nobody to ask") || !strings.Contains(out, "--yes") {
		t.Errorf("nobody consented: %v\n%s", err, out)
	}
	if current, err := w.Current(t.Context()); err != nil || current.Settings["annotations"] == "true" {
		t.Errorf("the door is open: %v, %v", current.Settings, err)
	}
	if out, err := podid(append(args, "--yes")...); err != nil {
		t.Errorf("with consent: %v\n%s", err, out)
	}
	current, err := w.Current(t.Context())
	if err != nil || current.Settings["annotations"] != "true" {
		t.Errorf("the door is closed: %v, %v", current.Settings, err)
	}
	if left, err := annotation.Unconsented(t.Context(), w.API, install.Namespace); err != nil || len(left) > 0 {
		t.Errorf("nobody consented to %v, %v", left, err)
	}
	eventually(t, "bob is asked for pass", func(context.Context) error {
		if out, err := annotate("other"); err == nil || !strings.Contains(out, "bob may not pass arn:aws:iam::111122223333:role/other") {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})
	if out, err := podid("install", "--annotations"); err != nil || strings.Contains(out, "changed\n") {
		t.Errorf("again: %v\n%s", err, out)
	}

	// To annotate while the door is closed binds nothing once it is open again.
	if out, err := podid("install", "--annotations=false"); err != nil || !strings.Contains(out, "ValidatingAdmissionPolicyBinding "+annotation.PolicyName+" removed") {
		t.Errorf("closing the door: %v\n%s", err, out)
	}
	eventually(t, "nobody asks", func(context.Context) error {
		if out, err := annotate("other"); err != nil {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})
	if out, err := podid("install", "--annotations"); err == nil || !strings.Contains(out, "role/other") || !strings.Contains(out, "there is nobody to ask") {
		t.Errorf("opening it again: %v\n%s", err, out)
	}
	if left, err := annotation.Unconsented(t.Context(), w.API, install.Namespace); err != nil || len(left) != 1 || left[0].RoleARN != "arn:aws:iam::111122223333:role/other" {
		t.Errorf("consent is wanted to %v, %v", left, err)
	}
	if out, err := podid("install", "--annotations", "--yes"); err != nil {
		t.Errorf("with consent again: %v\n%s", err, out)
	}
	if out, err := podid("install", "--wait", "--set", "account="); err == nil || !strings.Contains(out, "until it is told --account") {
		t.Errorf("an account that is taken back: %v\n%s", err, out)
	}
	if out, err := podid("status"); err == nil || !strings.Contains(out, "doors         objects, annotations, EKS API, webhook") {
		t.Errorf("status: %v\n%s", err, out)
	}
	w.associate(t, "cart")
	t.Chdir(t.TempDir())
	dry := exec.CommandContext(t.Context(), program, "uninstall", "--dry-run", "-o", "json")
	dry.Env = append(os.Environ(), "KUBECONFIG="+w.Kubeconfig())
	var told struct {
		DryRun  bool
		Objects []install.Change
	}
	if out, err := dry.Output(); err != nil || json.Unmarshal(out, &told) != nil || !told.DryRun ||
		!slices.ContainsFunc(told.Objects, func(c install.Change) bool {
			return c.Object == "DaemonSet podid-system/podid-agent" && c.Action == install.Removed
		}) {
		t.Errorf("a dry run: %v\n%s", err, out)
	}
	if out, err := podid("uninstall", "--yes", "--delete-associations"); err != nil || !strings.Contains(out, "Nothing of podid is left") {
		t.Errorf("uninstall: %v\n%s", err, out)
	}
	if text, err := os.ReadFile("podid-associations.yaml"); err != nil || !strings.Contains(string(text), "role/cart") {
		t.Errorf("the export: %v\n%s", err, text)
	}
}

// Who holds the token of the agent or of podid-address may do nothing, and who holds podid-webhook's reads
// accounts and associations.
func TestProgramsMayDoWhatTheyNeedAndNoMore(t *testing.T) {
	w := newInstallWorld(t)
	w.apply(t, install.Options{}, false)
	everybody := map[string]bool{} // what every account of a cluster may
	for _, program := range []string{"nobody", "podid-agent", "podid-address", "podid-webhook", "podid-auth"} {
		rules := w.mayDo(t, "system:serviceaccount:podid-system:"+program, program == "nobody")
		switch program {
		case "nobody":
			everybody = rules
			continue
		case "podid-agent", "podid-address":
			if more := onlyIn(rules, everybody); more != nil {
				t.Errorf("%s may %v", program, more)
			}
		default:
			for _, rule := range onlyIn(rules, everybody) {
				for _, never := range []string{"*", "impersonate", "escalate", "bind", "pods/exec", "nodes"} {
					if slices.Contains(strings.Fields(rule), never) {
						t.Errorf("%s may %s", program, rule)
					}
				}
				if program == "podid-webhook" && !strings.HasPrefix(rule, "get ") && !strings.HasPrefix(rule, "list ") && !strings.HasPrefix(rule, "watch ") {
					t.Errorf("podid-webhook may %s", rule)
				}
			}
		}
	}
}

// mayDo is what RBAC gives an account in podid's namespace, as "verb resource.group name".
func (w *installWorld) mayDo(t *testing.T, user string, wait bool) map[string]bool {
	t.Helper()
	config := w.Config()
	config.Impersonate.UserName = user
	config.Impersonate.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:podid-system", "system:authenticated"}
	as, err := install.Connect(config, install.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	may := map[string]bool{}
	for range 100 {
		review, err := as.Typed.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), &authorization.SelfSubjectRulesReview{Spec: authorization.SelfSubjectRulesReviewSpec{Namespace: "podid-system"}}, meta.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range review.Status.ResourceRules {
			for _, verb := range rule.Verbs {
				for _, resource := range rule.Resources {
					may[strings.TrimSpace(fmt.Sprintf("%s %s %s %s", verb, resource, strings.Join(rule.APIGroups, ","), strings.Join(rule.ResourceNames, ",")))] = true
				}
			}
		}
		if len(may) > 0 || !wait {
			return may
		}
		time.Sleep(100 * time.Millisecond)
	}
	return may
}
