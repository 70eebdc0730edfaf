package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	// A witness sleeps for a tick; that it woke up late by more than a standstill is one. A call of
	// podid-auth has 850 ms.
	tick, standstill = 10 * time.Millisecond, 100 * time.Millisecond
	// aftermath is how long a standstill is felt by who has no credentials yet: what failed in it
	// is told again for a second.
	aftermath = 2 * time.Second
	// mostAside is the share of the requests that may be set aside for standstills.
	mostAside = 0.02
)

// standstills are when this machine, or the process in which podid-auth is, did nothing at all: nobody can
// answer then. They are felt apart from the agent, so that it cannot hide a stall of its own: by a process
// that does nothing else, and in this one.
type standstills struct {
	mu   sync.Mutex
	seen []stretch
}

type stretch struct{ from, to time.Time }

// witnessing is the variable that makes this program a witness.
const witnessing = "PODID_SOAK_WITNESS"

// witness tells each standstill that it feels.
func witness(ctx context.Context, told func(stretch)) {
	for last := time.Now(); ctx.Err() == nil; last = time.Now() {
		time.Sleep(tick)
		if now := time.Now(); now.Sub(last) > tick+standstill {
			told(stretch{last, now})
		}
	}
}

// bearWitness is what the process of its own does, until its standard input ends, as it does
// with its parent.
func bearWitness() {
	go witness(context.Background(), func(s stretch) { fmt.Println(s.from.UnixNano(), s.to.UnixNano()) })
	_, _ = io.Copy(io.Discard, os.Stdin) // nothing is sent
	os.Exit(0)
}

// feel notes standstills until ctx ends.
func (s *standstills) feel(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, self)
	command.Env = append(os.Environ(), witnessing+"=1")
	told, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if _, err := command.StdinPipe(); err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start the witness: %w", err)
	}
	var both sync.WaitGroup
	both.Go(func() {
		for lines := bufio.NewScanner(told); lines.Scan(); {
			var from, to int64
			if _, err := fmt.Sscan(lines.Text(), &from, &to); err == nil {
				s.add(stretch{time.Unix(0, from), time.Unix(0, to)})
			}
		}
		_ = command.Wait() // it was killed
	})
	both.Go(func() { witness(ctx, s.add) })
	both.Wait()
	return nil
}

func (s *standstills) add(one stretch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, one)
}

// within says whether the machine stood still at some time from one to the other. A witness tells of it
// once it is over: whoever asks waits until it had time to.
func (s *standstills) within(from, to time.Time) bool {
	time.Sleep(2 * tick)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.seen {
		if one.from.Before(to) && from.Before(one.to) {
			return true
		}
	}
	return false
}

func (s *standstills) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	longest, all := time.Duration(0), time.Duration(0)
	for _, one := range s.seen {
		took := one.to.Sub(one.from)
		longest, all = max(longest, took), all+took
	}
	return strings.TrimSpace(fmt.Sprintf("the machine stood still %d times, %s in all, the longest %s", len(s.seen), all.Round(time.Millisecond), longest.Round(time.Millisecond)))
}
