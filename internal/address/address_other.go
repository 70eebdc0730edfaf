//go:build !linux

package address

import (
	"context"
	"runtime"

	"github.com/openpodidentity/podid/problem"
)

func add() ([]placed, error) { return nil, elsewhere() }

// Remove takes the addresses off the node.
func Remove() error { return elsewhere() }

func watch(context.Context) <-chan struct{} { return nil }

func elsewhere() error {
	return problem.New(problem.Usage, "the addresses of pod identity can be kept on Linux nodes alone").
		Because("this is %s", runtime.GOOS).
		Fixed("schedule podid-agent on Linux nodes (nodeSelector kubernetes.io/os: linux)")
}
