package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/injection"
)

// Container is a program that runs as a pod: with the pod's token in a file that
// is kept fresh, and with the variables that injection gives it.
type Container struct {
	Connection Connection
	Pod        Pod
	// TokenLifetime is that of the projected token; 86400 s if zero.
	TokenLifetime time.Duration

	dir string
}

// TokenFile is the path of the pod's token.
func (c *Container) TokenFile() string { return filepath.Join(c.dir, injection.TokenPath) }

// Mount writes the token file as the kubelet does. Unmount removes it.
func (c *Container) Mount(ctx context.Context) (err error) {
	if c.TokenLifetime == 0 {
		c.TokenLifetime = tokenLifetime
	}
	if c.dir, err = os.MkdirTemp("", "podid-pod-"); err != nil {
		return fmt.Errorf("mount token: %w", err)
	}
	if err = c.refresh(ctx); err != nil {
		return errors.Join(err, c.Unmount())
	}
	return nil
}

// Unmount removes the token file.
func (c *Container) Unmount() error { return os.RemoveAll(c.dir) }

// WriteToken replaces the token, atomically as the kubelet does.
func (c *Container) WriteToken(token string) error {
	next := c.TokenFile() + ".next"
	if err := os.WriteFile(next, []byte(token), 0o600); err != nil {
		return fmt.Errorf("write token: %w", err)
	}
	return os.Rename(next, c.TokenFile())
}

func (c *Container) refresh(ctx context.Context) error {
	token, err := c.Connection.Token(ctx, c.Pod.UID, podid.AudiencePods, c.TokenLifetime)
	if err != nil {
		return err
	}
	return c.WriteToken(token)
}

// Environment is the program's environment: that of this process without
// anything of AWS's, then what injection gives a pod, then what leads to the
// local AWS instead of AWS.
func (c *Container) Environment() []string {
	var env []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "AWS_") {
			env = append(env, variable)
		}
	}
	for _, v := range injection.Variables(c.Connection.Region, c.Connection.Agent, c.TokenFile()) {
		env = append(env, v.Name+"="+v.Value)
	}
	return append(env,
		"AWS_ENDPOINT_URL="+c.Connection.Endpoint,
		// A container has no files of the developer's and no instance metadata.
		"AWS_CONFIG_FILE="+os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE="+os.DevNull,
		"AWS_EC2_METADATA_DISABLED=true",
	)
}

// Run runs command with the container's environment and keeps the token fresh
// meanwhile, at 80 % of its life as the kubelet does. Signals are passed on to it.
// The error is the command's: an *exec.ExitError carries its exit code.
func (c *Container) Run(ctx context.Context, command *exec.Cmd, signals <-chan os.Signal) error {
	command.Env = c.Environment()
	if err := command.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- command.Wait() }()
	renew := time.NewTimer(c.TokenLifetime * 8 / 10)
	defer renew.Stop()
	for {
		select {
		case err := <-done:
			return err
		case signal := <-signals:
			_ = command.Process.Signal(signal) // it may have ended
		case <-renew.C:
			next := c.TokenLifetime * 8 / 10
			if c.refresh(ctx) != nil {
				next = c.TokenLifetime / 100 // the old token is good for a fifth of its life yet
			}
			renew.Reset(next)
		}
	}
}
