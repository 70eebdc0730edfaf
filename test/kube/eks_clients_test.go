package kube_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

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
