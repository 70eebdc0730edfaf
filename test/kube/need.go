//go:build unix

package kube

import (
	"net"
	"strings"
	"testing"
)

// NeedNodes skips a test when the machine lacks something that real nodes need, and names it.
func NeedNodes(t testing.TB) {
	t.Helper()
	if lacks := MissingForNodes(); lacks != nil {
		t.Skip("real nodes need what this machine lacks: " + strings.Join(lacks, "; "))
	}
}

// NeedIPv6 skips a test when the machine has no IPv6.
func NeedIPv6(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("needs IPv6, which this machine lacks: ", err)
	}
	_ = l.Close()
}
