package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
)

// MissingForNodes names what the machine lacks to run nodes; nil if it lacks nothing.
var MissingForNodes = sync.OnceValue(func() (lacks []string) {
	if os.Geteuid() != 0 {
		return []string{"root (nodes have namespaces and control groups of their own)"}
	}
	for program, of := range map[string]string{"apt-get": "Debian's packages of containerd and runc", "dpkg-deb": "unpacking them", "nsenter": "running programs in nodes"} {
		if _, err := exec.LookPath(program); err != nil {
			lacks = append(lacks, program+" ("+of+")")
		}
	}
	slices.Sort(lacks)
	if missing := missingControllers(); len(missing) > 0 {
		lacks = append(lacks, "cgroup controllers "+strings.Join(missing, ", "))
	}
	if err := tryNetwork(); err != nil {
		lacks = append(lacks, "network namespaces with bridge and veth ("+err.Error()+")")
	}
	if text, err := os.ReadFile("/proc/filesystems"); err == nil && !strings.Contains(string(text), "overlay") {
		lacks = append(lacks, "the overlay file system")
	}
	return lacks
})

// tryNetwork makes what a cluster's network is made of, in a namespace that is gone afterwards.
func tryNetwork() error {
	n, err := newNetwork()
	if err != nil {
		return err
	}
	defer n.close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "try"
	if err := n.link.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "other"}); err != nil {
		return errors.New("make a veth pair: " + err.Error())
	}
	return nil
}

// Build builds and downloads into the cache what control planes and nodes need, as far as this machine can
// run them.
func Build(ctx context.Context, progress io.Writer) error {
	if _, err := Kubebox(ctx, progress); err != nil {
		return err
	}
	if lacks := MissingForNodes(); lacks != nil {
		fmt.Fprintf(progress, "kube: no nodes here, because this machine lacks %s\n", strings.Join(lacks, "; "))
		return nil
	}
	if _, err := debian(ctx, progress); err != nil {
		return err
	}
	_, err := programs(ctx, progress)
	return err
}

// endWithUs has the kernel kill a program that reads no lifeline when this process dies. It goes by the thread
// that starts the program; Go keeps its threads, and those that enter a network namespace come home.
func endWithUs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
