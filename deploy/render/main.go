// Command render writes what is generated from the chart: the chart's own copies of
// deploy/policies and deploy/crds, which Helm takes from nowhere but the chart's
// folder, and deploy/install.yaml, which is the chart with its default values.
//
// It is a module of its own, so that the product never depends on Helm.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	deploy := ".."
	if len(os.Args) > 1 {
		deploy = os.Args[1]
	}
	if err := run(deploy); err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}

func run(deploy string) error {
	chart := filepath.Join(deploy, "chart")
	for _, folder := range []string{"policies", "crds"} {
		if err := copyFolder(filepath.Join(deploy, folder), filepath.Join(chart, "files", folder)); err != nil {
			return err
		}
	}
	manifest, err := Install(chart)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(deploy, "install.yaml"), manifest, 0o644)
}

// copyFolder makes to what the YAML files of from are, so that what is gone there goes
// here too.
func copyFolder(from, to string) error {
	files, err := filepath.Glob(filepath.Join(from, "*.yaml"))
	if err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(file)), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
