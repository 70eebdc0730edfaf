// Package program is how podid's programs of a cluster begin and end: they run until they
// are told to end, log JSON lines, and say why they ended.
package program

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Run runs root with these arguments until it ends, or the process is told to end, and
// returns the exit code: 0, or 1 after errs was told why.
func Run(root *cobra.Command, args []string, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return bounded(c.Flags()) }
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		report(errs, err)
		return 1
	}
	return 0
}

// bounded refuses numbers that are none of anything, and times that are over before they
// begin: each would be taken for another bound than was meant.
func bounded(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(f *pflag.Flag) {
		value, kind := f.Value.String(), f.Value.Type()
		if strings.HasPrefix(value, "-") && kind == "duration" || kind == "int" && (value == "0" || strings.HasPrefix(value, "-")) {
			err = problem.New(problem.Usage, "--%s %s bounds nothing", f.Name, value).
				Because("it is a number of what may be, or a time that may pass, and so is more than nothing").Fixed("give more than that; the default is %s", f.DefValue)
		}
	})
	return err
}

// Log writes JSON: what runs all over a cluster is read by machines first.
func Log(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, problem.New(problem.Usage, "%q is not a log level", level).Because("").Fixed("use debug, info, warn or error")
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l})), nil
}

// report says why the program ended, for `kubectl logs`.
func report(w io.Writer, err error) {
	p := problem.Of(err)
	if p.Code == problem.Internal && p.Err != nil { // no problem of ours, such as a wrong flag
		fmt.Fprintf(w, "error: %v\n", p.Err)
		return
	}
	fmt.Fprintf(w, "error: %s\n", p.What)
	if p.Err != nil {
		fmt.Fprintf(w, "cause: %v\n", p.Err)
	}
	if p.Why != "" {
		fmt.Fprintf(w, "why:   %s\n", p.Why)
	}
	if p.Fix != "" {
		fmt.Fprintf(w, "fix:   %s\n", p.Fix)
	}
}
