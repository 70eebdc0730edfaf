package listen_test

import (
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/openpodidentity/podid/internal/listen"
	"github.com/openpodidentity/podid/problem"

	"golang.org/x/sys/unix"
)

func TestWhereTheKernelHasNoIPv6OnlyTheOtherIsBound(t *testing.T) {
	type result struct {
		bound []string
		err   error
	}
	try := func(addresses ...string) result {
		done := make(chan result)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with its filter
			if err := withoutIPv6(); err != nil {
				done <- result{err: err}
				return
			}
			sockets, err := listen.Shared(t.Context(), addresses)
			r := result{err: err}
			for _, socket := range sockets {
				r.bound = append(r.bound, socket.Addr().String())
				_ = socket.Close()
			}
			done <- r
		}()
		r := <-done
		if errno, is := r.err.(syscall.Errno); is {
			t.Skipf("this machine takes no filter of system calls: %v", errno)
		}
		return r
	}
	if r := try("127.0.0.1:0", "[::1]:0"); r.err != nil || len(r.bound) != 1 || !strings.HasPrefix(r.bound[0], "127.0.0.1:") {
		t.Errorf("bound %q, %v", r.bound, r.err)
	}
	if r := try("[::1]:0"); !problem.Is(r.err, problem.AddressUnavailable) || !strings.Contains(r.err.Error(), "no address to listen on") {
		t.Errorf("with nothing else: bound %q, %v", r.bound, r.err)
	}
}

// withoutIPv6 lets this thread have no sockets of IPv6, as a kernel that has none does.
func withoutIPv6() error {
	const number, firstArgument = 0, 16 // in struct seccomp_data, little-endian
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SOCKET, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: firstArgument},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.AF_INET6, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}
