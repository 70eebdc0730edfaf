package s3_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheCLIDoesWhatPeopleDo runs the unmodified AWS CLI.
func TestTheCLIDoesWhatPeopleDo(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("short: the CLI takes a second a command")
	}
	path, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("the AWS CLI (aws) is not installed")
	}
	w := newWorld(t, openJournal(t, t.TempDir()))
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		c := exec.CommandContext(t.Context(), path, append([]string{"--endpoint-url", w.server.URL, "--region", region}, args...)...)
		c.Dir = dir
		c.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_SESSION_TOKEN=",
			"AWS_CONFIG_FILE="+filepath.Join(dir, "config"), "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(dir, "credentials"), "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	content := noise(20*mib + 1)
	if err := os.WriteFile(filepath.Join(dir, "big"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "small.txt"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	run("s3", "mb", "s3://bucket")
	run("s3", "cp", "--quiet", "big", "s3://bucket/dir/big")
	run("s3", "cp", "small.txt", "s3://bucket/small ä.txt")
	run("s3", "cp", "--quiet", "s3://bucket/dir/big", "s3://bucket/copy/big")
	run("s3", "cp", "--quiet", "s3://bucket/copy/big", "back")
	if back, err := os.ReadFile(filepath.Join(dir, "back")); err != nil || !bytes.Equal(back, content) {
		t.Errorf("%d bytes came back, %v", len(back), err)
	}
	if got := run("s3", "ls", "s3://bucket"); !strings.Contains(got, "PRE copy/") || !strings.Contains(got, "PRE dir/") || !strings.Contains(got, "7 small ä.txt") {
		t.Errorf("ls: %s", got)
	}
	run("s3", "mv", "s3://bucket/small ä.txt", "s3://bucket/dir/moved.txt")
	run("s3", "rm", "--recursive", "s3://bucket/dir/")
	run("s3", "rb", "--force", "s3://bucket")
	if got := run("s3", "ls"); got != "" {
		t.Errorf("after rb: %s", got)
	}
}
