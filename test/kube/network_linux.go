package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Network is a network namespace of a cluster's own, held by this process alone: the control plane
// is in it, and a bridge to which nodes are plugged. It has no way out and none in but the
// methods here; the machine's own network is as it was.
type Network struct {
	link   *netlink.Handle
	bridge netlink.Link

	mu     sync.RWMutex // held for reading while a thread enters, so that it enters no other
	inside netns.NsHandle
}

// home is the network namespace of this process, to which threads return.
var home = sync.OnceValues(func() (netns.NsHandle, error) { return netns.GetFromPath("/proc/self/ns/net") })

// Gateway is the network's own address, at which nodes and pods find the API server, the
// name server, and what a test listens to.
const Gateway = "10.99.0.1"

func newNetwork() (_ *Network, err error) {
	n := &Network{inside: netns.None()}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if err := awayFromHome(func() error {
		if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
			return err
		}
		n.inside, err = netns.Get()
		return err
	}); err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	if n.link, err = netlink.NewHandleAt(n.inside); err != nil {
		return nil, err
	}
	if err := up(n.link, "lo"); err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "nodes"
	if err := n.link.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return nil, fmt.Errorf("make a bridge: %w", err)
	}
	if n.bridge, err = n.link.LinkByName("nodes"); err != nil {
		return nil, err
	}
	if err := addAddress(n.link, n.bridge, Gateway+"/24"); err != nil {
		return nil, err
	}
	if err := n.link.LinkSetUp(n.bridge); err != nil {
		return nil, err
	}
	return n, n.do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) })
}

func up(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	return h.LinkSetUp(link)
}

func addAddress(h *netlink.Handle, link netlink.Link, address string) error {
	parsed, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	if err := h.AddrAdd(link, parsed); err != nil {
		return fmt.Errorf("add %s to %s: %w", address, link.Attrs().Name, err)
	}
	return nil
}

// addRoute sends what is for destination by way of via.
func addRoute(h *netlink.Handle, destination, via string) error {
	_, to, err := net.ParseCIDR(destination)
	if err != nil {
		return err
	}
	if err := h.RouteReplace(&netlink.Route{Dst: to, Gw: net.ParseIP(via)}); err != nil {
		return fmt.Errorf("route %s by %s: %w", destination, via, err)
	}
	return nil
}

// plug connects the network namespace of a process with a cable: eth0 there, a port of the bridge here.
func (n *Network) plug(pid int, port, address string) (*netlink.Handle, error) {
	there, err := netns.GetFromPid(pid)
	if err != nil {
		return nil, fmt.Errorf("open the node's network namespace: %w", err)
	}
	defer there.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = port, n.bridge.Attrs().Index
	if err := n.link.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(there)}); err != nil {
		return nil, fmt.Errorf("make a cable to the node: %w", err)
	}
	if err := up(n.link, port); err != nil {
		return nil, err
	}
	h, err := netlink.NewHandleAt(there)
	if err != nil {
		return nil, err
	}
	eth0, err := h.LinkByName("eth0")
	if err == nil {
		err = errors.Join(addAddress(h, eth0, address+"/24"), h.LinkSetUp(eth0), up(h, "lo"), addRoute(h, "0.0.0.0/0", Gateway))
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// do runs f on a thread that is inside the network: what it opens and starts is there.
func (n *Network) do(f func() error) error {
	return awayFromHome(func() error {
		n.mu.RLock()
		err := netns.Set(n.inside)
		n.mu.RUnlock()
		if err != nil {
			return fmt.Errorf("enter the network namespace: %w", err)
		}
		return f()
	})
}

// awayFromHome runs f, which may enter another network namespace, on a thread of its own and
// takes the thread home afterwards.
func awayFromHome(f func() error) error {
	back, err := home()
	if err != nil {
		return fmt.Errorf("open the network namespace: %w", err)
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := f()
		if lost := netns.Set(back); lost != nil {
			// The thread stays locked and dies with the goroutine: nobody else gets it.
			result <- errors.Join(err, fmt.Errorf("leave the network namespace: %w", lost))
			return
		}
		runtime.UnlockOSThread()
		result <- err
	}()
	return <-result
}

// DialContext connects to an address inside, such as a pod's. The host is an IP address.
func (n *Network) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	if err := needIP(address); err != nil {
		return nil, err
	}
	err = n.do(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens inside the network, for nodes and pods to connect to, at Gateway or any port of it:
// Listen("tcp", net.JoinHostPort(kube.Gateway, "0")).
func (n *Network) Listen(network, address string) (l net.Listener, err error) {
	if err := needIP(address); err != nil {
		return nil, err
	}
	err = n.do(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

func (n *Network) listenPacket(network, address string) (c net.PacketConn, err error) {
	err = n.do(func() error {
		c, err = net.ListenPacket(network, address)
		return err
	})
	return c, err
}

// needIP refuses names: resolving one happens on other threads, which are not inside.
func needIP(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err == nil && net.ParseIP(host) == nil {
		err = fmt.Errorf("%q is not an IP address", host)
	}
	return err
}

// close lets go of the namespace. The kernel removes it, and its links, when nothing runs in it.
func (n *Network) close() {
	if n.link != nil {
		n.link.Close()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	_ = n.inside.Close()
}
