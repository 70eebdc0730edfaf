package interop_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	roleARN     = "arn:aws:iam::111122223333:role/EKS-Pod-Identity-Role"
	permissions = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:ListBucket","s3:GetObject"],"Resource":["arn:aws:s3:::cli","arn:aws:s3:::cli/*"]}]}`
)

// TestTheWalkThroughWithTheAWSCLI is the walk-through as a person types it, for
// each principal that roles can be assumed by.
func TestTheWalkThroughWithTheAWSCLI(t *testing.T) {
	need(t, "aws")
	for _, principal := range []string{"service", "broker", "broker-role"} {
		t.Run(principal, func(t *testing.T) {
			t.Parallel()
			w := start(t, "--principal", principal)
			dir := t.TempDir()
			write(t, dir, "trust-policy.json", w.must(t, dir, podid, "trust-policy"))
			write(t, dir, "permissions.json", permissions)
			write(t, dir, "hello.txt", "hello\n")
			w.must(t, dir, "aws", "iam", "create-role", "--role-name", "EKS-Pod-Identity-Role", "--assume-role-policy-document", "file://trust-policy.json")
			w.must(t, dir, "aws", "iam", "put-role-policy", "--role-name", "EKS-Pod-Identity-Role", "--policy-name", "list", "--policy-document", "file://permissions.json")
			w.must(t, dir, "aws", "s3", "mb", "s3://cli")
			w.must(t, dir, "aws", "s3", "cp", "hello.txt", "s3://cli/greetings/hello.txt")
			w.must(t, dir, "aws", "eks", "create-pod-identity-association", "--cluster-name", "local",
				"--namespace", "test-namespace", "--service-account", "test-sa", "--role-arn", roleARN)

			asPod := []string{"local", "run", "-n", "test-namespace", "-s", "test-sa", "--pod", "test-pod-0", "--"}
			listing := w.must(t, dir, podid, append(asPod, "aws", "s3", "ls", "--recursive", "s3://cli")...)
			if !strings.Contains(listing, "greetings/hello.txt") {
				t.Errorf("the pod's listing is %q", listing)
			}
			var caller struct{ Account, Arn, UserID string }
			decode(t, w.must(t, dir, podid, append(asPod, "aws", "sts", "get-caller-identity")...), &caller)
			if !regexp.MustCompile(`^arn:aws:sts::111122223333:assumed-role/EKS-Pod-Identity-Role/eks-local-test-pod-0-[0-9a-f-]{36}$`).MatchString(caller.Arn) {
				t.Errorf("the pod is %s", caller.Arn)
			}
			refused := w.run(t, dir, podid, append(asPod, "aws", "s3", "rm", "s3://cli/greetings/hello.txt")...)
			if refused.code != 1 || !strings.Contains(refused.errs, "is not authorized to perform: s3:DeleteObject") {
				t.Errorf("a deletion that the role does not allow: exit code %d, %s", refused.code, refused.errs)
			}
		})
	}
}

func TestS3WithTheAWSCLI(t *testing.T) {
	need(t, "aws")
	w := start(t)
	dir := t.TempDir()
	w.must(t, dir, "aws", "s3", "mb", "s3://files")

	// 100 MB go up in parts and come back byte for byte, over HTTP and over HTTPS.
	content := make([]byte, 100_000_000)
	_, _ = rand.Read(content)
	if err := os.WriteFile(filepath.Join(dir, "big"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "ca.pem", w.CABundle)
	for scheme, options := range map[string][]string{
		"http":  nil,
		"https": {"--endpoint-url", w.EndpointTLS, "--ca-bundle", "ca.pem"},
	} {
		w.must(t, dir, "aws", append(options, "s3", "cp", "--quiet", "big", "s3://files/big-"+scheme)...)
		w.must(t, dir, "aws", append(options, "s3", "cp", "--quiet", "s3://files/big-"+scheme, "back-"+scheme)...)
		back, err := os.ReadFile(filepath.Join(dir, "back-"+scheme))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(content, back) {
			t.Errorf("%s: 100 MB came back different", scheme)
		}
	}
	var head struct{ ETag string }
	decode(t, w.must(t, dir, "aws", "s3api", "head-object", "--bucket", "files", "--key", "big-http"), &head)
	if !strings.HasSuffix(head.ETag, `-12"`) {
		t.Errorf("100 MB in the CLI's parts of 8 MiB have the ETag %s, not one of 12 parts", head.ETag)
	}

	write(t, dir, "a/1.txt", "one")
	write(t, dir, "a/b/2.txt", "two")
	w.must(t, dir, "aws", "s3", "sync", "--quiet", "a", "s3://files/a")
	if ls := w.must(t, dir, "aws", "s3", "ls", "s3://files/a/"); !strings.Contains(ls, "PRE b/") || !strings.Contains(ls, "1.txt") {
		t.Errorf("listing of a/ is %q", ls)
	}
	w.must(t, dir, "aws", "s3", "mv", "s3://files/a/1.txt", "s3://files/c/ü & +1.txt")
	if got := w.must(t, dir, "aws", "s3", "cp", "s3://files/c/ü & +1.txt", "-"); got != "one" {
		t.Errorf("the moved object holds %q", got)
	}
	w.must(t, dir, "aws", "s3", "rm", "--quiet", "--recursive", "s3://files")
	if ls := w.must(t, dir, "aws", "s3", "ls", "--recursive", "s3://files"); ls != "" {
		t.Errorf("after removal there is %q", ls)
	}
	w.must(t, dir, "aws", "s3", "rb", "s3://files")
	gone := w.run(t, dir, "aws", "s3", "ls", "s3://files")
	if gone.code == 0 || !strings.Contains(gone.errs, "NoSuchBucket") {
		t.Errorf("a bucket that is gone: exit code %d, %s", gone.code, gone.errs)
	}
}

func TestAssociationsWithTheAWSCLI(t *testing.T) {
	need(t, "aws")
	w := start(t)
	dir := t.TempDir()
	write(t, dir, "trust-policy.json", w.must(t, dir, podid, "trust-policy"))
	for _, name := range []string{"EKS-Pod-Identity-Role", "Other-Role"} {
		w.must(t, dir, "aws", "iam", "create-role", "--role-name", name, "--assume-role-policy-document", "file://trust-policy.json")
	}
	type association struct {
		Association struct {
			AssociationID      string            `json:"associationId"`
			AssociationARN     string            `json:"associationArn"`
			RoleARN            string            `json:"roleArn"`
			Tags               map[string]string `json:"tags"`
			DisableSessionTags *bool             `json:"disableSessionTags"`
		} `json:"association"`
	}
	eks := func(operation string, args ...string) []string {
		return append([]string{"eks", operation, "--cluster-name", "local"}, args...)
	}
	var made, described, updated association
	decode(t, w.must(t, dir, "aws", eks("create-pod-identity-association", "--namespace", "shop", "--service-account", "cart", "--role-arn", roleARN, "--tags", "team=shop")...), &made)
	id := made.Association.AssociationID
	if !regexp.MustCompile(`^a-[a-z0-9]{17}$`).MatchString(id) || made.Association.Tags["team"] != "shop" || made.Association.DisableSessionTags == nil {
		t.Errorf("created %+v", made)
	}
	decode(t, w.must(t, dir, "aws", eks("describe-pod-identity-association", "--association-id", id)...), &described)
	if described.Association.AssociationARN != made.Association.AssociationARN || described.Association.RoleARN != roleARN {
		t.Errorf("described %+v", described)
	}
	var listed struct {
		Associations []struct {
			AssociationID string `json:"associationId"`
		} `json:"associations"`
	}
	decode(t, w.must(t, dir, "aws", eks("list-pod-identity-associations", "--namespace", "shop")...), &listed)
	if len(listed.Associations) != 1 || listed.Associations[0].AssociationID != id {
		t.Errorf("listed %+v", listed)
	}
	decode(t, w.must(t, dir, "aws", eks("update-pod-identity-association", "--association-id", id, "--role-arn", strings.Replace(roleARN, "EKS-Pod-Identity-Role", "Other-Role", 1))...), &updated)
	if !strings.HasSuffix(updated.Association.RoleARN, "/Other-Role") {
		t.Errorf("updated %+v", updated)
	}
	w.must(t, dir, "aws", "eks", "tag-resource", "--resource-arn", made.Association.AssociationARN, "--tags", "stage=test")
	if tags := w.must(t, dir, "aws", "eks", "list-tags-for-resource", "--resource-arn", made.Association.AssociationARN); !strings.Contains(tags, "stage") {
		t.Errorf("tags are %s", tags)
	}
	twice := w.run(t, dir, "aws", eks("create-pod-identity-association", "--namespace", "shop", "--service-account", "cart", "--role-arn", roleARN)...)
	if twice.code == 0 || !strings.Contains(twice.errs, "ResourceInUseException") || !strings.Contains(twice.errs, id) {
		t.Errorf("a second association: exit code %d, %s", twice.code, twice.errs)
	}
	norole := w.run(t, dir, "aws", eks("create-pod-identity-association", "--namespace", "shop", "--service-account", "mail", "--role-arn", "arn:aws:iam::111122223333:role/None")...)
	if norole.code == 0 || !strings.Contains(norole.errs, "Role provided in the request does not exist") {
		t.Errorf("a role that does not exist: exit code %d, %s", norole.code, norole.errs)
	}
	w.must(t, dir, "aws", eks("delete-pod-identity-association", "--association-id", id)...)
	gone := w.run(t, dir, "aws", eks("describe-pod-identity-association", "--association-id", id)...)
	if gone.code == 0 || !strings.Contains(gone.errs, "ResourceNotFoundException") {
		t.Errorf("a deleted association: exit code %d, %s", gone.code, gone.errs)
	}
}

// TestAnEKSAuthClientThatIsNotOurs signs, as AWS's own agent does.
func TestAnEKSAuthClientThatIsNotOurs(t *testing.T) {
	need(t, "aws")
	for _, admitted := range []bool{true, false} {
		var flags []string
		if admitted {
			flags = []string{"--allow-sigv4-agents"}
		}
		w := start(t, flags...)
		dir := t.TempDir()
		write(t, dir, "trust-policy.json", w.must(t, dir, podid, "trust-policy"))
		w.must(t, dir, "aws", "iam", "create-role", "--role-name", "EKS-Pod-Identity-Role", "--assume-role-policy-document", "file://trust-policy.json")
		pod, err := w.StartPod(t.Context(), "shop", "cart", "", 0)
		if err != nil {
			t.Fatal(err)
		}
		token, err := w.Token(t.Context(), pod.UID, "pods.eks.amazonaws.com", 0)
		if err != nil {
			t.Fatal(err)
		}
		ask := func(token string) output {
			return w.run(t, dir, "aws", "eks-auth", "assume-role-for-pod-identity", "--cluster-name", "local", "--token", token)
		}
		if !admitted {
			if out := ask(token); out.code == 0 || !strings.Contains(out.errs, "AccessDeniedException") || !strings.Contains(out.errs, "--allow-sigv4-agents") {
				t.Errorf("signed callers are off: exit code %d, %s", out.code, out.errs)
			}
			continue
		}
		if out := ask(token); out.code == 0 || !strings.Contains(out.errs, "ResourceNotFoundException") {
			t.Errorf("no association: exit code %d, %s", out.code, out.errs)
		}
		w.must(t, dir, "aws", "eks", "create-pod-identity-association", "--cluster-name", "local", "--namespace", "shop", "--service-account", "cart", "--role-arn", roleARN)
		var grant struct {
			AssumedRoleUser struct{ Arn string }             `json:"assumedRoleUser"`
			Credentials     struct{ SecretAccessKey string } `json:"credentials"`
		}
		decode(t, ask(token).text, &grant)
		if !strings.Contains(grant.AssumedRoleUser.Arn, ":assumed-role/EKS-Pod-Identity-Role/eks-local-") || grant.Credentials.SecretAccessKey == "" {
			t.Errorf("granted %+v", grant)
		}
		if out := ask("a.b.c"); out.code == 0 || !strings.Contains(out.errs, "InvalidTokenException") {
			t.Errorf("a token that is none: exit code %d, %s", out.code, out.errs)
		}
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}
