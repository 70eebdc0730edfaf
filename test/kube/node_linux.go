package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// NodeOptions say what a node is like. The zero value is an ordinary one.
type NodeOptions struct {
	Labels map[string]string
	Taints []core.Taint // that it registers with
}

// Node is a running node: network, process, mount, IPC and host name namespaces of its own, with
// containerd, a kubelet and kube-proxy in them.
type Node struct {
	Name    string
	IP      string // in the cluster's network
	PodCIDR string

	cluster *Cluster
	number  int
	group   string
	process *process
	link    *netlink.Handle
}

const containerdSocket = "/run/containerd/containerd.sock"

// maxNodes is what the address plan has room for.
const maxNodes = 200

// StartNode starts a node and returns when it is ready.
func (c *Cluster) StartNode(ctx context.Context, options NodeOptions) (_ *Node, err error) {
	n, err := c.newNode()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start %s: %w", n.Name, err), n.Stop())
		}
	}()
	if n.group, err = makeGroup(c.run.id, n.Name); err != nil {
		return nil, err
	}
	if err := n.boot(); err != nil {
		return nil, err
	}
	if err := n.connect(); err != nil {
		return nil, err
	}
	if err := n.startContainerd(ctx); err != nil {
		return nil, err
	}
	if err := n.startKubelet(options); err != nil {
		return nil, err
	}
	return n, n.awaitReady(ctx)
}

func (c *Cluster) newNode() (*Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == maxNodes {
		return nil, fmt.Errorf("a cluster has %d nodes in its life at most", maxNodes)
	}
	c.last++
	n := &Node{
		cluster: c, number: c.last,
		Name:    "node" + strconv.Itoa(c.last),
		IP:      "10.99.0." + strconv.Itoa(10+c.last),
		PodCIDR: "10.88." + strconv.Itoa(c.last) + ".0/24",
	}
	c.nodes = append(c.nodes, n)
	return n, nil
}

// boot starts the node's first process, which makes the node's file system.
func (n *Node) boot() error {
	c := n.cluster
	for _, dir := range []string{n.Name, n.Name + "-root"} {
		if err := os.MkdirAll(c.run.file(dir), 0o755); err != nil {
			return err
		}
	}
	files, err := n.files()
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(c.programs, "kubenode"))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
	}
	if n.process, err = c.run.start(n.Name, cmd, nil); err != nil {
		return err
	}
	return n.order(map[string]any{"Node": map[string]any{
		"Name":     n.Name,
		"Root":     c.run.file(n.Name + "-root"),
		"Packages": c.packages,
		"Kubebox":  c.kubebox,
		"Logs":     c.run.file(n.Name),
		"Files":    files,
		"Size":     "8g", // of memory, as far as it is used
	}})
}

func (n *Node) order(o any) error {
	if err := json.NewEncoder(n.process.lifeline).Encode(o); err != nil {
		return fmt.Errorf("%w\nthe end of its log:\n%s", err, n.process.tail())
	}
	return nil
}

