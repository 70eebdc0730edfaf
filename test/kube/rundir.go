//go:build unix

package kube

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// runDir is a folder for what one cluster keeps while it runs: keys, logs, etcd's data.
// Its lock file is held as long as the process that made it lives.
type runDir struct {
	path string
	id   string
	held *os.File
}

// newRunDir sweeps what dead processes left, then makes a folder.
func newRunDir() (*runDir, error) {
	base, err := runBase()
	if err != nil {
		return nil, err
	}
	if err := Sweep(); err != nil {
		return nil, err
	}
	for range 100 {
		// Short: the path of a unix socket has 108 bytes at most.
		id := strconv.FormatInt(int64(os.Getpid()), 36) + randomName(4)
		// The lock is beside the folder and taken first, so that no sweep sees the folder unlocked.
		held, err := tryLock(filepath.Join(base, id+".lock"))
		if errors.Is(err, errLocked) {
			continue
		}
		if err != nil {
			return nil, err
		}
		path := filepath.Join(base, id)
		if err := os.Mkdir(path, 0o755); err != nil {
			_ = held.Close()
			return nil, err
		}
		return &runDir{path: path, id: id, held: held}, nil
	}
	return nil, errors.New("no free name for a run folder")
}

func (r *runDir) file(name ...string) string {
	return filepath.Join(append([]string{r.path}, name...)...)
}

// remove ends what may still run and removes the folder.
func (r *runDir) remove() error {
	err := sweepOne(r.path)
	_ = os.Remove(r.path + ".lock")
	_ = r.held.Close()
	return err
}

// record notes a process, so that a later sweep can end it if it outlived its starter.
func (r *runDir) record(pid int) error {
	f, err := os.OpenFile(r.file("processes"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d %s\n", pid, startTime(pid))
	return errors.Join(err, f.Close())
}

func runBase() (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	base := filepath.Join(cache, "run")
	return base, os.MkdirAll(base, 0o755)
}

// Sweep ends and removes what clusters of dead processes left: processes, control groups, run
// folders. Every start does it first.
func Sweep() error {
	base, err := runBase()
	if err != nil {
		return err
	}
	locks, err := filepath.Glob(filepath.Join(base, "*.lock"))
	if err != nil {
		return err
	}
	for _, name := range locks {
		held, err := tryLock(name)
		if errors.Is(err, errLocked) || errors.Is(err, os.ErrPermission) {
			continue // its process lives, or it is another user's to sweep
		}
		if err == nil {
			err = errors.Join(sweepOne(strings.TrimSuffix(name, ".lock")), os.Remove(name), held.Close())
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) { // another process sweeps too
			return fmt.Errorf("sweep what an earlier run left: %w", err)
		}
	}
	return nil
}

// sweepOne ends the processes recorded in a run folder, then removes their control
// groups and the folder.
func sweepOne(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "processes"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for line := range strings.Lines(string(text)) {
		pid, started, _ := strings.Cut(strings.TrimSpace(line), " ")
		// The same number may be another process by now: its start time tells.
		if n, err := strconv.Atoi(pid); err == nil && n > 1 && started != "" && startTime(n) == started {
			_ = syscall.Kill(n, syscall.SIGKILL)
		}
	}
	if err := removeGroups(filepath.Base(dir)); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
