package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/openpodidentity/podid/internal/install"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// uninstalling is the flags of `podid uninstall`.
type uninstalling struct {
	cluster            kubeconfig
	out                output
	deleteAssociations bool
	export             string
	dryRun, yes        bool
	timeout            time.Duration
}

func newUninstall() *cobra.Command {
	u := &uninstalling{}
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove podid from a cluster",
		Long: `Removes podid: its programs, policies and namespace with all that is in it (access keys
and base credentials too), and the agent's address on every node.

The associations, their custom resource and the policy pass-role.podid.dev, which says who
may make them, stay unless --delete-associations is given; that writes them to a file before
they go.
Credentials that pods have already go on working until they expire.`,
		Example: `  podid uninstall --dry-run
  podid uninstall --dry-run -o json
  podid uninstall
  podid uninstall --delete-associations --export associations.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return u.run(c) },
	}
	f := c.Flags()
	f.SortFlags = false
	f.BoolVar(&u.deleteAssociations, "delete-associations", false, "remove the associations and their custom resource, too")
	f.StringVar(&u.export, "export", "podid-associations.yaml", "where the associations are written before they go; kubectl apply makes them again")
	f.BoolVar(&u.dryRun, "dry-run", false, "say what would be removed")
	f.BoolVarP(&u.yes, "yes", "y", false, "do not ask")
	f.DurationVar(&u.timeout, "timeout", 5*time.Minute, "how long it may take")
	u.cluster.flags(c)
	u.out.flag(c)
	return c
}

// uninstalled is what -o json prints.
type uninstalled struct {
	DryRun  bool             `json:"dryRun"`
	Objects []install.Change `json:"objects"`
	// Nodes are those whose address was removed.
	Nodes []string `json:"nodes,omitempty"`
	// Export is the file that has the associations.
	Export string `json:"export,omitempty"`
}

func (u *uninstalling) run(c *cobra.Command) error {
	if err := u.out.check(); err != nil {
		return err
	}
	config, err := u.cluster.config()
	if err != nil {
		return err
	}
	target, err := install.Connect(config, install.Namespace)
	if err != nil {
		return u.cluster.failed("reach the cluster", err)
	}
	if _, err := target.Current(c.Context()); err != nil {
		return u.cluster.failed("look at what is installed", err)
	}
	steps := newUI(c.OutOrStdout())
	if u.out != "text" {
		steps = newUI(c.ErrOrStderr())
	}
	if !u.dryRun && !u.yes {
		agreed, err := ask(c, steps, fmt.Sprintf("Remove podid from the cluster at %s? Pods get no credentials any more.", config.Host))
		if err != nil {
			return err
		}
		if !agreed {
			steps.printf("nothing was removed\n")
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(c.Context(), u.timeout) // a person's answer may take longer
	defer cancel()
	var exported *export
	if u.deleteAssociations && !u.dryRun {
		if exported, err = newExport(u.export); err != nil {
			return err
		}
		defer exported.close()
	}
	removed, err := u.remove(ctx, steps, newUI(c.ErrOrStderr()), target, exported)
	if err != nil {
		return u.cluster.failed("remove podid", err)
	}
	return u.out.print(c.OutOrStdout(), removed, func(ui *ui) { u.summary(ui, len(removed.Objects)) })
}

func (u *uninstalling) summary(ui *ui, removed int) {
	switch {
	case removed == 0:
		ui.printf("podid is not installed\n")
	case u.dryRun:
		ui.printf("%d objects (dry run: nothing was removed)\n", removed)
	case !u.deleteAssociations:
		ui.printf("%d objects. Associations stay, and the policy that guards them; podid uninstall --delete-associations removes these too.\n", removed)
	default:
		ui.printf("%d objects. Nothing of podid is left.\n", removed)
	}
}

// remove tells of each step.
func (u *uninstalling) remove(ctx context.Context, out, errs *ui, target install.Cluster, to *export) (uninstalled, error) {
	removed := uninstalled{DryRun: u.dryRun, Objects: []install.Change{}} // a list in JSON, too
	err := target.Uninstall(ctx, install.Removal{
		Associations: u.deleteAssociations, DryRun: u.dryRun,
		Export:  func(all []*unstructured.Unstructured) error { return to.write(out, all) },
		Waiting: func(what string) { errs.printf("waiting for %s\n", what) },
		Report: func(change install.Change) {
			removed.Objects = append(removed.Objects, change)
			action := string(change.Action)
			if u.dryRun {
				action = "would be " + action
			}
			out.printf("%s %s\n", change.Object, action)
		},
		Addresses: func(node string, err error) {
			if err != nil {
				report(errs, err)
				return
			}
			removed.Nodes = append(removed.Nodes, node)
			out.printf("address of node %s removed\n", node)
		},
	})
	if to != nil && to.done {
		removed.Export = to.file.Name()
	}
	return removed, err
}

// export is the file that associations are written to before they are removed: a new one,
// for one that is there may be the only copy of others.
type export struct {
	file *os.File
	done bool // something is in it
}

// newExport makes the file before anything is removed, so that there is somewhere to write to.
func newExport(name string) (*export, error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, problem.New(problem.Usage, "the associations cannot be written to %s", name).Because("%v", err).
			Fixed("name another file with --export; nothing was removed")
	}
	return &export{file: file}, nil
}

// write adds associations to what is written already: the last of one and the same counts.
func (e *export) write(ui *ui, all []*unstructured.Unstructured) error {
	if len(all) == 0 {
		return nil
	}
	var text bytes.Buffer
	var names []string
	for _, association := range all {
		encoded, err := yaml.Marshal(association.Object)
		if err != nil {
			return fmt.Errorf("write associations: %w", err)
		}
		fmt.Fprintf(&text, "---\n%s", encoded)
		names = append(names, association.GetNamespace()+"/"+association.GetName())
	}
	_, err := e.file.Write(text.Bytes())
	if err == nil {
		err = e.file.Sync()
	}
	switch {
	case err != nil && !e.done:
		return problem.New(problem.Usage, "the associations cannot be written to %s", e.file.Name()).Because("%v", err).
			Fixed("they are in the cluster still: call it again, and name another file with --export")
	case err != nil:
		return problem.New(problem.Usage, "the associations of %s cannot be written to %s", strings.Join(names, ", "), e.file.Name()).Because("%v", err).
			Fixed("make these again by hand: somebody wrote them while they were removed; the others are in the file")
	}
	e.done = true
	ui.printf("%d associations written to %s\n", len(all), e.file.Name())
	return nil
}

// close leaves no file that nothing was written to.
func (e *export) close() {
	_ = e.file.Close() // what is written is synchronised
	if !e.done {
		_ = os.Remove(e.file.Name())
	}
}
