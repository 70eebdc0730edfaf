//go:build !linux

package listen

import (
	"net"
	"syscall"
)

var keepAlive net.KeepAliveConfig

// share shares nothing: agents run on Linux, and elsewhere in tests alone.
func share(string, string, syscall.RawConn) error { return nil }
