// Command podid is the command line of Open Pod Identity: it installs podid in a cluster and
// looks after it there, runs a local world to try and test pod identity in, and explains
// policies and problems.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if code, isExit := errors.AsType[exitCode](err); isExit {
		if _, told := errors.AsType[*problem.Problem](err); told {
			report(newUI(os.Stderr), err)
		}
		return int(code)
	}
	if err == nil {
		return exitOK
	}
	return report(newUI(os.Stderr), err)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "podid",
		Short: "IAM roles for pods on any Kubernetes cluster",
		Long: `podid gives pods IAM roles on any Kubernetes cluster, the way Amazon EKS Pod
Identity does on EKS, and says why when a pod gets none.

With the local world all of it runs on this machine, offline and with no account.

Exit codes: 0, done; 1, the answer is no until something is changed; 2, called wrongly;
3, it may heal by itself: try again; 4, podid or its set-up is at fault; 130, interrupted.`,
		Example: `  podid demo                              # the walk-through, told step by step
  podid local                             # a small AWS and a cluster, until Ctrl-C
  eval "$(podid local env)"               # point the AWS CLI at it
  podid local run -n shop -s cart -- aws s3 ls   # a program as a pod of a service account
  podid install --cluster-name prod-1 --region eu-central-1 --account 111122223333
  podid status                            # how podid is doing in the cluster of your kubeconfig
  podid explain trust-tag-session         # what a problem means and how to fix it`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err) })
	cobra.EnableCommandSorting = false // by what belongs together
	for _, part := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"On this machine:", []*cobra.Command{newDemo(), newLocal()}},
		{"In a cluster:", []*cobra.Command{newInstall(), newStatus(), newGet(), newConsent(), newEKS(), newAccessKey(), newUninstall()}},
		{"Roles and policies:", []*cobra.Command{newTrustPolicy(), newCanI(), newPolicy()}},
		{"Help:", []*cobra.Command{newExplain(), newVersion()}},
	} {
		root.AddGroup(&cobra.Group{ID: part.title, Title: part.title})
		for _, c := range part.commands {
			c.GroupID = part.title
		}
		root.AddCommand(part.commands...)
	}
	root.SetHelpCommandGroupID("Help:")
	root.SetCompletionCommandGroupID("Help:")
	root.AddCommand(newApplication())
	wrapArgs(root)
	return root
}

// group is a command that is nothing but its subcommands.
func group(c cobra.Command, subcommands ...*cobra.Command) *cobra.Command {
	c.Args = cobra.NoArgs
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	c.AddCommand(subcommands...)
	return &c
}

// wrapArgs makes wrong arguments a problem like any other.
func wrapArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usage(c, err)
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}

func usage(c *cobra.Command, err error) error {
	return problem.New(problem.Usage, "%s", strings.TrimSuffix(err.Error(), ".")).
		Because("").
		Fixed("see %s --help", c.CommandPath())
}

// report prints err as its problem and returns the exit code.
func report(ui *ui, err error) int {
	if errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	p := problem.Of(err)
	if p.Code == problem.Internal && p.Err != nil {
		ui.printf("%s %v\n", ui.bad("error:"), p.Err)
		return exitCodes[p.Code]
	}
	ui.printf("%s %s\n", ui.bad("error:"), p.What)
	if p.Err != nil {
		ui.printf("%s %v\n", ui.faint("cause:"), p.Err)
	}
	if p.Why != "" {
		ui.printf("%s   %s\n", ui.faint("why:"), p.Why)
	}
	if p.Fix != "" {
		ui.printf("%s   %s\n", ui.good("fix:"), p.Fix)
	}
	if p.Code != problem.Usage {
		ui.printf("%s  podid explain %s\n", ui.faint("more:"), p.Code)
	}
	return exitCodes[p.Code]
}

// exitCode ends the program with the exit code of a program it ran.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }
