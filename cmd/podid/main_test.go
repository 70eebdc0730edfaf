package main

import (
	"os"
	"testing"
	"time"

	"github.com/openpodidentity/podid/problem"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"podid": main})
}

// TestCommandLine runs the pages in testdata: what a person types and sees.
func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PODID_WORLD", e.WorkDir+"/world.json")
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("NO_COLOR", "1")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"world": waitForWorld},
	})
}

// waitForWorld waits until `podid local` in the background can be reached.
func waitForWorld(ts *testscript.TestScript, _ bool, _ []string) {
	for range 600 {
		if _, err := os.Stat(ts.Getenv("PODID_WORLD")); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("the local world did not come up")
}

func TestEveryProblemHasAnExitCode(t *testing.T) {
	for _, code := range problem.Codes() {
		got, ok := exitCodes[code]
		if !ok || got == exitOK {
			t.Errorf("%s has the exit code %d", code, got)
		}
		if transient := problem.Lookup(code).Kind == problem.Transient; transient != (got == exitTryAgain) {
			t.Errorf("%s: exit code %d does not say whether to try again", code, got)
		}
	}
}
