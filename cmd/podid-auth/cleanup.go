package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/openpodidentity/podid/cmd/internal/replica"
	"github.com/openpodidentity/podid/internal/install"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
)

// cleaning is the flags of `podid-auth clean-up`.
type cleaning struct {
	namespace   string
	image       install.Options
	pullSecrets []string
	timeout     time.Duration
}

// newCleanUp is here since a chart's hook runs images, and the command line has none.
func newCleanUp() *cobra.Command {
	var f cleaning
	c := &cobra.Command{
		Use:   "clean-up",
		Short: "Removes what Helm leaves of podid: the agent's addresses, and what podid made itself",
		Long: `Helm removes what it has installed. This removes the rest, and is what the chart's hook runs
after "helm uninstall": the agent's address on every node, the startup taint, and the Secrets,
ConfigMaps and the Lease that podid made. What people made in podid's namespace, access keys and
base credentials among it, stays.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c.Context(), c.OutOrStdout()) },
	}
	o := c.Flags()
	o.SortFlags = false
	o.StringVar(&f.namespace, "namespace", install.Namespace, "where podid was")
	o.StringVar(&f.image.Registry, "registry", "", "where the agent's image is")
	o.StringVar(&f.image.Tag, "image-tag", "", "the image's tag")
	o.StringArrayVar(&f.pullSecrets, "pull-secret", nil, "a Secret that the image is pulled with; may be repeated")
	o.DurationVar(&f.timeout, "timeout", 4*time.Minute, "how long it may take")
	return c
}

func (f *cleaning) run(ctx context.Context, out io.Writer) error {
	config, err := new(replica.Options).Reach("podid-auth")
	if err != nil {
		return err
	}
	cluster, err := install.Connect(config, f.namespace)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	return cluster.Leftovers(ctx, f.image, f.pullSecrets, install.Removal{
		Waiting: func(what string) { fmt.Fprintf(out, "waiting for %s\n", what) },
		Report:  func(change install.Change) { fmt.Fprintf(out, "%s %s\n", change.Object, change.Action) },
		Addresses: func(node string, err error) {
			if err == nil {
				fmt.Fprintf(out, "address of node %s removed\n", node)
				return
			}
			p := problem.Of(err)
			fmt.Fprintf(out, "%s: %s; %s\n", p.What, p.Why, p.Fix)
		},
	})
}
