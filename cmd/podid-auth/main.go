// Command podid-auth trades pods' tokens for credentials: podid-agent asks it. It serves
// the exchange and the agents' stream over TLS, and the EKS API beside them; it is ready
// when it can answer. One of its replicas leads, and writes what podid writes.
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
		Use:   "podid-auth",
		Short: "Trades pods' tokens for AWS credentials",
		Long: `podid-auth answers the agents' question for credentials: it proves the pod by its token,
finds the role of its service account, and has an STS assume it. It runs as a
Deployment, and takes the cluster's settings from the ConfigMap podid.

It takes podid's namespace from POD_NAMESPACE, and its own credentials from where AWS's
SDK looks for them (AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CONFIG_FILE, …).`,
		Example: `  podid-auth                                # as the Deployment runs it
  podid-auth --kubeconfig ~/.kube/config    # outside of a cluster`,
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
	o.flags(c.Flags())
	c.AddCommand(newCleanUp())
	return c
}
