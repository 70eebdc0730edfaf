// Command podid-webhook gives new pods what their SDKs need to ask podid: the API server
// asks it about each. It serves /inject over TLS with the certificate in a Secret that
// podid-auth's leader keeps, and is ready when it can answer.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
)

// version is set by the build.
var version = "unknown"

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		report(errs, err)
		return 1
	}
	return 0
}

func newRoot() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "podid-webhook",
		Short: "Gives new pods what their SDKs need to ask podid",
		Long: `podid-webhook answers the API server's questions about new pods: one whose service
account has an association gets the variables and the token with which its SDKs ask
podid-agent for credentials. It runs as a Deployment.

It takes podid's namespace from POD_NAMESPACE.`,
		Example: `  podid-webhook                                # as the Deployment runs it
  podid-webhook --kubeconfig ~/.kube/config    # outside of a cluster`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := newLog(c.ErrOrStderr(), o.logLevel)
			if err != nil {
				return err
			}
			return serve(c.Context(), o, log)
		},
	}
	o.flags(c.Flags())
	c.CompletionOptions.DisableDefaultCmd = true
	return c
}

func newLog(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, problem.New(problem.Usage, "%q is not a log level", level).Because("").Fixed("use debug, info, warn or error")
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l})), nil
}

// report says why the program ended, for `kubectl logs`.
func report(w io.Writer, err error) {
	p := problem.Of(err)
	if p.Code == problem.Internal && p.Err != nil { // no problem of ours, such as a wrong flag
		fmt.Fprintf(w, "error: %v\n", p.Err)
		return
	}
	fmt.Fprintf(w, "error: %s\n", p.What)
	if p.Err != nil {
		fmt.Fprintf(w, "cause: %v\n", p.Err)
	}
	if p.Why != "" {
		fmt.Fprintf(w, "why:   %s\n", p.Why)
	}
	if p.Fix != "" {
		fmt.Fprintf(w, "fix:   %s\n", p.Fix)
	}
}
