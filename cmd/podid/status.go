package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/openpodidentity/podid/internal/install"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
)

func newStatus() *cobra.Command {
	var cluster kubeconfig
	var out output
	var namespace string
	c := &cobra.Command{
		Use:   "status",
		Short: "Say how podid is doing in a cluster",
		Long: `Tells which version runs, whether all replicas are ready and every node has its agent,
the settings, the doors, how long certificates last, how many associations there are, and
what podid has complained of lately. What you may not see is left out.

The exit code is 0 if all is well, and 1 if not.`,
		Example: `  podid status
  podid status --context prod -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := cluster.config()
			if err != nil {
				return err
			}
			target, err := install.Connect(config, namespace)
			if err != nil {
				return cluster.failed("reach the cluster", err)
			}
			status, err := target.Status(c.Context())
			if err != nil {
				return cluster.failed("look at podid", err)
			}
			if err := out.print(c.OutOrStdout(), status, func(ui *ui) { ui.status(status, time.Now()) }); err != nil {
				return err
			}
			if !status.OK() {
				return exitCode(exitCodes[problem.InstallIncomplete])
			}
			return nil
		},
	}
	cluster.flags(c)
	podidNamespaceFlag(c, &namespace)
	out.flag(c)
	return c
}

func (u *ui) status(s install.Status, now time.Time) {
	u.printf("%s %s\n\n", u.title("podid"), s.Version)
	var rows [][]string
	for _, p := range s.Programs {
		state := u.good("ready")
		if !p.Settled {
			state = u.bad("not ready")
		}
		rows = append(rows, []string{p.Name, fmt.Sprintf("%d/%d", p.Ready, p.Desired), state, p.Image})
	}
	u.table([]string{"PROGRAM", "READY", "STATE", "IMAGE"}, rows)
	for _, p := range s.Programs {
		for _, reason := range p.Reasons {
			u.printf("  %s\n", reason)
		}
	}
	u.printf("\n")
	if len(s.WithoutAgent) == 0 {
		u.printf("nodes         %d, each with its agent\n", s.Nodes)
	} else {
		u.printf("nodes         %d, %s\n", s.Nodes, u.bad(fmt.Sprintf("%d without agent", len(s.WithoutAgent))))
		for _, node := range s.WithoutAgent {
			u.printf("  %s: %s\n", node.Node, node.Message)
		}
	}
	u.printf("doors         %s\n", strings.Join(open(s.Doors), ", "))
	u.printf("associations  %d", s.Associations)
	if s.Refused > 0 {
		u.printf(", %s", u.bad(fmt.Sprintf("%d of them refused", s.Refused)))
	}
	u.printf("\n")
	for _, certificate := range s.Certificates {
		u.printf("certificate   %s, for %s more\n", certificate.Secret, days(certificate.Expires.Sub(now)))
	}
	u.printf("settings\n")
	for _, key := range slices.Sorted(maps.Keys(s.Settings)) {
		u.printf("  %-20s %s\n", key, s.Settings[key])
	}
	if s.Configuration != "" {
		u.printf("  %s\n", u.bad(s.Configuration))
	}
	if len(s.Problems) > 0 {
		u.printf("problems of late\n")
		for _, told := range s.Problems {
			u.printf("  %s ago, %s: %s: %s\n", now.Sub(told.Last).Round(time.Second), told.About, told.Reason, told.Message)
		}
	}
	if len(s.Unseen) > 0 {
		u.printf("%s\n", u.faint("you may not see: "+strings.Join(s.Unseen, ", ")))
	}
}

// open names the doors that are.
func open(d install.Doors) []string {
	var names []string
	for _, door := range []struct {
		open bool
		name string
	}{
		{d.Objects, "objects"}, {d.Annotations, "annotations"}, {d.EKSAPI, "EKS API"},
		{d.Webhook, "webhook"}, {d.LabelledScope, "labelled scope"},
	} {
		if door.open {
			names = append(names, door.name)
		}
	}
	return names
}

func days(d time.Duration) string {
	if d < 48*time.Hour {
		return d.Round(time.Minute).String()
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
