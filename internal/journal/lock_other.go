//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package journal

import (
	"io"
	"runtime"

	"github.com/openpodidentity/podid/problem"
)

func lockFile(string) (io.Closer, error) {
	return nil, problem.New(problem.Usage, "a data directory cannot be kept on %s", runtime.GOOS).
		Because("podid has no file lock there that ends with the process").
		Fixed("run without a data directory")
}
