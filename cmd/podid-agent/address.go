package main

import (
	"github.com/openpodidentity/podid/cmd/internal/program"
	"github.com/openpodidentity/podid/internal/address"
	"github.com/openpodidentity/podid/internal/handover"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// holderName is where the agent and what holds its sockets meet.
const holderName = "@podid-sockets"

func newAddress() *cobra.Command {
	var (
		remove bool
		holder string
	)
	c := &cobra.Command{
		Use:   "address",
		Short: "Keep the addresses that SDKs ask on the node, and hold the agent's sockets while it is away",
		Long: `Keeps 169.254.170.23 and, where IPv6 is on, fd00:ec2::23 on the node: on the link
podid0, or on loopback where the kernel has no dummy links. It needs the node's network and
the capability NET_ADMIN, so it runs beside the agent, which then needs no such capability.

The addresses stay when it ends. --remove takes them off the node.

It also holds the sockets that the agent listens on: who connects while an agent that was killed
is started again, or a deleted one replaced, waits for that (five seconds at the most) and is
not refused.`,
		Example: `  podid-agent address             # until it is ended
  podid-agent address --remove    # on uninstalling`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := program.Log(c.ErrOrStderr(), "info")
			if err != nil {
				return err
			}
			if remove {
				return address.Remove()
			}
			group, ctx := errgroup.WithContext(c.Context())
			group.Go(func() error { return (&address.Keeper{Log: log}).Run(ctx) })
			if holder != "" {
				group.Go(func() error { return (&handover.Holder{Name: holder, Log: log}).Run(ctx) })
			}
			return group.Wait()
		},
	}
	c.Flags().StringVar(&holder, "holder", holderName, "Unix socket where the agent entrusts its sockets; empty: none are held")
	c.Flags().BoolVar(&remove, "remove", false, "take the addresses off the node, and end")
	return c
}
