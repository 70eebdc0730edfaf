package main

import (
	"runtime"

	"github.com/spf13/cobra"
)

// version is set by the build.
var version = "unknown"

func newVersion() *cobra.Command {
	var out output
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  podid version -o json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			facts := struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return out.print(c.OutOrStdout(), facts, func(ui *ui) {
				ui.printf("podid %s (%s, %s)\n", facts.Version, facts.Go, facts.Platform)
			})
		},
	}
	out.flag(c)
	return c
}
