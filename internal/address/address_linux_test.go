package address_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/address"
	"github.com/openpodidentity/podid/internal/listen"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inside says whether the test runs in a network namespace of its own; if not it
// runs it again in one.
func inside(t *testing.T) bool {
	t.Helper()
	if os.Getenv("PODID_TEST_NETNS") == t.Name() {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes a network namespace")
	}
	command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	command.Env = append(os.Environ(), "PODID_TEST_NETNS="+t.Name())
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := command.CombinedOutput()
	switch {
	case command.Process == nil:
		t.Skipf("this machine makes no network namespaces: %v", err)
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("%s", out)
	}
	return false
}

// keep runs a keeper until the test ends.
func keep(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- (&address.Keeper{Log: slog.New(slog.DiscardHandler)}).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	eventually(t, func() bool { return has(t, address.V4.String()) })
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			out, _ := exec.Command("ip", "address").CombinedOutput()
			t.Fatalf("not within five seconds\n%s", out)
		}
	}
}

// has says whether any link has the address.
func has(t *testing.T, a string) bool {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if strings.HasPrefix(address.String(), a+"/") {
			return true
		}
	}
	return false
}

// take removes an address, as a network manager that resets links does.
func take(t *testing.T, a string) {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		list, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range list {
			if found.IP.String() == a {
				if err := netlink.AddrDel(link, &found); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func TestBothAddressesAreKept(t *testing.T) {
	if !inside(t) {
		return
	}
	keep(t)
	if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil {
		eventually(t, func() bool { return has(t, address.V6.String()) })
	}
	for _, a := range []string{address.V4.String(), address.V6.String()} {
		if has(t, a) {
			server, err := net.Listen("tcp", net.JoinHostPort(a, "80"))
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			client, err := net.Dial("tcp", server.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			client.Close()
		}
	}
}

func TestALostAddressComesBackAtOnce(t *testing.T) {
	if !inside(t) {
		return
	}
	keep(t)
	for range 3 {
		take(t, address.V4.String())
		start := time.Now()
		eventually(t, func() bool { return has(t, address.V4.String()) })
		if took := time.Since(start); took > time.Second {
			t.Errorf("it took %s", took)
		}
	}
}

// The agent's sockets are bound before their addresses are there, and serve whenever they are.
func TestWhoListensServesWhenTheAddressComesAndAgainWhenItIsBack(t *testing.T) {
	if !inside(t) {
		return
	}
	families := []string{address.V4.String()}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil {
		families = append(families, address.V6.String())
	}
	answers := func(at string) bool {
		conn, err := net.DialTimeout("tcp", at, 200*time.Millisecond)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		text, err := io.ReadAll(conn)
		return err == nil && string(text) == "here"
	}
	var listening []string
	for _, a := range families {
		listening = append(listening, net.JoinHostPort(a, "80"))
	}
	sockets, err := listen.Shared(t.Context(), listening)
	if err != nil || len(sockets) != len(families) {
		t.Fatalf("%d sockets, %v", len(sockets), err)
	}
	for _, socket := range sockets {
		t.Cleanup(func() { socket.Close() })
		go func() {
			for {
				conn, err := socket.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte("here")) // the client may be gone
				_ = conn.Close()
			}
		}()
	}
	for _, at := range listening {
		if answers(at) {
			t.Errorf("%s is there before it was added", at)
		}
	}
	keep(t)
	for range 3 {
		for i, at := range listening {
			eventually(t, func() bool { return answers(at) })
			take(t, families[i])
			eventually(t, func() bool { return has(t, families[i]) })
			eventually(t, func() bool { return answers(at) })
		}
	}
}

func TestTheAddressesOutliveTheKeeper(t *testing.T) {
	if !inside(t) {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- (&address.Keeper{Log: slog.New(slog.DiscardHandler)}).Run(ctx) }()
	eventually(t, func() bool { return has(t, address.V4.String()) })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !has(t, address.V4.String()) {
		t.Fatal("the address left with the keeper")
	}
	for range 2 { // the second time there is nothing
		if err := address.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if has(t, address.V4.String()) || has(t, address.V6.String()) {
		t.Error("an address is still there")
	}
	if _, err := netlink.LinkByName(address.Link); err == nil {
		t.Error("the link is still there")
	}
}

// Where AWS's agent, or an administrator, has put the address it stays as it is.
func TestAnAddressOfSomebodyElseIsLeftAlone(t *testing.T) {
	if !inside(t) {
		return
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := netlink.ParseAddr(address.V4.String() + "/32")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(lo, theirs); err != nil {
		t.Fatal(err)
	}
	keep(t)
	if err := address.Remove(); err != nil {
		t.Fatal(err)
	}
	if !has(t, address.V4.String()) {
		t.Error("it was removed")
	}
}

func TestWhereIPv6IsOffOnlyTheOtherIsKept(t *testing.T) {
	if !inside(t) {
		return
	}
	for _, file := range []string{"all", "default", "lo"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+file+"/disable_ipv6", []byte("1"), 0); err != nil {
			t.Skipf("IPv6 cannot be switched off here: %v", err)
		}
	}
	keep(t)
	if has(t, address.V6.String()) {
		t.Error("the IPv6 address was added")
	}
}

func TestWithoutTheRightItSaysWhichIsMissing(t *testing.T) {
	if !inside(t) {
		return
	}
	runtime.LockOSThread() // rights are a thread's; this one ends with the test
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var rights [2]unix.CapUserData
	if err := unix.Capget(&header, &rights[0]); err != nil {
		t.Fatal(err)
	}
	rights[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&header, &rights[0]); err != nil {
		t.Fatal(err)
	}
	err := (&address.Keeper{Log: slog.New(slog.DiscardHandler)}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "NET_ADMIN") {
		t.Errorf("got %v", err)
	}
}
