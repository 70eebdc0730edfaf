package handover_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/handover"
)

// giver hands over state and sockets under a name of its own until the test ends.
func giver(t *testing.T, estate handover.Estate) (name string, given <-chan struct{}) {
	t.Helper()
	name = own(t)
	ctx, cancel := context.WithCancel(t.Context())
	told, done := make(chan struct{}, 10), make(chan error, 1)
	g := &handover.Giver{
		Name: name,
		Estate: func() (handover.Estate, error) {
			return handover.Estate{State: bytes.Clone(estate.State), Sockets: estate.Sockets}, nil
		},
		Given: func() { told <- struct{}{} },
		Log:   slog.New(slog.DiscardHandler),
	}
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return name, told
}

// take tries until the giver has its name.
func take(t *testing.T, name string, accept func(handover.Estate) error) error {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		err := handover.Take(t.Context(), name, accept)
		if !errors.Is(err, syscall.ECONNREFUSED) || time.Now().After(deadline) {
			return err
		}
	}
}

func TestStateAndSocketsAreHandedOver(t *testing.T) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	state := bytes.Repeat([]byte("state "), 1<<18) // more than a socket buffers
	name, given := giver(t, handover.Estate{State: state, Sockets: []net.Listener{socket}})
	var taken net.Listener
	err = take(t, name, func(e handover.Estate) error {
		if !bytes.Equal(e.State, state) || len(e.Sockets) != 1 {
			return fmt.Errorf("%d bytes and %d sockets", len(e.State), len(e.Sockets))
		}
		taken = e.Sockets[0]
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	<-given

	// A connection that the predecessor has not accepted yet is the successor's.
	client, err := net.Dial("tcp", socket.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	socket.Close()
	server, err := taken.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if taken.Addr().String() != client.RemoteAddr().String() {
		t.Errorf("%s", taken.Addr())
	}
}

func TestWhoDoesNotAcceptHasTakenNothing(t *testing.T) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	name, given := giver(t, handover.Estate{State: []byte("x"), Sockets: []net.Listener{socket}})
	refuse := errors.New("of another version")
	if err := take(t, name, func(handover.Estate) error { return refuse }); !errors.Is(err, refuse) {
		t.Errorf("got %v", err)
	}
	if err := take(t, name, func(handover.Estate) error { return nil }); err != nil {
		t.Errorf("the next one: %v", err)
	}
	<-given
	if len(given) != 0 {
		t.Error("what was not accepted counts as given")
	}
}

func TestASuccessorThatHangsHoldsNobodyUp(t *testing.T) {
	name, given := giver(t, handover.Estate{State: make([]byte, 2<<20)})
	if err := take(t, name, func(handover.Estate) error { return nil }); err != nil {
		t.Fatal(err)
	}
	<-given
	hanging, err := net.Dial("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer hanging.Close()
	time.Sleep(20 * time.Millisecond)
	start := time.Now()
	for handover.Take(t.Context(), name, func(handover.Estate) error { return nil }) != nil {
		if time.Since(start) > 5*time.Second {
			t.Fatal("nobody is handed over to any more")
		}
	}
}

func TestNobodyThereIsSaidAtOnce(t *testing.T) {
	start := time.Now()
	err := handover.Take(t.Context(), "@podid-test-nobody", func(handover.Estate) error { return nil })
	if !errors.Is(err, syscall.ECONNREFUSED) || time.Since(start) > time.Second {
		t.Errorf("got %v after %s", err, time.Since(start))
	}
}

func TestAnotherUserGetsNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it becomes another user")
	}
	name, given := giver(t, handover.Estate{State: []byte("secret")})
	if err := take(t, name, func(handover.Estate) error { return nil }); err != nil {
		t.Fatal(err)
	}
	<-given
	anotherUserGetsNothing(t, name)
}

// anotherUserGetsNothing connects as one.
func anotherUserGetsNothing(t *testing.T, name string) {
	t.Helper()
	var other net.Conn
	var err error
	as(t, 65534, func() { other, err = net.Dial("unix", name) })
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_ = other.SetReadDeadline(time.Now().Add(5 * time.Second))
	if got, err := io.ReadAll(other); len(got) > 0 || err != nil {
		t.Errorf("it got %q, %v", got, err)
	}
}

// The name is free while no agent runs, and anybody's.
func TestNothingIsTakenFromAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it becomes another user")
	}
	name := own(t)
	var squatter net.Listener
	var err error
	as(t, 65534, func() { squatter, err = net.Listen("unix", name) })
	if err != nil {
		t.Fatal(err)
	}
	defer squatter.Close()
	go func() {
		for {
			peer, err := squatter.Accept()
			if err != nil {
				return
			}
			_, _ = peer.Write([]byte("\x00\x00\x00\x06forged")) // as send does; it may be hung up on
			_ = peer.Close()
		}
	}()
	err = handover.Take(t.Context(), name, func(e handover.Estate) error {
		t.Errorf("it took %q", e.State)
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "user 65534") {
		t.Errorf("got %v", err)
	}
}

// as does something as another user, which only this thread is.
func as(t *testing.T, user uintptr, do func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const same = ^uintptr(0)
	become := func(user uintptr) {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, same, user, same); errno != 0 {
			t.Fatal(errno)
		}
	}
	become(user)
	defer become(0)
	do()
}

func TestTheNameIsTakenOnceThePredecessorIsGone(t *testing.T) {
	name := fmt.Sprintf("@podid-test-%d-name", os.Getpid())
	predecessor, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	g := &handover.Giver{Name: name, Estate: func() (handover.Estate, error) { return handover.Estate{State: []byte("mine")}, nil }, Given: func() {}, Log: slog.New(slog.DiscardHandler)}
	go func() { done <- g.Run(ctx) }()
	time.Sleep(50 * time.Millisecond)
	predecessor.Close()
	var got string
	if err := take(t, name, func(e handover.Estate) error { got = string(e.State); return nil }); err != nil || got != "mine" {
		t.Errorf("got %q, %v", got, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
