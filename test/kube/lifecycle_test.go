//go:build unix

package kube_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openpodidentity/podid/test/kube"
)

// victim makes this test binary a program that starts a control plane and waits to be killed.
const victim = "KUBE_TEST_VICTIM"

func TestMain(m *testing.M) {
	if kind := os.Getenv(victim); kind != "" {
		if err := victims[kind](); err != nil {
			fmt.Println("victim:", err)
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

var victims = map[string]func() error{
	"control-plane": func() error {
		cp, err := kube.Start(context.Background(), kube.Options{ControllerManager: true})
		if err != nil {
			return err
		}
		fmt.Println("ready", filepath.Dir(cp.Kubeconfig()))
		return nil
	},
}

// victimCommand is this test binary as a victim.
func victimCommand(t *testing.T, kind string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), victim+"="+kind)
	return cmd
}

// nobody is the user of that name, on Debian and elsewhere.
const nobody = 65534

// unprivileged has cmd run as nobody: what starts only as root does not start. Its programs and its cache
// are where that user can reach them, and Sweep looks there from now on.
func unprivileged(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	kubebox, err := kube.Kubebox(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "kube-nobody-") // those of t.TempDir are this user's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cache := filepath.Join(dir, "cache")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(cache, 0o755), os.Chown(cache, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	for _, program := range []*string{&cmd.Path, &kubebox} {
		to := filepath.Join(dir, filepath.Base(*program))
		text, err := os.ReadFile(*program)
		if err == nil {
			err = os.WriteFile(to, text, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		*program = to
	}
	t.Setenv("XDG_CACHE_HOME", cache)
	cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+cache, "HOME="+cache, "TMPDIR=/tmp", "PODID_KUBEBOX="+kubebox)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

// startVictim runs a victim and returns its run folder once it is ready.
func startVictim(t *testing.T, cmd *exec.Cmd) (*exec.Cmd, string) {
	t.Helper()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if dir, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
			return cmd, dir
		}
		t.Log(lines.Text())
	}
	t.Fatal("the victim never was ready")
	return nil, ""
}

// processesOf reads the numbers of the processes that a run folder records.
func processesOf(t *testing.T, dir string) (pids []int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "processes"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		pid, err := strconv.Atoi(strings.Fields(line)[0])
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil && !zombie(pid) }

// zombie tells a process that has ended and that nobody has asked about yet.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	after := string(stat[strings.LastIndexByte(string(stat), ')')+1:])
	return strings.HasPrefix(strings.TrimSpace(after), "Z")
}

// An API server with etcd needs no root: it runs as another user where this test is root.
func TestAKilledTestProcessLeavesNothing(t *testing.T) {
	killed := victimCommand(t, "control-plane")
	if os.Geteuid() == 0 {
		unprivileged(t, killed)
	}
	cmd, dir := startVictim(t, killed)
	pids := processesOf(t, dir)
	if len(pids) != 3 {
		t.Fatalf("processes %v, want etcd, kube-apiserver and kube-controller-manager", pids)
	}
	for _, pid := range pids {
		if !alive(pid) {
			t.Errorf("process %d is not there before", pid)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its processes end", func(context.Context) error {
		for _, pid := range pids {
			if alive(pid) {
				return fmt.Errorf("process %d lives", pid)
			}
		}
		return nil
	})
	if err := kube.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("run folder: %v", err)
	}
}

func TestSweepEndsAProcessThatOutlivedItsStarterAndNoOther(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	cache, err := kube.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	left, reused := exec.Command("sleep", "600"), exec.Command("sleep", "600")
	for _, cmd := range []*exec.Cmd{left, reused} {
		if err := cmd.Start(); err != nil {
			t.Skip("needs the program sleep:", err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
	}
	started := kube.StartTime(left.Process.Pid)
	if started == "" {
		t.Skip("needs a /proc that tells when a process started")
	}
	dir := filepath.Join(cache, "run", "dead")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	records := fmt.Sprintf("%d %s\n%d 1/another-boot\n", left.Process.Pid, started, reused.Process.Pid)
	for name, text := range map[string]string{dir + ".lock": "", dir + "/processes": records} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := kube.Sweep(); err != nil {
		t.Fatal(err)
	}
	if err := left.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the process that was left: %v", err)
	}
	if !alive(reused.Process.Pid) {
		t.Error("a process that only has the number of a recorded one was ended")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("run folder: %v", err)
	}
}

func TestASweepLeavesLivingClustersAlone(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir, remove, err := kube.NewRunDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := kube.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("run folder after its removal: %v", err)
	}
}

func TestTwoWhoNeedTheSameFolderMakeItOnce(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	made := make(chan string, 4)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			dir, err := kube.Once(t.Context(), "thing", t.Output(), func(dir string) error {
				made <- dir
				time.Sleep(300 * time.Millisecond) // long enough for the others to ask
				return os.WriteFile(filepath.Join(dir, "file"), []byte("whole"), 0o600)
			})
			if err != nil {
				t.Error(err)
				return
			}
			if text, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(text) != "whole" {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
	all.Wait()
	if len(made) != 1 {
		t.Errorf("made %d times", len(made))
	}
}

func TestAFolderThatCouldNotBeMadeIsTriedAgain(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	_, err := kube.Once(t.Context(), "thing", t.Output(), func(dir string) error {
		_ = os.WriteFile(filepath.Join(dir, "half"), nil, 0o600)
		return fmt.Errorf("no disk")
	})
	if err := wants(err, "no disk"); err != nil {
		t.Fatal(err)
	}
	dir, err := kube.Once(t.Context(), "thing", t.Output(), func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("what the first try left is still there: %v", left)
	}
}

func TestAProgramThatEndsEarlyIsToldWithItsLog(t *testing.T) {
	_, err := kube.Start(t.Context(), kube.Options{APIServerFlags: []string{"--no-such-flag"}})
	for _, text := range []string{"kube-apiserver ended", "unknown flag: --no-such-flag"} {
		if err := wants(err, text); err != nil {
			t.Error(err)
		}
	}
}

func TestAStartThatTakesTooLongIsGivenUp(t *testing.T) {
	defer kube.SetStartLimit(300 * time.Millisecond)() // an API server takes a second and more on any machine
	_, err := kube.Start(t.Context(), kube.Options{})
	for _, text := range []string{"was not ready within 300ms", "the end of its log"} {
		if err := wants(err, text); err != nil {
			t.Error(err)
		}
	}
}
