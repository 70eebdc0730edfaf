//go:build unix && !linux

package kube

import (
	"context"
	"io"
	"os/exec"
	"runtime"
)

// MissingForNodes names what the machine lacks to run nodes; nil if it lacks nothing.
func MissingForNodes() []string { return []string{"Linux (this is " + runtime.GOOS + ")"} }

// Build builds into the cache what control planes need.
func Build(ctx context.Context, progress io.Writer) error {
	_, err := Kubebox(ctx, progress)
	return err
}

func endWithUs(*exec.Cmd) {}
