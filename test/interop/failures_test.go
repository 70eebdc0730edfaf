package interop_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	identity "github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/test/upstream"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

var update = flag.Bool("update", false, "rewrite what applications print in docs/problems")

// nowhere is an endpoint that no client gets to: it has no credentials.
const nowhere = "http://127.0.0.1:9"

// TestWhatApplicationsPrint has podid-agent refuse in ten ways, and holds what unmodified
// clients print to docs/problems.
func TestWhatApplicationsPrint(t *testing.T) {
	need(t, "aws", "node", "npm")
	scripts := install(t)
	program := filepath.Join(t.TempDir(), "podid-agent")
	build := exec.Command("go", "build", "-o", program, "./cmd/podid-agent")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build podid-agent: %v\n%s", err, out)
	}
	auth, err := upstream.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(auth.Close)
	agent := startAgent(t, program, auth)

	fault := func(name string) func(t *testing.T, n int) string {
		return func(t *testing.T, n int) string {
			for _, f := range upstream.Faults() {
				if f.Name == name {
					auth.Fail(f)
				}
			}
			return running(t, auth, n)
		}
	}
	for n, failure := range []struct {
		page  string
		does  string // what happens, in the words of the page
		token func(t *testing.T, n int) string
		away  bool // there is no agent
	}{
		{"agent-missing", "there is no agent at the address", func(t *testing.T, n int) string { return running(t, auth, n) }, true},
		{"auth-unavailable", "`podid-auth` does not answer", fault("hangs"), false},
		{"internal", "`podid-auth` fails", fault("500"), false},
		{"sts-throttled", "STS throttles", fault("429"), false},
		{"sts-unavailable", "STS does not answer", fault("503"), false},
		{"association-missing", "there is no association", func(t *testing.T, n int) string {
			token := running(t, auth, n)
			auth.Change(n, true)
			return token
		}, false},
		{"pod-gone", "the pod has ended", func(t *testing.T, n int) string {
			token := running(t, auth, n)
			auth.End(n)
			return token
		}, false},
		{"token-expired", "the token has expired", func(t *testing.T, n int) string {
			running(t, auth, n)
			token, err := auth.Mint(upstream.Workload(n), identity.AudiencePods, time.Now().Add(-2*time.Hour), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			return token
		}, false},
		{"token-audience", "the token is another", func(t *testing.T, n int) string {
			token, err := auth.Mint(upstream.Workload(n), "sts.amazonaws.com", time.Now(), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			return token
		}, false},
		{"token-forged", "the token was changed", func(t *testing.T, n int) string {
			token := running(t, auth, n)
			return token[:len(token)-8] + "AAAAAAAA"
		}, false},
		{"node-mismatch", "the pod is of another node", func(t *testing.T, n int) string {
			w := upstream.Workload(n)
			w.Node = "node-2"
			token, err := auth.Mint(w, identity.AudiencePods, time.Now(), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			return token
		}, false},
	} {
		t.Run(failure.page, func(t *testing.T) {
			auth.Fail(nil)
			recovered(t, agent, running(t, auth, 100+n))
			token := failure.token(t, n)
			address := agent
			if failure.away {
				address = unused(t)
			}
			env := inPod(t, "http://"+address+"/v1/credentials", token)
			printed := []application{
				{"The SDK for Go", goSDK(t)},
				{"botocore and the AWS CLI", printedBy(t, env, scripts, "aws", "sts", "get-caller-identity", "--endpoint-url", nowhere)},
				{"The SDK for JavaScript", printedBy(t, env, scripts, "node", "failure.mjs", nowhere)},
			}
			for _, p := range printed[:2] {
				if !failure.away && !strings.Contains(p.text, failure.page) {
					t.Errorf("%s does not print the code: %s", p.client, p.text)
				}
			}
			page := filepath.Join("../../docs/problems", failure.page+".md")
			record(t, page, failure.does, printed)
		})
	}
}

// application is a client and what it prints.
type application struct{ client, text string }

// running is the token of a pod that the agent has heard of.
func running(t *testing.T, auth *upstream.Server, n int) string {
	t.Helper()
	token, err := auth.Run(n)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// recovered waits until the agent has forgotten how podid-auth failed before.
func recovered(t *testing.T, agent, token string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+agent+"/v1/credentials", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", token)
		if response, err := http.DefaultClient.Do(request); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
	}
	t.Fatal("podid-agent does not recover")
}

func unused(t *testing.T) string {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	return socket.Addr().String()
}

// startAgent starts podid-agent and returns where it listens.
func startAgent(t *testing.T, program string, auth *upstream.Server) string {
	t.Helper()
	address, probes := unused(t), unused(t)
	command := exec.Command(program, "--auth", auth.URL, "--ca-file", auth.CAFile, "--token-file", auth.TokenFile, "--node", upstream.Node,
		"--listen", address, "--probes", probes, "--metrics", "", "--handover", "", "--holder", "")
	var log bytes.Buffer
	command.Stderr = &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM) // it may have ended
		if err := command.Wait(); err != nil {
			t.Errorf("podid-agent: %v\n%s", err, &log)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if response, err := http.Get("http://" + probes + "/readyz"); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return address
			}
		}
	}
	t.Fatal("podid-agent does not get ready")
	return ""
}

