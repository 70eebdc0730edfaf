package kube_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/openpodidentity/podid/test/kube"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func init() {
	victims["cluster"] = func() error {
		c, err := kube.StartCluster(context.Background(), kube.ClusterOptions{Nodes: 2})
		if err != nil {
			return err
		}
		client := kubernetes.NewForConfigOrDie(c.Config())
		for _, node := range c.Nodes() {
			_, err := client.CoreV1().Pods("default").Create(context.Background(), &core.Pod{
				ObjectMeta: meta.ObjectMeta{Name: "on-" + node.Name},
				Spec:       core.PodSpec{NodeName: node.Name, Containers: []core.Container{probe("sleep")}},
			}, meta.CreateOptions{})
			if err != nil {
				return err
			}
		}
		out, err := c.Kubectl(context.Background(), "wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		fmt.Println("ready", filepath.Dir(c.Kubeconfig()))
		return nil
	}
}

func TestAKilledTestProcessLeavesNothingOfItsNodes(t *testing.T) {
	kube.NeedNodes(t)
	before := hostState(t)
	cmd, dir := startVictim(t, victimCommand(t, "cluster"))
	all := descendants(t, cmd.Process.Pid)
	names := map[string]int{}
	for _, name := range all {
		names[name]++
	}
	for name, least := range map[string]int{"kubebox": 8, "kubenode": 4, "containerd": 2, "probe": 2} { // two kubenodes are pauses
		if names[name] < least {
			t.Errorf("%d processes of %s, want %d or more, in %v", names[name], name, least, names)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "every process ends", func(context.Context) error {
		for pid, name := range all {
			if pid != cmd.Process.Pid && alive(pid) {
				return fmt.Errorf("%s (%d) lives", name, pid)
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
	if after := hostState(t); after != before {
		t.Errorf("the machine is not as it was.\nbefore:\n%s\nafter:\n%s", before, after)
	}
}

// descendants are a process and all that came from it, with the names of their programs. What a container's
// shim starts has the node's first process for a parent in the end, so all are found.
func descendants(t *testing.T, root int) map[int]string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	children, names := map[int][]int{}, map[int]string{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "stat"))
		if err != nil {
			continue // it has ended meanwhile
		}
		text := string(stat)
		name, rest, _ := strings.Cut(text[strings.IndexByte(text, '(')+1:], ") ")
		var state string
		var parent int
		if _, err := fmt.Sscan(rest, &state, &parent); err != nil {
			t.Fatal(err)
		}
		children[parent], names[pid] = append(children[parent], pid), name
	}
	found := map[int]string{}
	for next := []int{root}; len(next) > 0; {
		pid := next[0]
		found[pid] = names[pid]
		next = append(next[1:], children[pid]...)
	}
	return found
}
