package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// tally is what happened.
type tally struct {
	mu       sync.Mutex
	answers  int
	aside    int // failed while the machine stood still
	slowest  time.Duration
	excuses  map[string]int // refusals that have an explanation, by that
	wrongs   int
	examples []string
}

func (t *tally) answered(took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answers++
	t.slowest = max(t.slowest, took)
}

func (t *tally) excused(code string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.excuses == nil {
		t.excuses = map[string]int{}
	}
	t.excuses[code]++
}

func (t *tally) setAside() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.aside++
}

func (t *tally) wrong(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wrongs++; len(t.examples) < 10 {
		t.examples = append(t.examples, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

func (t *tally) print(a *agent, still *standstills) {
	fmt.Printf("%d answered, the slowest after %s\n", t.answers, t.slowest.Round(time.Millisecond))
	for _, code := range slices.Sorted(maps.Keys(t.excuses)) {
		fmt.Printf("%d were told %s\n", t.excuses[code], code)
	}
	fmt.Printf("%d were set aside: %s\n", t.aside, still)
	for _, example := range t.examples {
		fmt.Println("wrong:", example)
	}
	for _, of := range a.seen() {
		fmt.Println(of)
	}
	if a.race {
		fmt.Println("with the race detector's own,", a.resident)
	}
}

// verdict is an error if anything was not as the design has it.
func (t *tally) verdict(a *agent) error {
	var err error
	if t.wrongs > 0 {
		err = fmt.Errorf("%d answers are not what they should be", t.wrongs)
	}
	if t.answers == 0 {
		err = errors.Join(err, errors.New("nobody was answered: this machine has too much else to do"))
	}
	if float64(t.aside) > mostAside*float64(t.answers) {
		err = errors.Join(err, fmt.Errorf("%d requests were set aside: this machine stood still too much to tell", t.aside))
	}
	for _, of := range a.seen() {
		if of.grew() {
			err = errors.Join(err, fmt.Errorf("it grows: %s", of))
		}
	}
	return errors.Join(err, a.races())
}
