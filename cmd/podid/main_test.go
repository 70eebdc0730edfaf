package main

import (
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/openpodidentity/podid/internal/sandbox"
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
			e.Setenv("GORACE", "atexit_sleep_ms=0") // each command would end a second late
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"world": waitForWorld, "port": port},
	})
}

// waitForWorld waits until `podid local` in the background can be reached: by its
// connection file, $PODID_WORLD unless named.
func waitForWorld(ts *testscript.TestScript, _ bool, args []string) {
	file := ts.Getenv("PODID_WORLD")
	if len(args) > 0 {
		file = ts.MkAbs(args[0])
	}
	for range 600 {
		if _, err := os.Stat(file); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("the local world did not come up")
}

// port sets PORT to that of the AWS endpoint of a connection file.
func port(ts *testscript.TestScript, _ bool, args []string) {
	c, err := sandbox.LoadConnection(ts.MkAbs(args[0]))
	ts.Check(err)
	endpoint, err := url.Parse(c.Endpoint)
	ts.Check(err)
	ts.Setenv("PORT", endpoint.Port())
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