// inPod sets the variables of a pod, for this process too, and takes all others of AWS away.
func inPod(t *testing.T, url, token string) (env []string) {
	t.Helper()
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // restores it afterwards
			os.Unsetenv(name)
		}
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": url, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": file,
		"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1", "AWS_STS_REGIONAL_ENDPOINTS": "regional",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true", "AWS_PAGER": "", "NODE_NO_WARNINGS": "1",
	} {
		t.Setenv(name, value)
	}
	return os.Environ()
}

func goSDK(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err.Error()
	}
	endpoint := nowhere
	_, err = sts.NewFromConfig(c, func(o *sts.Options) { o.BaseEndpoint = &endpoint }).GetCallerIdentity(ctx, nil)
	if err == nil {
		t.Fatal("the SDK for Go got an answer")
	}
	return err.Error()
}

func printedBy(t *testing.T, env []string, dir, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, program, args...)
	command.Dir, command.Env = dir, env
	out, err := command.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); !exited {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return string(bytes.TrimSpace(out))
}

const (
	heading = "## What the application prints"
	before  = "## Why"
)

// record holds what was printed to the section of the page, or writes it.
func record(t *testing.T, file, does string, printed []application) {
	t.Helper()
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	section := &strings.Builder{}
	fmt.Fprintf(section, "%s\n\nWhen %s:\n", heading, does)
	for _, p := range printed {
		fmt.Fprintf(section, "\n%s:\n\n```text\n%s\n```\n", p.client, wrap(settle(p.text)))
	}
	section.WriteString("\n")
	text := string(page)
	start, end := strings.Index(text, heading), strings.Index(text, before)
	if start < 0 {
		start = end
	}
	if end < 0 {
		t.Fatalf("%s has no section %q", file, before)
	}
	if *update {
		if err := os.WriteFile(file, []byte(text[:start]+section.String()+text[end:]), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	// Other versions of the CLI and of Node put it in other words; the SDK for Go is this module's.
	if first := wrap(settle(printed[0].text)); !strings.Contains(text, first) {
		t.Errorf("%s does not have what the SDK for Go prints (rewrite it with -update, and read it):\n%s", file, first)
	}
}

var unsettled = []struct {
	is  *regexp.Regexp
	was string
}{
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "169.254.170.23:80"},
	{regexp.MustCompile(`http://169\.254\.170\.23:80/`), "http://169.254.170.23/"},
	{regexp.MustCompile(`expired \S+ ago`), "expired 1h0m0s ago"},
	{regexp.MustCompile(`request ID [0-9a-f-]{36}`), "request ID 0f8fad5b-d9cb-469f-a165-70867728950e"},
	{regexp.MustCompile(`key "[\w-]{43}"`), `key "Pz0T…"`},
	{regexp.MustCompile(`cart-\d+`), "cart"},
	{regexp.MustCompile(`/\S*/token"`), `/var/run/secrets/…/eks-pod-identity-token"`},
}

// settle takes out what is another each time.
func settle(text string) string {
	for _, u := range unsettled {
		text = u.is.ReplaceAllString(text, u.was)
	}
	return strings.TrimSpace(text)
}

// wrap breaks lines as the pages do.
func wrap(text string) string {
	const most = 118
	out := &strings.Builder{}
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			out.WriteByte('\n')
		}
		width := 0
		for j, word := range strings.Split(line, " ") {
			switch {
			case j == 0:
			case width+1+len(word) > most:
				out.WriteByte('\n')
				width = 0
			default:
				out.WriteByte(' ')
				width++
			}
			out.WriteString(word)
			width += len(word)
		}
	}
	return out.String()
}
