package listen_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/listen"
)

// serve serves what answers "ok" within the bounds, on loopback; a request for
// /wait is held until release is closed.
func serve(t *testing.T, bounds *listen.Connections) (address string, release chan struct{}) {
	t.Helper()
	release = make(chan struct{})
	listeners, err := listen.Shared(t.Context(), []string{"127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ReadHeaderTimeout: 200 * time.Millisecond,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/wait" {
				<-release
			}
			_, _ = io.WriteString(w, "ok")
		}),
	}
	bounds.Guard(server)
	done := make(chan struct{})
	go func() {
		_ = server.Serve(bounds.Listener(listeners[0]))
		close(done)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return listeners[0].Addr().String(), release
}

// dial connects from one of the addresses of loopback.
func dial(t *testing.T, from, to string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask sends a request and returns whether it was answered.
func ask(conn net.Conn) bool {
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return false
	}
	b := make([]byte, 12)
	_, err := io.ReadFull(conn, b)
	if err != nil || string(b) != "HTTP/1.1 200" {
		return false
	}
	rest := make([]byte, 4096)
	_, err = conn.Read(rest)
	return err == nil
}

func closedByPeer(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := conn.Read(make([]byte, 1))
	timeout, is := err.(net.Error)
	return err != nil && (!is || !timeout.Timeout())
}

func TestAClientAtItsBoundLosesItsOldestIdleConnection(t *testing.T) {
	bounds := &listen.Connections{Total: 100, PerClient: 2}
	address, _ := serve(t, bounds)
	first, second := dial(t, "127.0.0.1", address), dial(t, "127.0.0.1", address)
	if !ask(first) || !ask(second) || !ask(first) {
		t.Fatal("no answer")
	}
	third := dial(t, "127.0.0.1", address)
	if !ask(third) || !ask(first) || !closedByPeer(second) {
		t.Error("another went than the one whose last request was longest ago")
	}
	if n := bounds.Count(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestTheClientWithTheMostMakesRoom(t *testing.T) {
	address, _ := serve(t, &listen.Connections{Total: 4, PerClient: 3})
	neighbour := dial(t, "127.0.0.2", address)
	if !ask(neighbour) {
		t.Fatal("no answer")
	}
	for range 3 {
		dial(t, "127.0.0.1", address)
	}
	if !ask(dial(t, "127.0.0.3", address)) || !ask(neighbour) {
		t.Error("a neighbour made room for another")
	}
}

func TestWhoIsBeingAnsweredKeepsItsConnection(t *testing.T) {
	turnedAway := make(chan struct{}, 10)
	address, release := serve(t, &listen.Connections{Total: 1, PerClient: 1, Closed: func() { turnedAway <- struct{}{} }})
	conn := dial(t, "127.0.0.1", address)
	if _, err := io.WriteString(conn, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // until the request has been read
	if !closedByPeer(dial(t, "127.0.0.2", address)) {
		t.Error("the new connection was not refused")
	}
	<-turnedAway
	close(release)
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Errorf("the answer was cut off: %v", err)
	}
}

func TestSlowHeadersAreCutOff(t *testing.T) {
	bounds := &listen.Connections{Total: 100, PerClient: 100}
	address, _ := serve(t, bounds)
	conn := dial(t, "127.0.0.1", address)
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHo"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(5 * time.Second); bounds.Count() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the connection is still counted")
		}
	}
}

func TestTwoProcessesShareAnAddress(t *testing.T) {
	first, err := listen.Shared(t.Context(), []string{"127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer first[0].Close()
	second, err := listen.Shared(t.Context(), []string{first[0].Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	second[0].Close()
	if _, err := listen.Alone(t.Context(), first[0].Addr().String()); err == nil {
		t.Error("somebody else may listen there too")
	}
}

func TestAnAddressThatIsNotThereYetIsBound(t *testing.T) {
	const absent = "192.0.2.1:0" // RFC 5737: nobody has it
	listeners, err := listen.Shared(t.Context(), []string{absent})
	if err != nil {
		t.Fatal(err)
	}
	listeners[0].Close()
	if listen.Here(context.Background(), absent) == nil || listen.Here(context.Background(), "127.0.0.1:80") != nil {
		t.Error("it is not told which addresses this node has")
	}
}