// connect plugs the node into the cluster's network and makes its pods known to everybody else in it.
func (n *Node) connect() (err error) {
	c := n.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.link, err = c.Network.plug(n.process.cmd.Process.Pid, n.Name, n.IP); err != nil {
		return err
	}
	if err := addRoute(c.Network.link, n.PodCIDR, n.IP); err != nil {
		return err
	}
	for _, other := range c.nodes {
		if other == n || other.link == nil {
			continue
		}
		if err := errors.Join(addRoute(n.link, other.PodCIDR, other.IP), addRoute(other.link, n.PodCIDR, n.IP)); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) program(name string, args ...string) error {
	return n.order(map[string]any{"Program": map[string]any{"Name": name, "Args": args, "Log": "/var/log/kubenode/" + name + ".log"}})
}

func (n *Node) startContainerd(ctx context.Context) error {
	if err := n.program("containerd", "/usr/bin/containerd", "--config", "/etc/containerd/config.toml"); err != nil {
		return err
	}
	err := n.process.await(ctx, startLimit, func(context.Context) error {
		conn, err := net.Dial("unix", n.socket())
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		return fmt.Errorf("containerd: %w\n%s", err, tail(n.logFile("containerd")))
	}
	n.cluster.mu.Lock()
	images := slices.Clone(n.cluster.images)
	n.cluster.mu.Unlock()
	return n.importImages(ctx, images...)
}

// socket is containerd's, as seen from outside: through the first process's root.
func (n *Node) socket() string {
	return fmt.Sprintf("/proc/%d/root%s", n.process.cmd.Process.Pid, containerdSocket)
}

func (n *Node) importImages(ctx context.Context, archives ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*startLimit, fmt.Errorf("containerd took longer than %v to import images", 2*startLimit))
	defer cancel()
	for _, archive := range archives {
		cmd := n.Command(ctx, "ctr", "--namespace=k8s.io", "images", "import", "-")
		f, err := os.Open(archive)
		if err != nil {
			return err
		}
		cmd.Stdin = f
		out, err := cmd.CombinedOutput()
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("import %s: %w\n%s", filepath.Base(archive), errors.Join(err, context.Cause(ctx)), out)
		}
	}
	return nil
}

func (n *Node) startKubelet(options NodeOptions) error {
	var labels []string
	for key, value := range options.Labels {
		labels = append(labels, key+"="+value)
	}
	var taints []string
	for _, taint := range options.Taints {
		taints = append(taints, taint.ToString())
	}
	err := n.program("kubelet", "/opt/kubebox", "kubelet",
		"--config=/etc/kubernetes/kubelet.json", "--kubeconfig=/etc/kubernetes/kubelet.kubeconfig",
		"--hostname-override="+n.Name, "--node-ip="+n.IP,
		"--node-labels="+strings.Join(labels, ","), "--register-with-taints="+strings.Join(taints, ","))
	if err != nil {
		return err
	}
	return n.program("kube-proxy", "/opt/kubebox", "kube-proxy",
		"--kubeconfig=/etc/kubernetes/kube-proxy.kubeconfig", "--hostname-override="+n.Name,
		"--proxy-mode=iptables", "--cluster-cidr=10.88.0.0/16",
		"--bind-address="+n.IP, "--metrics-bind-address=127.0.0.1", "--healthz-bind-address=127.0.0.1",
		"--oom-score-adj=0",
		// These are the machine's and not to be changed.
		"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0")
}

func (n *Node) awaitReady(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(n.cluster.Config())
	if err != nil {
		return err
	}
	err = n.process.await(ctx, startLimit, func(ctx context.Context) error {
		node, err := client.CoreV1().Nodes().Get(ctx, n.Name, meta.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == core.NodeReady && condition.Status != core.ConditionTrue {
				return errors.New(condition.Message)
			} else if condition.Type == core.NodeReady {
				return nil
			}
		}
		return errors.New("it says nothing of being ready")
	})
	if err != nil {
		return fmt.Errorf("%w\n%s%s", err, tail(n.logFile("kubelet")), tail(n.logFile("containerd")))
	}
	return nil
}

// Command is a program run inside the node, with the node's file system, network and
// processes: ip, iptables, ctr, crictl if the machine has it.
func (n *Node) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	pid := strconv.Itoa(n.process.cmd.Process.Pid)
	inside := []string{"--target", pid, "--mount", "--net", "--pid", "--ipc", "--uts", "--", name}
	cmd := exec.CommandContext(ctx, "nsenter", append(inside, args...)...)
	endWithUs(cmd)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Log is what containerd, kubelet or kube-proxy of the node has logged so far.
func (n *Node) Log(program string) (string, error) {
	text, err := os.ReadFile(n.logFile(filepath.Base(program)))
	return string(text), err
}

func (n *Node) logFile(program string) string { return n.cluster.run.file(n.Name, program+".log") }

