package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const cgroups = "/sys/fs/cgroup"

// groupPrefix begins the name of each cluster's own control group; nothing outside such groups is written to.
const groupPrefix = "podid-kube-"

// unified tells a machine with cgroup v2 alone.
func unified() bool {
	var fs unix.Statfs_t
	return unix.Statfs(cgroups, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// hierarchies are the folders in which a group is made: one with cgroup v2; with v1 one per set of
// controllers, and the two that have none, since the kubelet and runc go by each of them.
func hierarchies() ([]string, error) {
	if unified() {
		return []string{cgroups}, nil
	}
	entries, err := os.ReadDir(cgroups)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, entry := range entries {
		dir := filepath.Join(cgroups, entry.Name())
		if !entry.IsDir() { // cpu may be a link to cpu,cpuacct
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			out = append(out, dir)
		}
	}
	return out, nil
}

// missingControllers names what a kubelet and runc need and the machine does not give.
func missingControllers() []string {
	var have, want []string
	if unified() {
		text, _ := os.ReadFile(filepath.Join(cgroups, "cgroup.subtree_control"))
		have, want = strings.Fields(string(text)), []string{"cpu", "cpuset", "memory", "pids"}
	} else {
		dirs, _ := hierarchies()
		for _, dir := range dirs {
			have = append(have, strings.Split(filepath.Base(dir), ",")...)
		}
		want = []string{"cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"}
	}
	return slices.DeleteFunc(want, func(name string) bool { return slices.Contains(have, name) })
}

// makeGroup makes a node's control group inside the cluster's, in every hierarchy.
func makeGroup(id, node string) (string, error) {
	dirs, err := hierarchies()
	if err != nil {
		return "", err
	}
	for _, dir := range dirs {
		parent := dir
		for _, name := range []string{groupPrefix + id, node} {
			group := filepath.Join(parent, name)
			if err := os.Mkdir(group, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return "", fmt.Errorf("make a control group: %w", err)
			}
			if err := prepareGroup(parent, group); err != nil {
				return "", fmt.Errorf("prepare a control group: %w", err)
			}
			parent = group
		}
	}
	return "/" + groupPrefix + id + "/" + node, nil
}

func prepareGroup(parent, group string) error {
	if unified() {
		text, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
		if err != nil {
			return err
		}
		enable := "+" + strings.Join(strings.Fields(string(text)), " +")
		return os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte(enable), 0)
	}
	// A new cpuset of v1 is empty and takes no process until it is given something.
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		text, err := os.ReadFile(filepath.Join(parent, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(group, file), text, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// removeGroups removes the control groups of a cluster, or of one of its nodes (id/node), after
// killing what is still in them. A process that is being killed keeps its group for a moment.
func removeGroups(id string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	limit := time.Now().Add(20 * time.Second)
	for _, dir := range dirs {
		top := filepath.Join(dir, groupPrefix+id)
		for {
			err := removeTree(top)
			if err == nil {
				break
			}
			if time.Now().After(limit) {
				return fmt.Errorf("remove control group %s: %w", top, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

func removeTree(top string) error {
	var groups []string
	err := filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			groups = append(groups, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, group := range slices.Backward(groups) {
		killAll(group)
		if err := syscall.Rmdir(group); err != nil && !errors.Is(err, syscall.ENOENT) {
			return err
		}
	}
	return nil
}

// killAll ends the processes in a group: all are children of a container that we started.
func killAll(group string) {
	text, _ := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	for line := range strings.Lines(string(text)) {
		var pid int
		if _, err := fmt.Sscan(line, &pid); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
