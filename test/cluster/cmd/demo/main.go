//go:build linux

// Command demo is the walk-through on a real Kubernetes: two nodes, podid installed by `podid install`, a role bound through each
// of the three doors, as service principal and as broker, pods with unmodified SDKs, and then what goes wrong.
//
// Everything that is told really happens; the command fails if anything turns out otherwise than told.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/openpodidentity/podid/test/cluster/lab"
	"github.com/openpodidentity/podid/test/kube"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var verbose bool
	flag.BoolVar(&verbose, "v", false, "show what podid's programs logged when something turns out otherwise than told")
	flag.Parse()
	if lacks := kube.MissingForNodes(); lacks != nil {
		fmt.Fprintln(os.Stderr, "error: real nodes need what this machine lacks:", strings.Join(lacks, "; "))
		os.Exit(1)
	}
	if err := run(ctx, os.Stdout, verbose); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, verbose bool) (err error) {
	began := time.Now()
	d := &demo{out: out}
	fmt.Fprintln(out, "Starting two nodes, and an AWS beside them that this program plays.")
	if d.Lab, err = lab.Start(ctx, lab.Options{Progress: os.Stderr}); err != nil {
		return err
	}
	defer func() {
		if err != nil && verbose {
			fmt.Fprintln(os.Stderr, d.Said(context.WithoutCancel(ctx)))
		}
		err = errors.Join(err, d.Stop())
	}()
	if err := d.walk(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nAll as told: three doors, three principals, %d failures, in %v.\n", len(failures), time.Since(began).Round(time.Second))
	return nil
}

// demo tells what it does, as a person would do it.
type demo struct {
	*lab.Lab
	out   io.Writer
	steps int
}

func (d *demo) step(format string, args ...any) {
	d.steps++
	fmt.Fprintf(d.out, "\n%d. %s\n", d.steps, fmt.Sprintf(format, args...))
}

func (d *demo) did(command string) { fmt.Fprintf(d.out, "   $ %s\n", command) }

// say shows what a program said.
func (d *demo) say(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		fmt.Fprintf(d.out, "   %s\n", strings.TrimRight(line, "\n"))
	}
}

// kubectl runs kubectl and shows both what is run and what it says.
func (d *demo) kubectl(ctx context.Context, args ...string) (string, error) {
	d.did("kubectl " + strings.Join(args, " "))
	said, err := d.Kubectl(ctx, args...).CombinedOutput()
	d.say(string(said))
	if err != nil {
		return string(said), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, said)
	}
	return string(said), nil
}

// podid runs the program podid and shows both.
func (d *demo) podid(ctx context.Context, args ...string) (string, error) {
	d.did("podid " + strings.Join(args, " "))
	said, err := d.Podid(ctx, args...)
	d.say(said)
	if err != nil {
		return said, fmt.Errorf("podid %s: %w: %s", strings.Join(args, " "), err, said)
	}
	return said, nil
}

// apply applies a manifest with kubectl, and shows it.
func (d *demo) apply(ctx context.Context, manifest string) error {
	d.did("kubectl apply -f - <<EOF")
	d.say(manifest)
	d.say("EOF")
	said, err := d.Apply(ctx, manifest)
	d.say(said)
	if err != nil {
		return fmt.Errorf("kubectl apply: %w: %s", err, said)
	}
	return nil
}

// wants checks that a text says what it was announced to say.
func wants(text string, facts ...string) error {
	for _, fact := range facts {
		if !strings.Contains(text, fact) {
			return fmt.Errorf("%q is not in: %s", fact, text)
		}
	}
	return nil
}
