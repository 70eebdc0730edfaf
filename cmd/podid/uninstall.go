package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/openpodidentity/podid/internal/install"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

func newUninstall() *cobra.Command {
	var cluster kubeconfig
	var deleteAssociations, dryRun, yes bool
	var export string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove podid from a cluster",
		Long: `Removes podid: its programs, policies and namespace with all that is in it (access keys
and base credentials too), and the agent's address on every node.

The associations, their custom resource and the policy pass-role.podid.dev, which says who
may make them, stay unless --delete-associations is given; that writes them to a file first.
Credentials that pods have already go on working until they expire.`,
		Example: `  podid uninstall --dry-run
  podid uninstall
  podid uninstall --delete-associations --export associations.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			config, err := cluster.config()
			if err != nil {
				return err
			}
			target, err := install.Connect(config)
			if err != nil {
				return cluster.failed("reach the cluster", err)
			}
			if _, err := target.Current(ctx); err != nil {
				return cluster.failed("look at what is installed", err)
			}
			ui := newUI(c.OutOrStdout())
			if !dryRun && !yes {
				if agreed, err := ask(c, ui, "Remove podid from this cluster? Pods get no credentials any more."); err != nil || !agreed {
					return err
				}
			}
			if deleteAssociations && !dryRun {
				if err := exportAssociations(ctx, ui, target, export); err != nil {
					return cluster.failed("export the associations", err)
				}
			}
			removed := 0
			err = target.Uninstall(ctx, install.Removal{
				Associations: deleteAssociations, DryRun: dryRun,
				Report: func(change install.Change) {
					removed++
					if dryRun {
						ui.printf("%s would be %s\n", change.Object, change.Action)
					} else {
						ui.printf("%s %s\n", change.Object, change.Action)
					}
				},
				Addresses: func(node string, err error) {
					if err != nil {
						report(newUI(c.ErrOrStderr()), err)
					} else {
						ui.printf("address of node %s removed\n", node)
					}
				},
			})
			if err != nil {
				return cluster.failed("remove podid", err)
			}
			switch {
			case removed == 0:
				ui.printf("podid is not installed\n")
			case !deleteAssociations:
				ui.printf("%d objects. Associations stay, and the policy that guards them; podid uninstall --delete-associations removes these too.\n", removed)
			default:
				ui.printf("%d objects. Nothing of podid is left.\n", removed)
			}
			return nil
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.BoolVar(&deleteAssociations, "delete-associations", false, "remove the associations and their custom resource, too")
	f.StringVar(&export, "export", "podid-associations.yaml", "where the associations are written first; kubectl apply makes them again")
	f.BoolVar(&dryRun, "dry-run", false, "say what would be removed")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	f.DurationVar(&timeout, "timeout", 5*time.Minute, "how long it may take")
	cluster.flags(c)
	return c
}

// exportAssociations writes all associations to a new file: one that is there may be
// the only copy of others.
func exportAssociations(ctx context.Context, ui *ui, cluster install.Cluster, file string) error {
	all, err := cluster.Associations(ctx)
	if err != nil || len(all) == 0 {
		return err
	}
	var text bytes.Buffer
	for _, association := range all {
		encoded, err := yaml.Marshal(association.Object)
		if err != nil {
			return fmt.Errorf("write associations: %w", err)
		}
		fmt.Fprintf(&text, "---\n%s", encoded)
	}
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return problem.New(problem.Usage, "the associations cannot be written to %s", file).Because("%v", err).
			Fixed("name another file with --export; nothing was removed")
	}
	if _, err := out.Write(text.Bytes()); err != nil {
		_ = out.Close()
		return fmt.Errorf("write associations: %w", err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("write associations: %w", err)
	}
	ui.printf("%d associations written to %s\n", len(all), file)
	return nil
}
