package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/openpodidentity/podid/internal/sandbox"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
)

// podFlags are the flags of `podid local run`.
type podFlags struct {
	namespace, serviceAccount, pod string
	lifetime                       time.Duration
}

func newLocalRun(world *string) *cobra.Command {
	var f podFlags
	c := &cobra.Command{
		Use:   "run [-n NAMESPACE] [-s SERVICEACCOUNT] [flags] -- COMMAND [ARG]...",
		Short: "Run a program as a pod of a service account in the local world",
		Long: `Runs a program as if it were a pod of the service account: with a real pod-bound
token in a file that is kept fresh, and with exactly the variables that injection
gives a pod. Other AWS_ variables are removed. AWS_ENDPOINT_URL leads to the local
AWS, and three more hide what a pod does not have: the shared configuration and
credentials files and the instance metadata service. The pod ends with the
program, and the program's exit code is passed on.`,
		Example: `  podid local run -n shop -s cart -- aws sts get-caller-identity
  podid local run -n shop -s cart -- aws s3 ls s3://orders
  podid local run -n shop -s cart --pod cart-0 -- ./cart`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("there is no command to run")
			}
			return nil
		},
		RunE:                  func(c *cobra.Command, args []string) error { return f.run(c, *world, args) },
		DisableFlagsInUseLine: true,
	}
	flags := c.Flags()
	flags.StringVarP(&f.namespace, "namespace", "n", "default", "namespace of the pod")
	flags.StringVarP(&f.serviceAccount, "service-account", "s", "default", "service account of the pod")
	flags.StringVar(&f.pod, "pod", "", "name of the pod (default: made from the service account's)")
	flags.DurationVar(&f.lifetime, "token-lifetime", 24*time.Hour, "lifetime of the projected token, 10m to 24h")
	flags.SetInterspersed(false)
	return c
}

// run makes the pod, runs the program in it, and ends the pod.
func (f *podFlags) run(c *cobra.Command, world string, args []string) error {
	connection, err := connect(world)
	if err != nil {
		return err
	}
	if f.lifetime < 10*time.Minute || f.lifetime > 24*time.Hour {
		return problem.New(problem.Usage, "--token-lifetime %s is not between 10m and 24h", f.lifetime)
	}
	// The program gets the terminal's signals itself and decides when to stop;
	// its pod must outlive it. Those sent to podid are passed on.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	defer signal.Stop(signals)
	if err := c.Context().Err(); err != nil {
		return err
	}
	ctx := context.WithoutCancel(c.Context())
	pod, err := connection.StartPod(ctx, f.namespace, f.serviceAccount, f.pod, os.Getpid())
	if err != nil {
		return err
	}
	container := &sandbox.Container{Connection: connection, Pod: pod, TokenLifetime: f.lifetime}
	err = runContainer(ctx, c, container, signals, args)
	if ended := connection.EndPod(ctx, pod.UID); ended != nil && !problem.Is(ended, problem.PodGone) {
		warn(c, ended)
	}
	return err
}

func runContainer(ctx context.Context, c *cobra.Command, container *sandbox.Container, signals <-chan os.Signal, args []string) error {
	if err := container.Mount(ctx); err != nil {
		return err
	}
	command := exec.Command(args[0], args[1:]...) //nolint:gosec // running it is what was asked for
	command.Stdin, command.Stdout, command.Stderr = c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr()
	err := programError(args[0], container.Run(ctx, command, signals))
	if left := container.Unmount(); left != nil {
		warn(c, left)
	}
	return err
}

// warn tells what went wrong when the program had ended: the exit code is the
// program's all the same.
func warn(c *cobra.Command, err error) {
	ui := newUI(c.ErrOrStderr())
	what := err.Error()
	if p, told := errors.AsType[*problem.Problem](err); told {
		what = p.What
	}
	ui.printf("%s %s\n", ui.faint("warning:"), what)
}

// programError passes on the exit code of a program; 128 + N for signal N, 126
// and 127 for what cannot be run or found, as shells do.
func programError(name string, err error) error {
	var ended *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ended):
		if status, ok := ended.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return exitCode(128 + int(status.Signal()))
		}
		return exitCode(ended.ExitCode())
	}
	told := problem.New(problem.Usage, "%s could not be started", name).
		Because("%v", err).Fixed("check the path and that it is executable")
	if errors.Is(err, fs.ErrPermission) {
		return errors.Join(told, exitCode(126))
	}
	return errors.Join(told, exitCode(127))
}
