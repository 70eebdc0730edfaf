package interop_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTheWalkThroughWithJavaScript is the walk-through with @aws-sdk, unmodified:
// as administrator, then in a pod.
func TestTheWalkThroughWithJavaScript(t *testing.T) {
	need(t, "node", "npm")
	dir := install(t)
	w := start(t)
	permissions := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::javascript","arn:aws:s3:::javascript/*"]}]}`

	var made struct {
		Role, Described string
		Errors          []bool
	}
	decode(t, w.must(t, dir, "node", "administrator.mjs", w.must(t, dir, podid, "trust-policy"), permissions), &made)
	if made.Described != "arn:aws:iam::111122223333:role/javascript" || made.Role != made.Described {
		t.Errorf("made %+v", made)
	}
	if !slices.Equal(made.Errors, []bool{true, true}) {
		t.Errorf("the SDK's typed errors were not recognised: %v", made.Errors)
	}

	var pod struct {
		Arn    string
		Same   bool
		Small  string
		Keys   []string
		Errors []any
	}
	decode(t, w.must(t, dir, podid, "local", "run", "-n", "shop", "-s", "cart", "--", "node", "pod.mjs"), &pod)
	if !regexp.MustCompile(`:assumed-role/javascript/eks-local-cart-`).MatchString(pod.Arn) {
		t.Errorf("the pod is %s", pod.Arn)
	}
	if !pod.Same || pod.Small != "hello" || !slices.Equal(pod.Keys, []string{"big", "small/ü & +"}) {
		t.Errorf("what went up did not come back: same %t, %q, %q", pod.Same, pod.Small, pod.Keys)
	}
	if len(pod.Errors) != 3 || pod.Errors[0] != true || pod.Errors[1] != "AccessDenied" {
		t.Errorf("the SDK's errors are %v", pod.Errors)
	}

	// This SDK's default chain swallows every provider's reason (docs/compatibility.md).
	refused := w.run(t, dir, podid, "local", "run", "-n", "shop", "-s", "other", "--", "node", "pod.mjs")
	if refused.code == 0 || !strings.Contains(refused.errs, "Could not load credentials from any providers") {
		t.Errorf("a pod without an association: exit code %d, %s", refused.code, refused.errs)
	}
}

// install installs the SDKs as the lock file has them, once.
func install(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("javascript")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json")); err == nil {
		return dir
	}
	command := exec.Command("npm", "ci", "--no-audit", "--no-fund")
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
		t.Skipf("the npm registry cannot be reached: npm ci: %v\n%s", err, out)
	}
	return dir
}
