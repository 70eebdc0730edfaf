package main

import "github.com/openpodidentity/podid/problem"

// The exit codes. `podid local run` passes on those of the program it ran.
const (
	exitOK          = 0
	exitRefused     = 1   // the answer is no until something is changed
	exitUsage       = 2   // called wrongly
	exitTryAgain    = 3   // may heal by itself
	exitBroken      = 4   // podid or its set-up is at fault
	exitInterrupted = 130 // as shells have it for SIGINT
)

// exitCodes is the terminal's mapping table: every problem code has a row.
var exitCodes = func() map[problem.Code]int {
	table := map[problem.Code]int{}
	for _, code := range problem.Codes() {
		switch problem.Lookup(code).Kind {
		case problem.Refused:
			table[code] = exitRefused
		case problem.Transient:
			table[code] = exitTryAgain
		case problem.Broken:
			table[code] = exitBroken
		}
	}
	table[problem.Usage] = exitUsage
	return table
}()
