// Command podid-webhook gives new pods what their SDKs need to ask podid: the API server
// asks it about each. It serves /inject over TLS with the certificate in a Secret that
// podid-auth's leader keeps, and is ready when it can answer.
package main

import (
	"os"

	"github.com/openpodidentity/podid/cmd/internal/program"
	"github.com/openpodidentity/podid/cmd/internal/replica"

	"github.com/spf13/cobra"
)

// version is set by the build.
var version = "unknown"

func main() { os.Exit(program.Run(newRoot(), os.Args[1:], os.Stderr)) }

func newRoot() *cobra.Command {
	var o replica.Options
	c := &cobra.Command{
		Use:   "podid-webhook",
		Short: "Gives new pods what their SDKs need to ask podid",
		Long: `podid-webhook answers the API server's questions about new pods: one whose service
account has an association gets the variables and the token with which its SDKs ask
podid-agent for credentials. It runs as a Deployment.

It takes podid's namespace from POD_NAMESPACE.`,
		Example: `  podid-webhook                                # as the Deployment runs it
  podid-webhook --kubeconfig ~/.kube/config    # outside of a cluster`,
		Version: version,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := program.Log(c.ErrOrStderr(), o.LogLevel)
			if err != nil {
				return err
			}
			return serve(c.Context(), o, log)
		},
	}
	o.Flags(c.Flags(), "podid-webhook", "the API server asks", 512)
	return c
}
