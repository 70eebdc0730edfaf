package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/kubernetes"
)

// ClusterOptions say what a cluster with nodes is made of.
type ClusterOptions struct {
	Options
	// Nodes is how many nodes to start with: node1, node2, and so on. More come by StartNode.
	Nodes int
	// Hosts are names, beside the cluster's services, that the name server knows, and
	// their addresses: what a test listens to on Gateway, under the name that programs expect.
	Hosts map[string]string
}

// Cluster is a control plane with nodes, in a network of its own.
type Cluster struct {
	*ControlPlane
	Network *Network

	packages string // Debian's
	programs string // our own

	mu     sync.Mutex
	nodes  []*Node
	last   int // number of the node that was started last
	images []string
	names  *nameServer
}

// NewCluster starts a cluster for a test and stops it when the test ends. It skips the
// test when the machine lacks something that nodes need, and says what.
func NewCluster(t testing.TB, options ClusterOptions) *Cluster {
	t.Helper()
	NeedNodes(t)
	c, err := StartCluster(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs:\n%s", c.Tails())
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// StartCluster starts a control plane with controller manager and scheduler, a name server and
// nodes, and returns when the nodes are ready. Whoever calls it calls Stop; if nobody does, all of it
// ends with this process.
func StartCluster(ctx context.Context, options ClusterOptions) (_ *Cluster, err error) {
	if options.Progress == nil {
		options.Progress = os.Stderr
	}
	if lacks := MissingForNodes(); lacks != nil {
		return nil, fmt.Errorf("this machine cannot run nodes: %s", strings.Join(lacks, "; "))
	}
	c := &Cluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if c.packages, err = debian(ctx, options.Progress); err != nil {
		return nil, err
	}
	if c.programs, err = programs(ctx, options.Progress); err != nil {
		return nil, err
	}
	c.images = []string{filepath.Join(c.programs, "pause.tar"), filepath.Join(c.programs, "probe.tar")}
	if c.Network, err = newNetwork(); err != nil {
		return nil, err
	}
	inside := options.Options
	inside.ControllerManager, inside.scheduler = true, true
	inside.place = &placement{address: Gateway, do: c.Network.do, dial: c.Network.DialContext}
	if c.ControlPlane, err = Start(ctx, inside); err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return nil, err
	}
	if err := c.serveNames(ctx, client, options.Hosts); err != nil {
		return nil, err
	}
	if err := c.startNodes(ctx, options.Nodes); err != nil {
		return nil, err
	}
	return c, waitForDefaultAccount(ctx, client, "default")
}

func (c *Cluster) serveNames(ctx context.Context, client kubernetes.Interface, hosts map[string]string) error {
	address := net.JoinHostPort(Gateway, "53")
	packets, err := c.Network.listenPacket("udp", address)
	if err != nil {
		return err
	}
	streams, err := c.Network.Listen("tcp", address)
	if err != nil {
		return errors.Join(err, packets.Close())
	}
	c.names, err = startNameServer(ctx, client, hosts, packets, streams)
	if err != nil {
		return errors.Join(err, packets.Close(), streams.Close())
	}
	return nil
}

func (c *Cluster) startNodes(ctx context.Context, n int) error {
	results := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { _, results[i] = c.StartNode(ctx, NodeOptions{}) })
	}
	all.Wait()
	return errors.Join(results...)
}

// Nodes are those that run, in the order of their numbers.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := slices.Clone(c.nodes)
	slices.SortFunc(out, func(a, b *Node) int { return a.number - b.number })
	return out
}

// AddImage gives an image to every node, those to come included.
func (c *Cluster) AddImage(ctx context.Context, image Image) error {
	archive := c.run.file("image-" + randomName(8) + ".tar")
	if err := image.Write(archive); err != nil {
		return err
	}
	return c.AddArchive(ctx, archive)
}

// AddArchive gives the images of an archive, docker's or OCI's, to every node, those to come included.
func (c *Cluster) AddArchive(ctx context.Context, archive string) error {
	c.mu.Lock()
	c.images = append(c.images, archive)
	nodes := slices.Clone(c.nodes)
	c.mu.Unlock()
	results := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, node := range nodes {
		all.Go(func() { results[i] = node.importImages(ctx, archive) })
	}
	all.Wait()
	return errors.Join(results...)
}

// Tails is the end of every log, the nodes' included.
func (c *Cluster) Tails() string {
	var out strings.Builder
	out.WriteString(c.ControlPlane.Tails())
	for _, node := range c.Nodes() {
		for _, program := range []string{"containerd", "kubelet", "kube-proxy"} {
			fmt.Fprintf(&out, "%s\n%s", node.Name, tail(node.logFile(program)))
		}
	}
	return out.String()
}

// Stop ends everything at once and removes what it wrote.
func (c *Cluster) Stop() error {
	var errs []error
	if c.names != nil {
		c.names.close()
		c.names = nil
	}
	for _, node := range c.Nodes() {
		errs = append(errs, node.Stop())
	}
	if c.ControlPlane != nil {
		errs = append(errs, c.ControlPlane.Stop())
	}
	if c.Network != nil {
		c.Network.close()
		c.Network = nil
	}
	return errors.Join(errs...)
}
