package address

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/openpodidentity/podid/problem"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// add puts the addresses where no link has them, and returns those it added.
func add() ([]placed, error) {
	var added []placed
	if link, err := netlink.LinkByName(Link); err == nil && link.Attrs().Flags&net.FlagUp == 0 {
		// A link that is down answers nobody, though it has its address.
		if err := netlink.LinkSetUp(link); err != nil {
			return nil, refused(err, "the link %s cannot be switched on", Link)
		}
	}
	for _, a := range []netip.Addr{V4, V6} {
		if a.Is6() && ipv6Off() {
			continue
		}
		if has, err := present(a); err != nil || has {
			if err != nil {
				return added, err
			}
			continue
		}
		link, err := carrier()
		if err != nil {
			return added, err
		}
		err = netlink.AddrAdd(link, wanted(a, link))
		switch {
		case errors.Is(err, unix.EEXIST): // somebody else was faster
		case a.Is6() && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)):
			// IPv6 is off on this link: pods of this node do not use it either.
		case err != nil:
			return added, refused(err, "the address %s cannot be added to %s", a, link.Attrs().Name)
		default:
			added = append(added, placed{a, link.Attrs().Name})
		}
	}
	return added, nil
}

// wanted is a as link is to carry it: for itself alone (no network of its own),
// and never as the source of the node's own connections.
func wanted(a netip.Addr, link netlink.Link) *netlink.Addr {
	address := &netlink.Addr{
		IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())},
		Scope: unix.RT_SCOPE_LINK,
	}
	if a.Is6() {
		address.Scope = unix.RT_SCOPE_UNIVERSE // the kernel derives it
		address.Flags = unix.IFA_F_NODAD       // nobody else answers on this link
		return address
	}
	if link.Attrs().Name != Link {
		address.Label = label
	}
	return address
}

// present says whether any link of the node has a: ours, loopback, or that of
// another agent.
func present(a netip.Addr) (bool, error) {
	list, err := netlink.AddrList(nil, family(a))
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return false, refused(err, "the node's addresses cannot be listed")
	}
	for _, found := range list {
		if found.IP.Equal(a.AsSlice()) {
			return true, nil
		}
	}
	return false, nil
}

// carrier is the link for the addresses: our own where the kernel has such
// devices, else loopback.
func carrier() (netlink.Link, error) {
	link, err := netlink.LinkByName(Link)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = Link
		err = netlink.LinkAdd(&netlink.Dummy{LinkAttrs: attributes})
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENODEV) { // no dummy devices in this kernel
			return loopback()
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, refused(err, "the link %s cannot be made", Link)
		}
		link, err = netlink.LinkByName(Link)
	}
	if err != nil {
		return nil, refused(err, "the link %s cannot be found", Link)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, refused(err, "the link %s cannot be switched on", Link)
	}
	return link, nil
}

func loopback() (netlink.Link, error) {
	link, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, refused(err, "the loopback link cannot be found")
	}
	return link, nil
}

// Remove takes the addresses off the node, and the link of our own. Those that
// another program put elsewhere stay. Nothing there is no error.
func Remove() error {
	link, err := netlink.LinkByName(Link)
	if err == nil {
		if err := netlink.LinkDel(link); err != nil {
			return refused(err, "the link %s cannot be removed", Link)
		}
	} else if _, missing := errors.AsType[netlink.LinkNotFoundError](err); !missing {
		return refused(err, "the link %s cannot be found", Link)
	}
	link, err = loopback()
	if err != nil {
		return err
	}
	for _, a := range []netip.Addr{V4, V6} {
		list, err := netlink.AddrList(link, family(a))
		if err != nil {
			return refused(err, "the addresses of loopback cannot be listed")
		}
		for _, found := range list {
			// IPv6 has no labels; on loopback nobody else puts this one.
			if !found.IP.Equal(a.AsSlice()) || a.Is4() && found.Label != label {
				continue
			}
			if err := netlink.AddrDel(link, &found); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return refused(err, "the address %s cannot be removed from loopback", a)
			}
		}
	}
	return nil
}

// watch yields when the kernel tells that one of the addresses was lost. Without
// that the [Keeper] still looks from time to time.
func watch(ctx context.Context) <-chan struct{} {
	lost := make(chan struct{}, 1)
	updates := make(chan netlink.AddrUpdate)
	if netlink.AddrSubscribe(updates, ctx.Done()) != nil {
		return lost
	}
	go func() {
		for update := range updates {
			if update.NewAddr || !ours(update.LinkAddress.IP) {
				continue
			}
			select {
			case lost <- struct{}{}:
			default: // told already
			}
		}
	}()
	return lost
}

func ours(ip net.IP) bool { return ip.Equal(V4.AsSlice()) || ip.Equal(V6.AsSlice()) }

func family(a netip.Addr) int {
	if a.Is6() {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}

// ipv6Off says that the kernel has no IPv6, or that the node has it switched off.
func ipv6Off() bool {
	text, err := os.ReadFile("/proc/sys/net/ipv6/conf/all/disable_ipv6")
	return err != nil || bytes.Equal(bytes.TrimSpace(text), []byte("1"))
}

func refused(err error, format string, args ...any) error {
	p := problem.New(problem.AddressUnavailable, "%s", fmt.Sprintf(format, args...)).From(err)
	if errors.Is(err, unix.EPERM) {
		return p.Because("it takes the capability NET_ADMIN in the node's network namespace").
			Fixed("run it as a container with hostNetwork and the capability NET_ADMIN, as deploy/install.yaml does")
	}
	return p.Because("%v", err).Fixed("look at the node's links: ip address")
}
