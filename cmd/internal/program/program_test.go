package program_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid/cmd/internal/program"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
)

func TestAProgramSaysWhyItEnded(t *testing.T) {
	broken := problem.New(problem.ConfigurationInvalid, "the region is empty").
		Because("nobody has set it").Fixed("set it").From(errors.New("no such file"))
	for want, err := range map[string]error{
		"": nil,
		"error: the region is empty\ncause: no such file\nwhy:   nobody has set it\nfix:   set it\n": broken,
		"error: no such file\n": errors.New("no such file"),
	} {
		var out strings.Builder
		code := program.Run(&cobra.Command{Use: "program", RunE: func(*cobra.Command, []string) error { return err }}, nil, &out)
		if out.String() != want || (code == 0) != (err == nil) {
			t.Errorf("exit code %d\n%swant\n%s", code, &out, want)
		}
	}
}

func TestABoundIsMoreThanNothing(t *testing.T) {
	for args, good := range map[string]bool{
		"": true, "--connections 1 --drain 0s": true,
		"--connections 0": false, "--connections -1": false, "--drain -5s": false,
	} {
		c := &cobra.Command{Use: "program", RunE: func(*cobra.Command, []string) error { return nil }}
		c.Flags().Int("connections", 7, "")
		c.Flags().Duration("drain", time.Second, "")
		var out strings.Builder
		if code := program.Run(c, strings.Fields(args), &out); (code == 0) != good || !good && !strings.Contains(out.String(), "the default is") {
			t.Errorf("%s: exit code %d, %s", args, code, &out)
		}
	}
}

func TestALogHasItsLevel(t *testing.T) {
	var out strings.Builder
	log, err := program.Log(&out, "warn")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("this is left out")
	log.Warn("this is not", "n", 1)
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"msg":"this is not","n":1`) {
		t.Error(got)
	}
	if _, err := program.Log(&out, "loud"); !problem.Is(err, problem.Usage) {
		t.Errorf("got %v", err)
	}
}
