package main

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/openpodidentity/podid/docs"
	"github.com/openpodidentity/podid/internal/spelling"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
)

// explanation is what `podid explain` knows of a code.
type explanation struct {
	Code  problem.Code `json:"code"`
	Title string       `json:"title"`
	Why   string       `json:"why"`
	Fix   string       `json:"fix"`
	Page  string       `json:"page,omitempty"`
}

func newExplain() *cobra.Command {
	var out output
	c := &cobra.Command{
		Use:   "explain [CODE]",
		Short: "Say what a problem means, why it happens and how to fix it",
		Example: `  podid explain                      # all codes
  podid explain trust-tag-session
  podid explain association-missing -o json`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var all []cobra.Completion
			for _, code := range problem.Codes() {
				all = append(all, cobra.CompletionWithDesc(string(code), problem.Lookup(code).Title))
			}
			return all, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return explainAll(c, out)
			}
			return explainOne(c, out, problem.Code(args[0]))
		},
	}
	out.flag(c)
	return c
}

func explainAll(c *cobra.Command, out output) error {
	var all []explanation
	var rows [][]string
	for _, code := range problem.Codes() {
		e := problem.Lookup(code)
		all = append(all, explanation{Code: code, Title: e.Title, Why: e.Why, Fix: e.Fix})
		rows = append(rows, []string{string(code), e.Title})
	}
	return out.print(c.OutOrStdout(), all, func(ui *ui) { ui.table([]string{"CODE", "MEANING"}, rows) })
}

func explainOne(c *cobra.Command, out output, code problem.Code) error {
	if !problem.Known(code) {
		p := problem.New(problem.Usage, "there is no problem code %q", code).Because("").
			Fixed("podid explain lists the codes")
		if near := nearest(code); near != "" {
			p = p.Fixed("perhaps you mean %s; podid explain lists the codes", near)
		}
		return p
	}
	page, err := docs.Problem(code)
	if err != nil {
		return err
	}
	e := problem.Lookup(code)
	return out.print(c.OutOrStdout(), explanation{code, e.Title, e.Why, e.Fix, page}, func(ui *ui) { ui.page(page) })
}

var pageLink = regexp.MustCompile(`\[([a-z0-9-]+)\]\([a-z0-9-]+\.md\)`)

// page prints a page of the documentation for a terminal: headings without marks,
// examples indented, links to other pages by their codes.
func (u *ui) page(markdown string) {
	example := false
	for line := range strings.Lines(markdown) {
		heading := strings.TrimLeft(line, "#")
		switch {
		case strings.HasPrefix(line, "```"):
			example = !example
		case example:
			u.printf("  %s", line)
		case heading != line:
			u.printf("%s\n", u.title(strings.TrimSpace(heading)))
		default:
			u.printf("%s", pageLink.ReplaceAllString(line, "$1"))
		}
	}
}

// nearest is the code that was probably meant: one mistyped by a few
// characters, or else one that starts like the one asked for or shares a word
// with it.
func nearest(asked problem.Code) problem.Code {
	near := slices.MinFunc(problem.Codes(), func(a, b problem.Code) int {
		return cmp.Compare(spelling.Distance(string(asked), string(a)), spelling.Distance(string(asked), string(b)))
	})
	if spelling.Distance(string(asked), string(near)) <= len(near)/4 {
		return near
	}
	for _, code := range problem.Codes() {
		if strings.HasPrefix(string(code), string(asked)) {
			return code
		}
	}
	words := strings.Split(string(asked), "-")
	best, most := problem.Code(""), 0
	for _, code := range problem.Codes() {
		shared := 0
		for word := range strings.SplitSeq(string(code), "-") {
			if slices.Contains(words, word) {
				shared++
			}
		}
		if shared > most {
			best, most = code, shared
		}
	}
	return best
}
