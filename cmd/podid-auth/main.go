// Command podid-auth trades pods' tokens for credentials: podid-agent asks it. It serves
// the exchange and the agents' stream over TLS, and the EKS API beside them; it is ready
// when it can answer. One of its replicas leads, and writes what podid writes.
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
		Use:   "podid-auth",
		Short: "Trades pods' tokens for AWS credentials",
		Long: `podid-auth answers the agents' question for credentials: it proves the pod by its token,
finds the role of its service account, and has an STS assume it. It runs as a
Deployment, and takes the cluster's settings from the ConfigMap podid.

It takes podid's namespace from POD_NAMESPACE, and its own credentials from where AWS's
SDK looks for them (AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CONFIG_FILE, …).`,
		Example: `  podid-auth                                # as the Deployment runs it
  podid-auth --kubeconfig ~/.kube/config    # outside of a cluster`,
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
