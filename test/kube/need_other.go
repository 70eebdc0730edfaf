//go:build unix && !linux

package kube

import "runtime"

// MissingForNodes names what the machine lacks to run nodes; nil if it lacks nothing.
func MissingForNodes() []string { return []string{"Linux (this is " + runtime.GOOS + ")"} }
