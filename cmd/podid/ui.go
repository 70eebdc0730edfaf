package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/openpodidentity/podid/problem"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"github.com/charmbracelet/colorprofile"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// ui writes for people: colour where the terminal has it, plain text elsewhere
// (NO_COLOR is honoured).
type ui struct{ out io.Writer }

func newUI(w io.Writer) *ui { return &ui{colorprofile.NewWriter(w, os.Environ())} }

var (
	titleStyle = lipgloss.NewStyle().Bold(true)
	goodStyle  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	badStyle   = lipgloss.NewStyle().Foreground(lipgloss.Red)
	faintStyle = lipgloss.NewStyle().Faint(true)
)

func (u *ui) printf(format string, args ...any) { fmt.Fprintf(u.out, format, args...) }
func (u *ui) title(s string) string             { return titleStyle.Render(s) }
func (u *ui) good(s string) string              { return goodStyle.Render(s) }
func (u *ui) bad(s string) string               { return badStyle.Render(s) }
func (u *ui) faint(s string) string             { return faintStyle.Render(s) }

// table prints rows under headers without borders, as kubectl does.
func (u *ui) table(headers []string, rows [][]string) {
	t := table.New().
		Headers(headers...).Rows(rows...).
		Border(lipgloss.HiddenBorder()).BorderTop(false).BorderBottom(false).
		BorderLeft(false).BorderRight(false).BorderHeader(false).BorderColumn(false).
		StyleFunc(func(row, _ int) lipgloss.Style {
			style := lipgloss.NewStyle().PaddingRight(2)
			if row == table.HeaderRow {
				return style.Bold(true)
			}
			return style
		})
	for line := range strings.Lines(t.String() + "\n") {
		u.printf("%s\n", strings.TrimRight(line, " \n"))
	}
}

// wrap breaks text at spaces alone: ARNs and names stay whole, to be copied.
func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// output is the -o flag of commands that print facts.
type output string

func (o *output) flag(c *cobra.Command) {
	c.Flags().StringVarP((*string)(o), "output", "o", "text", "text, json or yaml")
	must(c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp)))
}

// check refuses other values before anything is done.
func (o output) check() error {
	switch o {
	case "text", "json", "yaml":
		return nil
	}
	return problem.New(problem.Usage, "-o %s is none of text, json and yaml", o)
}

// print writes value as JSON or YAML, or calls text.
func (o output) print(w io.Writer, value any, text func(*ui)) error {
	switch o {
	case "text":
		text(newUI(w))
		return nil
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(value)
	case "yaml":
		encoded, err := yaml.Marshal(value)
		if err != nil {
			return err
		}
		_, err = w.Write(encoded)
		return err
	}
	return o.check()
}

// must is for errors that only a mistake in the program can cause.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
