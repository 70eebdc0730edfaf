package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/handover"
)

// An agent that is killed, or whose pod is deleted, hands nothing over. Who connects until the next one is
// there waits for it, so that an SDK's call does not even need its second try.
func TestWhoConnectsWhileThereIsNoAgentIsServedByTheNext(t *testing.T) {
	for name, signal := range map[string]os.Signal{"killed": syscall.SIGKILL, "ended": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			u := up(t)
			o := on(t, u)
			o.holder = fmt.Sprintf("@podid-sockets-test-%d-%s", os.Getpid(), name)
			hold(t, o.holder)
			r := &running{options: o, log: new(lockedBuffer)}
			first := spawn(t, r.log, o.args()...)
			r.until(t, "/readyz", 200)
			entrusted(t, o.holder)
			if err := first.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = first.Wait()

			const askers = 20
			answers := make(chan error, askers)
			for i := range askers {
				token := pod(t, u, i)
				go func() {
					status, body, err := r.ask(token)
					if err == nil && status != 200 {
						err = fmt.Errorf("%d %s", status, body)
					}
					answers <- err
				}()
			}
			time.Sleep(500 * time.Millisecond) // for them to wait
			if len(answers) > 0 {
				t.Fatalf("without an agent one is answered: %v", <-answers)
			}
			spawn(t, r.log, o.args()...)
			for range askers {
				if err := <-answers; err != nil {
					t.Errorf("%v\n%s", err, r.log)
				}
			}
			r.says(t, "took what was held")
		})
	}
}

// args are the flags that o was made from (on).
func (o *options) args() []string {
	return []string{"--auth", o.auth, "--ca-file", o.caFile, "--token-file", o.tokenFile, "--node", o.node, "--listen", o.listen[0],
		"--probes", o.probes, "--metrics", "", "--handover", "", "--holder", o.holder}
}

func hold(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- (&handover.Holder{Name: name, Log: slog.New(slog.DiscardHandler)}).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// entrusted waits until the holder has a socket.
func entrusted(t *testing.T, name string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		held, _ := handover.Borrow(t.Context(), name)
		for _, socket := range held {
			_ = socket.Close()
		}
		if len(held) > 0 {
			return
		}
	}
	t.Fatal("nothing is held")
}
