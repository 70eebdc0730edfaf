package handover

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSockets that are handed over.
const maxSockets = 16

func listen(name string) (*net.UnixListener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: name})
}

func dial(ctx context.Context, name string) (*net.UnixConn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", name)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// sameUser says that the process at the other end runs as this one's user.
func sameUser(peer *net.UnixConn) error {
	raw, err := peer.SyscallConn()
	if err != nil {
		return err
	}
	var credentials *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		credentials, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("find out who is at the other end: %w", err)
	}
	if int(credentials.Uid) != os.Geteuid() {
		return fmt.Errorf("a process of user %d is at the other end, not of user %d", credentials.Uid, os.Geteuid())
	}
	return nil
}

// send writes the length of the state, with the sockets attached to it, and the state.
func send(peer *net.UnixConn, state []byte, fds []int) error {
	length := binary.BigEndian.AppendUint32(nil, uint32(len(state)))
	if _, _, err := peer.WriteMsgUnix(length, unix.UnixRights(fds...), nil); err != nil {
		return err
	}
	if len(state) == 0 {
		return nil // the peer may have left with all that there is: even to write nothing would fail
	}
	_, err := peer.Write(state)
	return err
}

// receive reads what send wrote. What came has to be closed, whatever else is wrong.
func receive(peer *net.UnixConn) (state []byte, fds []int, err error) {
	length, control := make([]byte, 4), make([]byte, unix.CmsgSpace(4*maxSockets))
	n, rights, flags, _, err := peer.ReadMsgUnix(length, control)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			closeAll(fds)
			fds = nil
		}
	}()
	fds, err = attached(control[:rights])
	if err != nil || n != len(length) || flags&unix.MSG_CTRUNC != 0 {
		return nil, fds, errors.Join(errors.New("that is no handover"), err)
	}
	size := binary.BigEndian.Uint32(length)
	if size > maxState {
		return nil, fds, fmt.Errorf("%d bytes are more than can be taken over", size)
	}
	state = make([]byte, size)
	_, err = io.ReadFull(peer, state)
	return state, fds, err
}

func attached(control []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(control)
	for _, message := range messages {
		more, parsed := unix.ParseUnixRights(&message)
		fds, err = append(fds, more...), errors.Join(err, parsed)
	}
	return fds, err
}

// duplicates are to be closed; the sockets stay open.
func duplicates(sockets []net.Listener) (fds []int, err error) {
	for _, socket := range sockets {
		fd, failed := duplicate(socket)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("hand over %s: %w", socket.Addr(), failed))
			continue
		}
		fds = append(fds, fd)
	}
	return fds, err
}

// duplicate leaves the socket's mode alone, unlike net.TCPListener.File and os.File.Fd:
// both processes have the one socket, and accept without blocking.
func duplicate(socket net.Listener) (int, error) {
	conn, ok := socket.(syscall.Conn)
	if !ok {
		return 0, fmt.Errorf("a %T cannot be handed over", socket)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	copied, failed := 0, error(nil)
	err = raw.Control(func(fd uintptr) { copied, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	return copied, errors.Join(err, failed)
}

// listeners are what the fds are, which they take the place of.
func listeners(fds []int) (sockets []net.Listener, err error) {
	for _, fd := range fds {
		file := os.NewFile(uintptr(fd), "handed over")
		listener, opened := net.FileListener(file) // duplicates it
		err = errors.Join(err, opened, file.Close())
		if opened == nil {
			sockets = append(sockets, listener)
		}
	}
	return sockets, err
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
