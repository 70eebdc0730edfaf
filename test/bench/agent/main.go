// Command agent measures podid-agent as a process of its own, against a podid-auth
// that fails on demand (package upstream), and prints a row for each figure with what is
// demanded of it. A reference, where there is one, is measured in the same run, in
// turns: machines are noisy, and both feel the noise alike. All of it stays on loopback.
//
//	make bench-agent
//	go run ./test/bench/agent -only hit,memory
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// figure is a line of the report.
type figure struct {
	name, is, must string
	ok             bool
}

// rows are what is measured, in the order of the report. Each starts its own agent.
var rows = []struct {
	name    string
	measure func(*lab) ([]figure, error)
}{
	{"hit", hit},
	{"first", first},
	{"woken", woken},
	{"hangup", hangup},
	{"faults", faults},
	{"renewals", renewals},
	{"outage", outage},
	{"change", change},
	{"flood", flood},
	{"storm", storm},
	{"cluster", clusterStart},
	{"families", families},
	{"memory", memory},
	{"program", program},
	{"log", logging},
	{"shutdown", shutdown},
	{"rollout", rollout},
	{"connections", connections},
}

var podsOfNode = flag.Int("pods", 10, "the pods of each node in the row cluster")

func main() {
	if body := os.Getenv(bareBody); body != "" {
		serveBare(body)
		return
	}
	if address := os.Getenv(crowdAddress); address != "" {
		if err := crowd(address, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		return
	}
	only := flag.String("only", "", "the rows to measure, comma-separated; empty: all")
	program := flag.String("program", "", "the agent to measure; empty: built as it is shipped")
	flag.Parse()
	if err := report(*only, *program); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func report(only, program string) error {
	dir, err := os.MkdirTemp("", "podid-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if program == "" {
		fmt.Fprintln(os.Stderr, "building podid-agent as it is shipped")
		program = filepath.Join(dir, "podid-agent")
		if err := build(program); err != nil {
			return err
		}
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "figure\tis\tmust\t")
	missed := 0
	for _, row := range rows {
		if only != "" && !slices.Contains(strings.Split(only, ","), row.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "measuring", row.name)
		l := &lab{dir: dir, program: program}
		figures, err := row.measure(l)
		l.close()
		if err != nil {
			return fmt.Errorf("%s: %w", row.name, err)
		}
		for _, f := range figures {
			verdict := ""
			if !f.ok {
				verdict = "MISSED"
				missed++
			}
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", f.name, f.is, f.must, verdict)
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if missed > 0 {
		return fmt.Errorf("%d figures are not what they must be", missed)
	}
	return nil
}
