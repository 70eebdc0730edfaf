//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/openpodidentity/podid/problem"
)

// lockFile takes the exclusive lock on path until it is closed. The kernel drops
// it when the process dies, however it dies.
func lockFile(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal: lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = problem.New(problem.DataLocked, "%s is locked: the data directory is in use", path)
	} else {
		err = fmt.Errorf("journal: lock %s: %w", path, err)
	}
	return nil, errors.Join(err, f.Close())
}