// Stop ends the node at once, as a power cut does. What it was stays in the API server.
func (n *Node) Stop() error {
	n.process.kill()
	c := n.cluster
	c.mu.Lock()
	c.nodes = slices.DeleteFunc(c.nodes, func(other *Node) bool { return other == n })
	if n.link != nil {
		n.link.Close()
		n.link = nil
	}
	c.mu.Unlock()
	if n.group == "" {
		return nil
	}
	return removeGroups(strings.TrimPrefix(n.group, "/"+groupPrefix))
}

// files are what the node's programs read.
func (n *Node) files() (map[string]string, error) {
	c := n.cluster
	server := "https://" + net.JoinHostPort(Gateway, apiServerInside)
	files := map[string]string{
		"/etc/hostname":                    n.Name + "\n",
		"/etc/hosts":                       "127.0.0.1 localhost\n" + n.IP + " " + n.Name + "\n",
		"/etc/resolv.conf":                 "nameserver " + Gateway + "\n",
		"/etc/passwd":                      "root:x:0:0:root:/root:/bin/sh\n",
		"/etc/group":                       "root:x:0:\n",
		"/etc/containerd/config.toml":      containerdConfig,
		"/etc/cni/net.d/10-podid.conflist": fmt.Sprintf(cniConfig, n.PodCIDR),
		"/etc/kubernetes/ca.crt":           string(c.ca.pem),
	}
	serving, err := c.ca.server(n.Name, n.Name, n.IP)
	if err != nil {
		return nil, err
	}
	files["/etc/kubernetes/kubelet.crt"], files["/etc/kubernetes/kubelet.key"] = string(serving.cert), string(serving.key)
	users := map[string]func() (pair, error){
		"kubelet":    func() (pair, error) { return c.ca.client("system:node:"+n.Name, "system:nodes") },
		"kube-proxy": func() (pair, error) { return c.ca.client("system:kube-proxy") },
	}
	for name, issue := range users {
		user, err := issue()
		if err != nil {
			return nil, err
		}
		text, err := kubeconfig(server, c.ca.pem, user)
		if err != nil {
			return nil, err
		}
		files["/etc/kubernetes/"+name+".kubeconfig"] = string(text)
	}
	config, err := n.kubeletConfig()
	files["/etc/kubernetes/kubelet.json"] = string(config)
	return files, err
}

func (n *Node) kubeletConfig() ([]byte, error) {
	return json.Marshal(map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1",
		"kind":       "KubeletConfiguration",
		"authentication": map[string]any{
			"x509":      map[string]any{"clientCAFile": "/etc/kubernetes/ca.crt"},
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
		},
		"authorization":            map[string]any{"mode": "Webhook"},
		"tlsCertFile":              "/etc/kubernetes/kubelet.crt",
		"tlsPrivateKeyFile":        "/etc/kubernetes/kubelet.key",
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               n.group,
		"failCgroupV1":             false,
		"failSwapOn":               false,
		"oomScoreAdj":              0,
		"clusterDNS":               []string{Gateway},
		"clusterDomain":            strings.TrimSuffix(clusterDomain, "."),
		"resolvConf":               "/etc/resolv.conf",
		// The disk is memory, and shared with everything else on the machine.
		"localStorageCapacityIsolation": false,
		"imageGCHighThresholdPercent":   100,
		"evictionHard":                  map[string]string{"memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%"},
		"nodeStatusUpdateFrequency":     "5s",
		"syncFrequency":                 "10s",
	})
}

// CNI's ptp gives each pod a cable of its own and routes between them, so that services work
// between pods of a node without the kernel's bridge filter.
const cniConfig = `{"cniVersion": "1.0.0", "name": "podid", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "ranges": [[{"subnet": "%s"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}`

const containerdConfig = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "` + containerdSocket + `"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "` + pauseImage + `"
restrict_oom_score_adj = true # a machine may be without CAP_SYS_RESOURCE
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
`
