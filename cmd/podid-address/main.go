// Command podid-address keeps the addresses that SDKs ask on a node, 169.254.170.23 and
// fd00:ec2::23, and holds the sockets of podid-agent while there is none. It is a program of its own, a
// third of the agent's: on every node it is in somebody's way.
package main

import (
	"os"

	"github.com/openpodidentity/podid/cmd/internal/program"
	"github.com/openpodidentity/podid/internal/address"
	"github.com/openpodidentity/podid/internal/handover"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// version is set by the build.
var version = "unknown"

func main() { os.Exit(program.Run(newRoot(), os.Args[1:], os.Stderr)) }

func newRoot() *cobra.Command {
	var (
		remove           bool
		holder, logLevel string
	)
	c := &cobra.Command{
		Use:   "podid-address",
		Short: "Keeps the addresses that SDKs ask on the node, and holds the agent's sockets while it is away",
		Long: `podid-address keeps 169.254.170.23 and, where IPv6 is on, fd00:ec2::23 on the node: on the
link podid0, or on loopback where the kernel has no dummy links. It needs the node's network
and the capability NET_ADMIN, so it runs beside podid-agent, which then needs no such capability.

The addresses stay when it ends. --remove takes them off the node.

It also holds the sockets that the agent listens on: who connects while an agent that was killed
is started again, or a deleted one replaced, waits for that (five seconds at the most) and is
not refused.`,
		Example: `  podid-address             # until it is ended
  podid-address --remove    # on uninstalling`,
		Version: version,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if remove {
				return address.Remove()
			}
			log, err := program.Log(c.ErrOrStderr(), logLevel)
			if err != nil {
				return err
			}
			group, ctx := errgroup.WithContext(c.Context())
			group.Go(func() error { return (&address.Keeper{Log: log}).Run(ctx) })
			if holder != "" {
				group.Go(func() error { return (&handover.Holder{Name: holder, Log: log}).Run(ctx) })
			}
			return group.Wait()
		},
	}
	c.Flags().SortFlags = false
	c.Flags().StringVar(&holder, "holder", handover.HolderName, "Unix socket where the agent entrusts its sockets; empty: none are held")
	c.Flags().BoolVar(&remove, "remove", false, "take the addresses off the node, and end")
	c.Flags().StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	return c
}
