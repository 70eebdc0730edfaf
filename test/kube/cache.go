//go:build unix

package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// CacheDir is where built programs, unpacked packages and the state of running
// clusters are kept: $XDG_CACHE_HOME/podid/kube, or the system's own cache directory.
func CacheDir() (string, error) {
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		var err error
		if base, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("find the cache directory: %w", err)
		}
	}
	dir := filepath.Join(base, "podid", "kube")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache directory: %w", err)
	}
	return dir, nil
}

// errLocked says that another process, or another part of this one, holds a lock.
var errLocked = errors.New("locked")

// tryLock takes the lock file name, or returns errLocked. The kernel drops the
// lock when its process ends; closing the file does too.
func tryLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

// lock waits for the lock file name, and says once on progress that it waits.
func lock(ctx context.Context, name string, progress io.Writer) (*os.File, error) {
	for said := false; ; said = true {
		f, err := tryLock(name)
		if !errors.Is(err, errLocked) {
			return f, err
		}
		if !said {
			fmt.Fprintf(progress, "kube: another process is at work (%s); waiting for it\n", name)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s: %w", name, context.Cause(ctx))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// once returns the folder name of the cache, which fill makes in a folder that becomes
// it when it is complete. Processes that ask at the same time wait for the first.
func once(ctx context.Context, name string, progress io.Writer, fill func(dir string) error) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, name)
	if _, err := os.Stat(dir); err == nil {
		now := time.Now()
		_ = os.Chtimes(dir, now, now) // prune goes by it
		return dir, nil
	}
	held, err := lock(ctx, dir+".lock", progress)
	if err != nil {
		return "", err
	}
	defer held.Close()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	part := dir + ".part" // one name: the lock's holder removes what a killed one left
	if err := os.RemoveAll(part); err != nil {
		return "", err
	}
	if err := os.MkdirAll(part, 0o755); err != nil {
		return "", err
	}
	if err := fill(part); err != nil {
		_ = os.RemoveAll(part)
		return "", err
	}
	if err := os.Rename(part, dir); err != nil {
		return "", fmt.Errorf("put %s in place: %w", name, err)
	}
	return dir, nil
}

// prune removes folders of the cache that match pattern and that nobody used for a month.
func prune(pattern string) {
	cache, err := CacheDir()
	if err != nil {
		return
	}
	old, _ := filepath.Glob(filepath.Join(cache, pattern))
	for _, dir := range old {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && time.Since(info.ModTime()) > 30*24*time.Hour {
			_ = os.RemoveAll(dir)
		}
	}
}
