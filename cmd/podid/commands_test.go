package main

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commands calls f with each command that people are shown.
func commands(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			commands(sub, f)
		}
	}
}

func TestEveryCommandHasAnExampleThatHolds(t *testing.T) {
	commands(newRoot(), func(c *cobra.Command) {
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s: it does not say what it is for, or how it is called", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if err := holds(line); err != "" {
				t.Errorf("the example of %s: %s: %s", c.CommandPath(), strings.TrimSpace(line), err)
			}
		}
	})
}

func TestEveryCommandInTheDocsIsThere(t *testing.T) {
	tree := os.DirFS("../..")
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".md") || strings.Contains(name, "node_modules") || name == "CHANGELOG.md" {
			return err
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		for i, part := range fence.Split(string(text), -1) {
			shown := []string{part}
			switch {
			case i%2 == 0: // between blocks
				shown = inCode.FindAllString(part, -1)
			case strings.HasPrefix(part, "text\n"): // what is printed
				continue
			}
			for _, typed := range shown {
				if err := holds(typed); err != "" && !slices.Contains(notYet, typed) {
					t.Errorf("%s: %s", name, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// notYet are told of as missing.
var notYet = []string{"`podid doctor`", "`podid migrate`"}

var (
	fence  = regexp.MustCompile("(?m)^```")
	inCode = regexp.MustCompile("`podid [^`\n]*`")
	// typed is the program at the beginning of a line, of code or of a substitution.
	typed = regexp.MustCompile("(?m)(?:^[$ ]*|`|\\$\\(|&& |[|] )(?:\\./bin/)?podid( [^`|)&#;\n]*|$)")
	flags = regexp.MustCompile(`^\[?--?([a-zA-Z][a-z0-9-]*)`)
)

// holds says which of the commands of podid in a text are none.
func holds(text string) string {
	for _, found := range typed.FindAllStringSubmatch(strings.ReplaceAll(text, "\\\n", ""), -1) {
		mine, _, _ := strings.Cut(found[1], " -- ")
		words := strings.Fields(mine)
		c, _, err := newRoot().Find(words)
		if err != nil || c.Name() == "podid" && len(words) > 0 && !strings.HasPrefix(words[0], "-") {
			return "podid" + found[1] + ": there is no such command"
		}
		c.InitDefaultHelpFlag()
		for _, word := range words {
			flag := flags.FindStringSubmatch(word)
			if flag != nil && c.Flag(flag[1]) == nil && (len(flag[1]) > 1 || c.Flags().ShorthandLookup(flag[1]) == nil) {
				return "podid" + found[1] + ": it has no flag " + flag[0]
			}
		}
	}
	return ""
}
