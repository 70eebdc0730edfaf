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
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/handover"

	"golang.org/x/sys/unix"
)

// own is a name that nobody else has.
func own(t *testing.T) string { return fmt.Sprintf("@podid-test-%d-%s", os.Getpid(), t.Name()) }

// holding runs a holder under a name of the test's own until end, or the end of the test.
func holding(t *testing.T, patience time.Duration) (name string, end func()) {
	t.Helper()
	name = own(t)
	return name, hold(t, name, patience)
}

func hold(t *testing.T, name string, patience time.Duration) (end func()) {
	t.Helper()
	return run(t, &handover.Holder{Name: name, For: patience, Log: slog.New(slog.DiscardHandler)})
}

func run(t *testing.T, h *handover.Holder) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx); close(done) }()
	end = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(end)
	return end
}

// serving is an agent that entrusts a socket; gone ends it as the kernel ends a process.
func serving(t *testing.T, name string, socket net.Listener) (gone func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		handover.Entrust(ctx, name, []net.Listener{socket}, slog.New(slog.DiscardHandler))
	}()
	gone = func() {
		socket.Close()
		cancel()
		<-done
	}
	t.Cleanup(gone)
	return gone
}

// borrow tries until the holder has one socket, at the address of want.
func borrow(t *testing.T, name string, want net.Listener) net.Listener {
	t.Helper()
	var held []net.Listener
	var err error
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if held, err = handover.Borrow(t.Context(), name); len(held) == 1 && held[0].Addr().String() == want.Addr().String() {
			t.Cleanup(func() { held[0].Close() })
			return held[0]
		}
		for _, socket := range held {
			socket.Close()
		}
	}
	t.Fatalf("it holds %v, %v", held, err)
	return nil
}

// shared listens at an address beside others.
func shared(t *testing.T, address string) net.Listener {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }), err)
	}}
	socket, err := config.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return socket
}

func TestWhoConnectsWhileThereIsNoAgentWaitsForTheNext(t *testing.T) {
	name, _ := holding(t, 0)
	socket := shared(t, "127.0.0.1:0")
	gone := serving(t, name, socket)
	borrow(t, name, socket).Close()
	gone()

	client, err := net.Dial("tcp", socket.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	next := borrow(t, name, socket)
	defer serving(t, name, next)()
	server, err := next.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	got := make([]byte, 5)
	if _, err := io.ReadFull(server, got); err != nil || string(got) != "hello" {
		t.Errorf("the next agent reads %q, %v", got, err)
	}
}

func TestWithoutANextAgentNobodyWaitsLong(t *testing.T) {
	name, _ := holding(t, 50*time.Millisecond)
	socket := shared(t, "127.0.0.1:0")
	gone := serving(t, name, socket)
	borrow(t, name, socket).Close()
	gone()
	waiting, err := net.Dial("tcp", socket.Addr().String())
	if err == nil {
		defer waiting.Close()
		_ = waiting.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := waiting.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("who waits is told %v", err)
		}
	}
	if client, err := net.Dial("tcp", socket.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("who comes then is told %v", err)
		if client != nil {
			client.Close()
		}
	}
}

// The kernel gives each socket of an address its share: one that nobody serves would keep connections for itself.
func TestOfTwoAgentsNoSocketStaysThatNobodyServes(t *testing.T) {
	name, _ := holding(t, 0)
	old := shared(t, "127.0.0.1:0")
	oldGone := serving(t, name, old)
	borrow(t, name, old).Close()
	young := shared(t, old.Addr().String())
	serving(t, name, young)
	time.Sleep(50 * time.Millisecond) // for it to have entrusted its own: nothing tells them apart
	oldGone()
	getsAll(t, young)
}

func TestANextAgentWithASocketOfItsOwnEndsTheWait(t *testing.T) {
	name, _ := holding(t, time.Minute)
	old := shared(t, "127.0.0.1:0")
	oldGone := serving(t, name, old)
	borrow(t, name, old).Close()
	oldGone()
	young := shared(t, old.Addr().String())
	serving(t, name, young)
	getsAll(t, young)
}

// getsAll waits until every connection to its address is socket's.
func getsAll(t *testing.T, socket net.Listener) {
	t.Helper()
	count := 0
	for deadline := time.Now().Add(5 * time.Second); count < 100 && time.Now().Before(deadline); {
		client, err := net.Dial("tcp", socket.Addr().String())
		if err != nil {
			count = 0 // reset: the holder closes the other just now
			continue
		}
		_ = socket.(*net.TCPListener).SetDeadline(time.Now().Add(100 * time.Millisecond))
		server, err := socket.Accept()
		if err != nil {
			count = 0 // or has not noticed yet
		} else {
			server.Close()
			count++
		}
		client.Close()
	}
	if count < 100 {
		t.Error("some connections reach nobody")
	}
}

func TestAnotherHolderIsEntrustedToo(t *testing.T) {
	name, end := holding(t, 0)
	socket := shared(t, "127.0.0.1:0")
	serving(t, name, socket)
	borrow(t, name, socket).Close()
	end()
	hold(t, name, 0)
	borrow(t, name, socket).Close()
}

func TestAnotherUserBorrowsNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it becomes another user")
	}
	var said bytes.Buffer
	name := own(t)
	end := run(t, &handover.Holder{Name: name, Log: slog.New(slog.NewTextHandler(&said, nil))})
	socket := shared(t, "127.0.0.1:0")
	serving(t, name, socket)
	borrow(t, name, socket).Close()
	anotherUserGetsNothing(t, name)
	// Nor does who tries often keep the agent out, or fill the log.
	for range 20 {
		as(t, 65534, func() {
			if other, err := net.Dial("unix", name); err == nil {
				other.Close()
			}
		})
	}
	borrow(t, name, socket).Close()
	end()
	if n := strings.Count(said.String(), "user 65534"); n != 1 {
		t.Errorf("it warned %d times: %s", n, &said)
	}
}

func TestWhoOnlyBorrowsIsNothingToWarnOf(t *testing.T) {
	var said bytes.Buffer
	name := own(t)
	end := run(t, &handover.Holder{Name: name, Log: slog.New(slog.NewTextHandler(&said, nil))})
	socket := shared(t, "127.0.0.1:0")
	serving(t, name, socket)
	for range 200 {
		borrow(t, name, socket).Close()
	}
	end()
	if said.Len() > 0 {
		t.Errorf("it says\n%s", &said)
	}
}

// It is started again then. As long as it held on, the agent would take it for well, and the next one find nobody.
func TestAHolderThatCannotAcceptEnds(t *testing.T) {
	name := own(t)
	ended := make(chan error, 1)
	h := &handover.Holder{Name: name, Log: slog.New(slog.DiscardHandler)}
	go func() { ended <- h.Run(t.Context()) }()
	socket := shared(t, "127.0.0.1:0")
	serving(t, name, socket)
	borrow(t, name, socket).Close()

	client, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(client)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}); err != nil { // all are in use
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }()
	if err := unix.Connect(client, &unix.SockaddrUnix{Name: name}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, syscall.EMFILE) {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("it does not end")
	}
}
