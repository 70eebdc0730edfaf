//go:build unix

// Command kubelab is package kube for people and for make: it builds what the tests need,
// or holds a cluster until it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/openpodidentity/podid/test/kube"
)

const usage = `usage: kubelab VERB [-nodes N]
  build   build and download into the cache what the tests need, and say how far it is
  up      start a cluster (-nodes N; 0 is an API server alone), say where its kubeconfig is,
          and stop it on Ctrl-C or when standard input ends
  sweep   end and remove what killed tests left
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return errors.New("a verb is missing")
	}
	flags := flag.NewFlagSet("kubelab "+args[0], flag.ContinueOnError)
	nodes := flags.Int("nodes", 2, "number of nodes (up)")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "build":
		return kube.Build(ctx, os.Stderr)
	case "up":
		return up(ctx, *nodes)
	case "sweep":
		return kube.Sweep()
	}
	fmt.Fprint(os.Stderr, usage)
	return fmt.Errorf("no such verb: %s", args[0])
}

func up(ctx context.Context, nodes int) error {
	began := time.Now()
	kubeconfig, stop, err := start(ctx, nodes)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "ready after %v; Ctrl-C stops it\n", time.Since(began).Round(100*time.Millisecond))
	fmt.Printf("export KUBECONFIG=%s\n", kubeconfig)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var b [512]byte
		for {
			if _, err := os.Stdin.Read(b[:]); err != nil {
				return
			}
		}
	}()
	select {
	case <-ctx.Done():
	case <-ended:
	}
	return stop()
}
