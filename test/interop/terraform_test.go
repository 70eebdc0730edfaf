package interop_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheWalkThroughWithTerraform applies, finds nothing to change, changes the
// role, imports, and destroys.
func TestTheWalkThroughWithTerraform(t *testing.T) {
	need(t, "terraform", "aws")
	plugins := providers(t)
	w := start(t)
	dir := t.TempDir()
	content, err := os.ReadFile("terraform/main.tf")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "main.tf", string(content))
	// A configuration of the machine's own may name mirrors that this test must not use.
	write(t, dir, "terraformrc", "disable_checkpoint = true\n")
	t.Setenv("TF_CLI_CONFIG_FILE", filepath.Join(dir, "terraformrc"))
	t.Setenv("TF_VAR_trust_policy", w.must(t, dir, podid, "trust-policy"))
	t.Setenv("TF_VAR_role_name", "terraform")
	t.Setenv("TF_IN_AUTOMATION", "1")
	w.must(t, dir, "terraform", "init", "-input=false", "-no-color", "-plugin-dir="+plugins)
	apply := []string{"apply", "-input=false", "-no-color", "-auto-approve"}
	plan := []string{"plan", "-input=false", "-no-color", "-detailed-exitcode"}

	w.must(t, dir, "terraform", apply...)
	if out := w.run(t, dir, "terraform", plan...); out.code != 0 {
		t.Errorf("a second plan is not empty: exit code %d\n%s%s", out.code, out.text, out.errs)
	}
	if buckets := w.must(t, dir, podid, "local", "run", "-n", "shop", "-s", "cart", "--", "aws", "s3", "ls"); buckets != "" {
		t.Errorf("the pod lists %q", buckets)
	}

	t.Setenv("TF_VAR_role_name", "terraform-next") // a new role: the association is updated in place
	w.must(t, dir, "terraform", apply...)
	id := strings.TrimSpace(w.must(t, dir, "terraform", "output", "-raw", "association"))
	w.must(t, dir, "terraform", "state", "rm", "aws_eks_pod_identity_association.cart")
	w.must(t, dir, "terraform", "import", "-input=false", "-no-color", "aws_eks_pod_identity_association.cart", "local,"+id)
	if out := w.run(t, dir, "terraform", plan...); out.code != 0 {
		t.Errorf("the plan after an import is not empty: exit code %d\n%s%s", out.code, out.text, out.errs)
	}
	w.must(t, dir, "terraform", "destroy", "-input=false", "-no-color", "-auto-approve")
	if left := w.must(t, dir, "aws", "eks", "list-pod-identity-associations", "--cluster-name", "local", "--query", "associations", "--output", "text"); strings.TrimSpace(left) != "" {
		t.Errorf("after destroy there is %s", left)
	}
}

// providers is the local plugin directory that holds the AWS provider, found by
// its file name; Terraform's registry is not asked.
func providers(t *testing.T) string {
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
