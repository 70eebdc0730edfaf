//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// node says what the node's file system holds: a tmpfs, with the machine's /usr and
// Debian's packages in it for reading, and the folder for logs.
type node struct {
	Name     string
	Root     string            // an empty folder to mount the file system on
	Packages string            // usr/ of it lies over the machine's /usr
	Kubebox  string            // a program, seen as /opt/kubebox
	Logs     string            // a folder, seen as /var/log/kubenode
	Files    map[string]string // what is written into it
	Size     string            // of the tmpfs
}

// program is started with its output in a log and what the node's environment is.
type program struct {
	Name string
	Args []string
	Log  string
}

// running maps the numbers of processes to the names of programs. It is locked while one
// is started, so that none ends before its name is known.
var running = struct {
	sync.Mutex
	name map[int]string
}{name: map[int]string{}}

func (p *program) start() error {
	out, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer nothing.Close()
	running.Lock()
	defer running.Unlock()
	// Not os/exec: its Wait and reap's would take each other's answers.
	pid, err := syscall.ForkExec(p.Args[0], p.Args, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"},
		Files: []uintptr{nothing.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return err
	}
	running.name[pid] = p.Name
	return nil
}

// setUp makes the node's file system the root. What the machine has is seen read-only or not at all,
// but for devices, and control groups, where the kubelet keeps to the node's own group.
func (n *node) setUp() error {
	if err := syscall.Sethostname([]byte(n.Name)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	// From here on no mount is seen outside.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", n.Root, "tmpfs", 0, "mode=755,size="+n.Size); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	steps := []func() error{n.mountPrograms, n.mountKernel, n.showPrograms, n.writeFiles, n.enter, guardKernelSettings}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	// Pods may ask for mounts to reach them; shared among the node's mounts only.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
}

func (n *node) at(path string) string { return filepath.Join(n.Root, path) }

func (n *node) mountPrograms() error {
	if err := os.MkdirAll(n.at("usr"), 0o755); err != nil {
		return err
	}
	lower := "lowerdir=" + filepath.Join(n.Packages, "usr") + ":/usr"
	if err := syscall.Mount("overlay", n.at("usr"), "overlay", syscall.MS_RDONLY, lower); err != nil {
		return fmt.Errorf("lay the packages over /usr: %w", err)
	}
	for _, name := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64"} {
		target, err := os.Readlink(name)
		if err == nil {
			err = os.Symlink(target, n.at(name))
		} else if _, missing := os.Stat(name); errors.Is(missing, fs.ErrNotExist) {
			continue
		} else {
			err = bind(name, n.at(name), syscall.MS_RDONLY)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *node) mountKernel() error {
	for _, name := range []string{"/dev", "/sys"} {
		if err := bind(name, n.at(name), syscall.MS_REC); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(n.at("proc"), 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("proc", n.at("proc"), "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

func (n *node) showPrograms() error {
	kubebox := n.at("opt/kubebox")
	if err := os.MkdirAll(filepath.Dir(kubebox), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(kubebox, nil, 0o600); err != nil { // a file to show the other one on
		return err
	}
	if err := bindAt(n.Kubebox, kubebox, syscall.MS_RDONLY); err != nil {
		return err
	}
	// For programs that are a link to here.
	if _, err := os.Stat("/etc/alternatives"); err == nil {
		if err := bind("/etc/alternatives", n.at("/etc/alternatives"), syscall.MS_RDONLY); err != nil {
			return err
		}
	}
	return bind(n.Logs, n.at("var/log/kubenode"), 0)
}

func (n *node) writeFiles() error {
	for _, dir := range []string{"root", "tmp", "run", "var/lib", "var/log", "var/tmp", "etc/cni/net.d"} {
		if err := os.MkdirAll(n.at(dir), 0o755); err != nil {
			return err
		}
	}
	for name, text := range n.Files {
		if err := os.MkdirAll(filepath.Dir(n.at(name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(n.at(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	for _, name := range []string{"tmp", "var/tmp"} {
		if err := os.Chmod(n.at(name), 0o777|fs.ModeSticky); err != nil {
			return err
		}
	}
	return nil
}

// enter makes the file system the root and lets go of the old one.
func (n *node) enter() error {
	if err := os.Chdir(n.Root); err != nil {
		return err
	}
	// Stacked on the old root, which then is unmounted: no folder for it is needed.
	if err := syscall.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := syscall.Unmount(".", syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the old root: %w", err)
	}
	return os.Chdir("/")
}

// kernelSettings are the machine's, not the node's, and a kubelet sets them.
var kernelSettings = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// guardKernelSettings lets the kubelet find its settings as it wants them, in files that are no
// settings, and makes the rest read-only but for what a network namespace has of its own.
func guardKernelSettings() error {
	const settings = "/proc/sys"
	// net is a mount of its own, which does not turn read-only with the one it is on.
	if err := bind(settings+"/net", settings+"/net", 0); err != nil {
		return err
	}
	if err := bind(settings, settings, syscall.MS_REC|syscall.MS_RDONLY); err != nil {
		return err
	}
	for name, value := range kernelSettings {
		file := filepath.Join("/run/kernel", strings.ReplaceAll(name, "/", "."))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(settings, name)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := syscall.Mount(file, filepath.Join(settings, name), "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("stand in for %s: %w", name, err)
		}
	}
	return nil
}

// bind shows the folder from at to, which is made.
func bind(from, to string, flags uintptr) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	return bindAt(from, to, flags)
}

func bindAt(from, to string, flags uintptr) error {
	if err := syscall.Mount(from, to, "", syscall.MS_BIND|flags&syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("show %s in the node: %w", from, err)
	}
	if flags&syscall.MS_RDONLY == 0 {
		return nil
	}
	// A bind mount takes its flags only in a second step.
	if err := syscall.Mount("", to, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("show %s read-only in the node: %w", from, err)
	}
	return nil
}
