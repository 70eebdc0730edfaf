// Package listen holds the sockets of podid's programs: it binds what the node has, shares
// the addresses with the agent that takes over, keeps one client's connections from using
// up those of the others, and ends servers together.
package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/openpodidentity/podid/problem"
)

// Shared listens on each of the addresses (IP:PORT) beside other processes of the
// same user: while an agent replaces another both serve, and no connection is refused. An
// address that the node does not have yet is bound all the same, where the kernel can
// (Linux); clients reach it once it is there, also after it was lost and came back.
// IPv6 addresses are left out where the kernel has no IPv6.
func Shared(ctx context.Context, addresses []string) ([]net.Listener, error) {
	config := net.ListenConfig{Control: share}
	var listeners []net.Listener
	for _, address := range addresses {
		ip, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, closeAll(listeners, problem.New(problem.Usage, "%q is not an address to listen on", address).
				Because("it takes an IP address and a port").Fixed("write it as 169.254.170.23:80 or [fd00:ec2::23]:80"))
		}
		listener, err := config.Listen(ctx, "tcp", address)
		if ip.Addr().Is6() && errors.Is(err, syscall.EAFNOSUPPORT) {
			continue
		}
		if err != nil {
			return nil, closeAll(listeners, explain(address, err))
		}
		listeners = append(listeners, listener)
	}
	if len(listeners) == 0 {
		return nil, problem.New(problem.AddressUnavailable, "there is no address to listen on").
			Because("of %q this node can have none", addresses).Fixed("give an IPv4 address, or switch on IPv6 in the kernel")
	}
	return listeners, nil
}

// Alone listens on an address that no other process may share.
func Alone(ctx context.Context, address string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, explain(address, err)
	}
	return listener, nil
}

func explain(address string, err error) error {
	p := problem.New(problem.AddressUnavailable, "the agent cannot listen on %s", address).From(err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return p.Because("another program listens there: on EKS perhaps eks-pod-identity-agent").
			Fixed("remove that program from the node, or give podid-agent another address")
	case errors.Is(err, syscall.EACCES):
		return p.Because("a port below 1024 takes the capability NET_BIND_SERVICE").
			Fixed("use podid's image, whose program has it as a file capability, or give the agent a higher port (--listen)")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return p.Because("this node does not have the address").Fixed("run podid-address beside the agent: it adds it")
	}
	return p.Because("the kernel refused it").Fixed("look at the cause in the agent's log")
}

func closeAll(listeners []net.Listener, err error) error {
	for _, listener := range listeners {
		err = errors.Join(err, listener.Close())
	}
	return err
}

// Here says whether this node has the address of a (IP:PORT) now.
func Here(ctx context.Context, a string) error {
	ip, err := netip.ParseAddrPort(a)
	if err != nil {
		return fmt.Errorf("read address: %w", err)
	}
	// Nothing is sent: the kernel binds only what the node has.
	packets, err := new(net.ListenConfig).ListenPacket(ctx, "udp", netip.AddrPortFrom(ip.Addr(), 0).String())
	if err != nil {
		return err
	}
	return packets.Close()
}
