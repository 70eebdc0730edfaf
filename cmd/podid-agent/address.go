package main

import (
	"github.com/openpodidentity/podid/cmd/internal/program"
	"github.com/openpodidentity/podid/internal/address"

	"github.com/spf13/cobra"
)

func newAddress() *cobra.Command {
	var remove bool
	c := &cobra.Command{
		Use:   "address",
		Short: "Keep the addresses that SDKs ask on the node",
		Long: `Keeps 169.254.170.23 and, where IPv6 is on, fd00:ec2::23 on the node: on the link
podid0, or on loopback where the kernel has no dummy links. It needs the node's network and
the capability NET_ADMIN, so it runs beside the agent, which then needs neither.

The addresses stay when it ends. --remove takes them off the node.`,
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
			return (&address.Keeper{Log: log}).Run(c.Context())
		},
	}
	c.Flags().BoolVar(&remove, "remove", false, "take the addresses off the node, and end")
	return c
}
