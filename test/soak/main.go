// Command soak lets podid-agent work for a while, built with the race detector, for 500
// workloads that come and go and whose tokens rotate, against a podid-auth that fails
// a fifth of the time. It ends with an error if anybody was refused without a reason,
// was given what is another's, or if the agent grew.
//
//	make soak              # 10 minutes
//	make soak SOAK=60s
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/openpodidentity/podid/test/upstream"
)

func main() {
	if os.Getenv(witnessing) != "" {
		bearWitness()
	}
	d := flag.Duration("for", 10*time.Minute, "how long")
	n := flag.Int("workloads", 500, "how many")
	race := flag.Bool("race", true, "build the agent with the race detector; without, its memory is the agent's own")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := soak(ctx, *d, *n, *race); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func soak(ctx context.Context, d time.Duration, n int, race bool) error {
	dir, err := os.MkdirTemp("", "podid-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Println("building podid-agent, race detector:", race)
	program := filepath.Join(dir, "podid-agent")
	build := exec.CommandContext(ctx, "go", "build", fmt.Sprintf("-race=%t", race), "-o", program, "./cmd/podid-agent")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build podid-agent: %w", err)
	}
	auth, err := upstream.Start(dir)
	if err != nil {
		return err
	}
	defer auth.Close()
	// A period of five parts, in the fourth of which podid-auth fails. Credentials live for a period and are
	// renewed with three eighths left, so that nobody who has some may notice.
	period := min(5*time.Minute, d/2)
	auth.Life = period
	a, err := start(program, dir, auth, race)
	if err != nil {
		return err
	}
	// Twice as many pods come and go as there are at once, and those that have ended have none.
	a.credentials.most = 1.2 * float64(n)
	defer a.kill()

	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	w := &world{auth: auth, agent: a, weather: newWeather(auth, period)}
	fmt.Printf("%d workloads for %s; podid-auth fails %s of every %s\n", n, d, period/5, period)
	w.run(ctx, n)
	if err := a.stop(); err != nil {
		return err
	}
	w.tally.print(a, &w.still)
	return w.tally.verdict(a)
}
