package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/openpodidentity/podid/internal/sandbox"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
)

func newLocalRun(world *string) *cobra.Command {
	var namespace, serviceAccount, pod string
	var lifetime time.Duration
	c := &cobra.Command{
		Use:   "run -n NAMESPACE -s SERVICEACCOUNT -- COMMAND [ARG]...",
		Short: "Run a program as a pod of a service account in the local world",
		Long: `Runs a program as if it were a pod of the service account: with a real pod-bound
token in a file that is kept fresh, and with exactly the variables that injection
gives a pod. Other AWS_ variables are removed; AWS_ENDPOINT_URL leads to the local
AWS. The pod ends with the program, and the program's exit code is passed on.`,
		Example: `  podid local run -n shop -s cart -- aws sts get-caller-identity
  podid local run -n shop -s cart -- aws s3 ls s3://orders
  podid local run -n shop -s cart --pod cart-0 -- ./cart`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			connection, err := connect(*world)
			if err != nil {
				return err
			}
			if lifetime < 10*time.Minute || lifetime > 24*time.Hour {
				return problem.New(problem.Usage, "--token-lifetime %s is not between 10m and 24h", lifetime)
			}
			// The program gets the terminal's signals itself and decides when to
			// stop; its pod must outlive it.
			ctx := context.WithoutCancel(c.Context())
			p, err := connection.StartPod(ctx, namespace, serviceAccount, pod, os.Getpid())
			if err != nil {
				return err
			}
			container := &sandbox.Container{Connection: connection, Pod: p, TokenLifetime: lifetime}
			return errors.Join(runContainer(ctx, c, container, args), connection.EndPod(ctx, p.UID))
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of the pod")
	c.Flags().StringVarP(&serviceAccount, "service-account", "s", "default", "service account of the pod")
	c.Flags().StringVar(&pod, "pod", "", "name of the pod (default: made from the service account's)")
	c.Flags().DurationVar(&lifetime, "token-lifetime", 24*time.Hour, "lifetime of the projected token, 10m to 24h")
	c.Flags().SetInterspersed(false)
	return c
}

func runContainer(ctx context.Context, c *cobra.Command, container *sandbox.Container, args []string) (err error) {
	if err := container.Mount(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, container.Unmount()) }()
	command := exec.Command(args[0], args[1:]...) //nolint:gosec // running it is what was asked for
	command.Stdin, command.Stdout, command.Stderr = c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	return programError(args[0], container.Run(ctx, command, signals))
}

// programError passes on the exit code of a program, and 128 + N for signal N as
// shells do.
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
	return problem.New(problem.Usage, "%s could not be started", name).
		Because("%v", err).Fixed("check the path and that it is executable")
}
