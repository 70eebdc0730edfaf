package kube

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"

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
