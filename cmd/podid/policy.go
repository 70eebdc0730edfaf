package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
)

func newPolicy() *cobra.Command {
	return group(cobra.Command{
		Use:   "policy",
		Short: "Check and format policy documents",
		Example: `  podid policy lint trust.json
  podid policy format --write trust.json`,
	}, newPolicyLint(), newPolicyFormat())
}

// policyTypes are the names of the types of policies, with what they are.
var policyTypes = []cobra.Completion{
	cobra.CompletionWithDesc("identity", "of a user, group or role"),
	cobra.CompletionWithDesc("trust", "a role's: who may assume it"),
	cobra.CompletionWithDesc("resource", "of a bucket, key, queue, …"),
	cobra.CompletionWithDesc("boundary", "permissions boundary"),
	cobra.CompletionWithDesc("session", "passed with AssumeRole"),
	cobra.CompletionWithDesc("scp", "service control policy"),
	cobra.CompletionWithDesc("rcp", "resource control policy"),
}

// policyType is the --type flag of commands that read policies.
type policyType string

func (t *policyType) flag(c *cobra.Command) {
	c.Flags().StringVar((*string)(t), "type", "", "identity, trust, resource, boundary, session, scp or rcp (default: by the look of the document)")
	must(c.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(policyTypes, cobra.ShellCompDirectiveNoFileComp)))
}

// of is the type of a document; guessed if nobody said it.
func (t policyType) of(document []byte) (kind policy.Type, guessed bool, err error) {
	if t == "" {
		return policy.GuessType(document), true, nil
	}
	kind, ok := policy.ParseType(string(t))
	if !ok {
		return kind, false, problem.New(problem.Usage, "--type %s is none of identity, trust, resource, boundary, session, scp and rcp", t)
	}
	return kind, false, nil
}

// policyDocument is a document to check.
type policyDocument struct {
	File     string           `json:"file"`
	Type     string           `json:"type"` // as --type has it
	Guessed  bool             `json:"guessed"`
	Findings []policy.Finding `json:"findings"`
}

