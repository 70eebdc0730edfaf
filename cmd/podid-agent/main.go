// Command podid-agent runs on every node and answers the SDKs of its pods at
// 169.254.170.23 and fd00:ec2::23. `podid-agent address` keeps these addresses
// on the node.
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
		Use:   "podid-agent",
		Short: "Gives the pods of a node the credentials of their roles",
		Long: `podid-agent answers the AWS SDKs of a node's pods with the credentials of their
roles, which it gets from podid-auth. It runs as a DaemonSet on the nodes' network.

It takes its node's name from NODE_NAME and podid's namespace from POD_NAMESPACE.`,
		Example: `  podid-agent                                        # as the DaemonSet runs it
  podid-agent --auth podid-auth.identity.svc:8443    # podid-auth in another namespace
  podid-agent --listen 127.0.0.1:8080 --log-level debug
  podid-agent --eks --cluster production             # on EKS, without podid-auth
  podid-agent address                                # keep the addresses on the node`,
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
	c.AddCommand(newAddress())
	return c
}

// newLog writes JSON: what runs on every node is read by machines first.
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
