//go:build unix

package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a program that was started for a cluster. It reads its standard input and
// ends with it: the pipe's other end is ours, and the kernel closes it when we end.
type process struct {
	name     string
	log      string // path of its standard output and error
	cmd      *exec.Cmd
	lifeline io.WriteCloser
	ended    chan struct{} // closed when the process is gone
	err      error         // why; set before ended is closed
}

// start runs cmd with its output appended to a log in the run folder. in runs the
// fork, on the thread that it likes; nil means here.
func (r *runDir) start(name string, cmd *exec.Cmd, in func(func() error) error) (*process, error) {
	p := &process{name: name, log: r.file(name + ".log"), cmd: cmd, ended: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(cmd.Environ(), "KUBEBOX_LIFELINE=stdin")
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // Ctrl-C is for the test, which then ends what it started
	if p.lifeline, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if in == nil {
		in = func(f func() error) error { return f() }
	}
	if err := in(cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	if err := r.record(cmd.Process.Pid); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// kill ends the process at once and waits until it is gone.
func (p *process) kill() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	_ = p.lifeline.Close()
}

// await polls ready until it returns nil. When it does not within the limit, or the process
// ends first, the error holds the end of the process's log.
func (p *process) await(ctx context.Context, limit time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s was not ready within %v", p.name, limit))
	defer cancel()
	last := errors.New("not asked yet")
	for {
		if err := ready(ctx); err == nil {
			return nil
		} else if ctx.Err() == nil {
			last = err
		}
		select {
		case <-p.ended:
			why := p.err
			if why == nil {
				why = errors.New("exit status 0")
			}
			return fmt.Errorf("%s ended: %w\nthe end of its log:\n%s", p.name, why, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%w: %w\nthe end of its log:\n%s", context.Cause(ctx), last, p.tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// tail is the last lines of the process's log.
func (p *process) tail() string { return tail(p.log) }

func tail(log string) string {
	const lines, most = 25, 64 << 10
	f, err := os.Open(log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimRight(text, "\n"), []byte("\n"))
	all = all[max(0, len(all)-lines):]
	var out strings.Builder
	for _, line := range all {
		fmt.Fprintf(&out, "  %s: %s\n", strings.TrimSuffix(filepath.Base(log), ".log"), line[:min(len(line), 600)])
	}
	return out.String()
}
