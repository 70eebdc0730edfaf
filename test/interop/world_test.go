// Package interop_test runs other people's clients, unmodified, against the
// built program: the AWS CLI, the AWS SDKs for Go and JavaScript. A client that
// this machine lacks is skipped by name.
package interop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/sandbox"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// podid is the built program.
var podid string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "podid-interop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	podid = filepath.Join(dir, "podid")
	build := exec.Command("go", "build", "-o", podid, "./cmd/podid")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build podid: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// need skips the test by name when a program is not on this machine.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("this machine has no %s", program)
		}
	}
}

// world is a `podid local` in a process of its own.
type world struct {
	sandbox.Connection
	file    string
	process *exec.Cmd
	ended   chan struct{} // closed when the process is gone
	err     error         // of Wait, once ended
	log     *bytes.Buffer
}

// start starts `podid local` and waits until it can be reached.
func start(t *testing.T, flags ...string) *world {
	t.Helper()
	w := &world{file: filepath.Join(t.TempDir(), "world.json"), log: new(bytes.Buffer)}
	w.process = exec.Command(podid, append([]string{"local", "--port", "0", "--world", w.file}, flags...)...)
	w.process.Stdout, w.process.Stderr = w.log, w.log
	if err := w.process.Start(); err != nil {
		t.Fatal(err)
	}
	w.ended = make(chan struct{})
	go func() {
		w.err = w.process.Wait()
		close(w.ended)
	}()
	t.Cleanup(func() { w.stop(t) })
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		select {
		case <-w.ended:
			t.Fatalf("podid local ended: %v\n%s", w.err, w.log)
		default:
		}
		if content, err := os.ReadFile(w.file); err == nil {
			if err := json.Unmarshal(content, &w.Connection); err != nil {
				t.Fatal(err)
			}
			return w
		}
	}
	t.Fatal("podid local did not come up within a minute")
	return nil
}

func (w *world) stop(t *testing.T) {
	_ = w.process.Process.Signal(syscall.SIGTERM) // it may have been killed by the test
	select {
	case <-w.ended:
		if w.err != nil && !w.killed() {
			t.Errorf("podid local ended with %v\n%s", w.err, w.log)
		}
	case <-time.After(20 * time.Second):
		w.kill()
		t.Error("podid local did not end within 20 s of SIGTERM")
	}
}

// kill ends the world as a power cut would end its process.
func (w *world) kill() {
	_ = w.process.Process.Kill()
	<-w.ended
}

func (w *world) killed() bool {
	status, ok := w.process.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// environment is that of the administrator's shell.
func (w *world) environment() []string {
	var env []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "AWS_") {
			env = append(env, variable)
		}
	}
	return append(env,
		"AWS_ENDPOINT_URL="+w.Endpoint, "AWS_REGION="+w.Region, "AWS_DEFAULT_REGION="+w.Region,
		"AWS_ACCESS_KEY_ID="+w.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+w.SecretAccessKey,
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_PAGER=",
		"PODID_WORLD="+w.file)
}

// config is that of an unmodified AWS SDK for Go, as the administrator.
func (w *world) config() aws.Config {
	return aws.Config{
		Region: w.Region, BaseEndpoint: &w.Endpoint,
		Credentials: credentials.NewStaticCredentialsProvider(w.AccessKeyID, w.SecretAccessKey, ""),
	}
}

// output of a program, with its exit code.
type output struct {
	text string // standard output
	errs string // standard error
	code int
}

func (w *world) run(t *testing.T, dir string, program string, args ...string) output {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, program, args...)
	command.Dir, command.Env = dir, w.environment()
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	err := command.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatalf("%s %s: %v", program, strings.Join(args, " "), err)
	}
	return output{out.String(), errs.String(), command.ProcessState.ExitCode()}
}

// must runs a program that has to succeed and returns what it printed.
func (w *world) must(t *testing.T, dir string, program string, args ...string) string {
	t.Helper()
	out := w.run(t, dir, program, args...)
	if out.code != 0 {
		t.Fatalf("%s %s: exit code %d\n%s%s\n%s", program, strings.Join(args, " "), out.code, out.text, out.errs, w.log)
	}
	return out.text
}