func newPolicyLint() *cobra.Command {
	var out output
	var kind policyType
	var strict bool
	c := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Check policy documents for mistakes, limits and dangers",
		Long: `Checks policy documents as a reviewer would: AWS's grammar and size limits, what is
dangerous (a Principal that is everyone, a confused deputy), what does nothing
(statements that others cover or deny) and what pods trip over (sts:TagSession).

A finding is an error (AWS refuses the document, or it does not do what it says), a
warning (it is dangerous, or surely not meant) or a notice. The exit code is 0
without errors, 1 with errors (and with --strict also with warnings), 2 if a file
cannot be read. Nothing but the documents is looked at; - is standard input.

docs/policy-lint.md explains each rule.`,
		Example: `  podid policy lint trust.json
  podid policy lint --type session session.json
  podid policy lint --strict -o json *.json
  podid trust-policy --cluster-arn any | podid policy lint -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, files []string) error {
			documents, err := lintFiles(kind, files, c.InOrStdin())
			if err != nil {
				return err
			}
			if err := out.print(c.OutOrStdout(), documents, func(ui *ui) { ui.findings(documents) }); err != nil {
				return err
			}
			counts := count(documents)
			if counts[policy.Error] > 0 || strict && counts[policy.Warning] > 0 {
				return exitCode(exitRefused)
			}
			return nil
		},
	}
	out.flag(c)
	kind.flag(c)
	c.Flags().BoolVar(&strict, "strict", false, "end with exit code 1 for warnings too")
	return c
}

// lintFiles checks each file; it reads all of them first.
func lintFiles(kind policyType, files []string, stdin io.Reader) ([]policyDocument, error) {
	documents := make([]policyDocument, 0, len(files))
	for _, file := range files {
		content, err := readPolicy(file, stdin)
		if err != nil {
			return nil, err
		}
		t, guessed, err := kind.of(content)
		if err != nil {
			return nil, err
		}
		name := file
		if file == "-" {
			name = "stdin"
		}
		findings := policy.Lint(t, name, content)
		if findings == nil {
			findings = []policy.Finding{} // [] for programs
		}
		documents = append(documents, policyDocument{name, t.Short(), guessed, findings})
	}
	return documents, nil
}

// readPolicy reads a document, and not much more than one may have.
func readPolicy(file string, stdin io.Reader) ([]byte, error) {
	unreadable := func(err error) error {
		return problem.New(problem.Usage, "%s could not be read", file).Because("%v", err).Fixed("check the path")
	}
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, unreadable(err)
		}
		defer f.Close()
		in = f
	}
	content, err := io.ReadAll(io.LimitReader(in, policy.MaxDocument+1))
	if err != nil {
		return nil, unreadable(err)
	}
	return content, nil
}

func count(documents []policyDocument) map[policy.Severity]int {
	counts := map[policy.Severity]int{}
	for _, d := range documents {
		for _, f := range d.Findings {
			counts[f.Severity]++
		}
	}
	return counts
}

// findings prints what was found, each with its place in the form that editors follow.
func (u *ui) findings(documents []policyDocument) {
	for _, d := range documents {
		if d.Guessed {
			t, _ := policy.ParseType(d.Type)
			u.printf("%s\n", u.faint(d.File+": checked as "+article(t)+t.String()+", by its look (--type "+d.Type+")"))
		}
		for _, f := range d.Findings {
			severity := string(f.Severity)
			switch f.Severity {
			case policy.Error:
				severity = u.bad(severity)
			case policy.Warning:
				severity = u.title(severity)
			case policy.Notice:
			}
			u.printf("%s:%d:%d: %s: %s %s\n", d.File, f.Line, f.Column, severity, f.What, u.faint("["+f.Rule+"]"))
			u.printf("  %s %s\n", u.faint("why:"), f.Why)
			u.printf("  %s %s\n", u.good("fix:"), f.Fix)
		}
	}
	counts := count(documents)
	u.printf("%s, %s and %s in %s\n", plural(counts[policy.Error], "error"), plural(counts[policy.Warning], "warning"),
		plural(counts[policy.Notice], "notice"), plural(len(documents), "document"))
}

func article(t policy.Type) string {
	if t == policy.Identity {
		return "an "
	}
	return "a "
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func newPolicyFormat() *cobra.Command {
	var kind policyType
	var write bool
	c := &cobra.Command{
		Use:   "format FILE",
		Short: "Print a policy document in AWS's layout",
		Long: `Prints the document in the layout of AWS's documentation: elements in their usual
order, a list of one as the value alone, two spaces of indentation. It decides as it
did before. A document with a mistake in it is refused, and stays as it is.`,
		Example: `  podid policy format trust.json
  podid policy format --write trust.json     # in place
  podid policy format - < trust.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			file := args[0]
			if write && file == "-" {
				return problem.New(problem.Usage, "standard input cannot be written in place").Because("").Fixed("leave --write out, or name a file")
			}
			content, err := readPolicy(file, c.InOrStdin())
			if err != nil {
				return err
			}
			formatted, err := formatPolicy(kind, file, content)
			if err != nil {
				return err
			}
			if !write {
				_, err = c.OutOrStdout().Write(formatted)
				return err
			}
			if bytes.Equal(content, formatted) {
				return nil
			}
			if err := rewrite(file, formatted); err != nil {
				return problem.New(problem.Usage, "%s could not be written", file).Because("%v", err).Fixed("check the permissions of the file and of its folder; the file is as it was")
			}
			return nil
		},
	}
	kind.flag(c)
	c.Flags().BoolVarP(&write, "write", "w", false, "rewrite the file in place")
	return c
}

// formatPolicy is the document in the canonical layout.
func formatPolicy(kind policyType, file string, content []byte) ([]byte, error) {
	t, _, err := kind.of(content)
	if err != nil {
		return nil, err
	}
	p, err := policy.Parse(t, "", content)
	if syntax, ok := errors.AsType[*policy.SyntaxError](err); ok {
		return nil, problem.New(problem.PolicyInvalid, "%s is not %s%s", file, article(t), t).Because("%v", syntax).
			Fixed("correct the document there, or give its --type; podid policy lint %s says more", file)
	}
	if err != nil {
		return nil, err
	}
	var formatted bytes.Buffer
	compact, err := p.MarshalJSON()
	if err != nil {
		return nil, err
	}
	if err := json.Indent(&formatted, compact, "", "  "); err != nil {
		return nil, err
	}
	formatted.WriteByte('\n')
	return formatted.Bytes(), nil
}

// rewrite replaces the content of a file at once, so that nobody ever reads half of
// it. The mode stays; a symbolic link stays one.
func rewrite(file string, content []byte) (err error) {
	file, err = filepath.EvalSymlinks(file)
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", file)
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+strings.TrimPrefix(filepath.Base(file), ".")+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(content); err != nil {
		return err
	}
	if err = f.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
