// Command podid-agent runs on every node and answers the SDKs of its pods at
// 169.254.170.23 and fd00:ec2::23, which podid-address keeps on the node.
package main

import (
	"os"

	"github.com/openpodidentity/podid/cmd/internal/program"

	"github.com/spf13/cobra"
)

// version is set by the build.
var version = "unknown"

func main() { os.Exit(program.Run(newRoot(), os.Args[1:], os.Stderr)) }

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
  podid-agent --eks --cluster production             # on EKS, without podid-auth`,
		Version: version,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := program.Log(c.ErrOrStderr(), o.logLevel)
			if err != nil {
				return err
			}
			return serve(c.Context(), o, log)
		},
	}
	o.flags(c.Flags())
	return c
}
