package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/openpodidentity/podid/internal/sandbox"
	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
)

// canIFlags are the flags of `podid can-i`.
type canIFlags struct {
	as, denied      string
	user            string
	keys            []string
	resourceAccount string
	said            reason // by the message
	policyFiles
	podGuess
	world      string
	out        output
	quiet, all bool
}

// question is what is asked, checked.
type question struct {
	who
	as               string // as it was typed
	action, resource string
	account          string      // of the resource; empty: that of who asks
	keys             policy.Keys // as given
	notes            []string
}

// canIReply is the answer.
type canIReply struct {
	policy.Report
	As      string           `json:"as"`
	Pod     *sandbox.PodRole `json:"pod,omitempty"`
	Problem *sandbox.Refusal `json:"problem,omitempty"`
	// Assumed are the condition keys that nobody gave.
	Assumed policy.Keys `json:"assumed,omitempty"`
	Notes   []string    `json:"notes,omitempty"`

	lead string // how a pod gets its role
}

func newCanI() *cobra.Command {
	var f canIFlags
	c := &cobra.Command{
		Use:   "can-i ACTION RESOURCE --as WHO",
		Short: "Say whether somebody may do something, which statement decides, and what would change it",
		Long: `Says whether WHO may do ACTION on RESOURCE, which statement of which policy decides,
and for a no the smallest change that makes it a yes. AWS is never asked.

WHO is ` + wrap(whoForms, 76) + `.

With policy files the files are all there is: what is not given does not exist.
--trust is the trust policy of RESOURCE if ACTION assumes a role, otherwise that of
the pod's role: whether the pod gets that role at all. A pod is one of EKS Pod
Identity; for sts:AssumeRoleWithWebIdentity it is its service account's token (IRSA).

Without files the running local world answers (podid local), for its pods, users and
roles: association, trust policy, target role, tags, session policy, then IAM.

Exit code: 0 yes, 1 no, 2 the question is wrong, 3 the local world cannot tell.`,
		Example: `  podid can-i s3:GetObject arn:aws:s3:::orders/1 --as shop/cart --identity role-policy.json
  podid can-i --denied "$(kubectl logs cart-0 | grep 'not authorized')" --identity p.json
  podid can-i s3:GetObject arn:aws:s3:::orders/1 --as shop/cart --identity p.json \
    --trust trust.json --role arn:aws:iam::111122223333:role/cart
  podid can-i sts:AssumeRole arn:aws:iam::111122223333:role/cart --as shop/cart --trust trust.json
  podid can-i s3:PutObject arn:aws:s3:::orders/1 --as arn:aws:iam::111122223333:user/alice \
    --identity p.json --resource-policy bucket.json --scp root.json --scp ou.json,ou2.json
  podid can-i s3:ListBucket arn:aws:s3:::orders --as shop/cart --key s3:prefix=2026/ \
    --identity p.json
  podid can-i s3:GetObject arn:aws:s3:::orders/1 --as shop/cart     # in the local world`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 2 {
				return fmt.Errorf("%s is one argument too many: policies are given by flags, --identity %[1]s for one of who asks", args[2])
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	flags := c.Flags()
	flags.SortFlags = false // by what belongs together
	flags.StringVar(&f.as, "as", "", "`WHO` asks: NAMESPACE/SERVICEACCOUNT, an ARN, an account, a service, anonymous")
	flags.StringVar(&f.denied, "denied", "", "AWS's error `MESSAGE`, which fills in what is not given; - for standard input")
	flags.StringArrayVar(&f.keys, "key", nil, "condition key of the request, `KEY=VALUE`; twice for a key with two values")
	flags.StringVar(&f.resourceAccount, "resource-account", "", "`ACCOUNT` of the resource, 12 digits (default: that in its ARN, or that of who asks)")
	f.policyFiles.flags(c)
	f.podGuess.flags(c)
	flags.StringVar(&f.user, "user", "", "with files: `ARN` of the user behind a federated user")
	flags.StringVar(&f.world, "world", "", "`file` that says how to reach the local world")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print nothing: the exit code is the answer")
	flags.BoolVarP(&f.all, "all-statements", "v", false, "list every statement, with why it does not apply")
	f.out.flag(c)
	must(c.RegisterFlagCompletionFunc("as", f.completeWho))
	return c
}

func (f *canIFlags) run(c *cobra.Command, args []string) error {
	q, err := f.question(c, args)
	if err != nil {
		return err
	}
	var r *canIReply
	if f.any() {
		r, err = f.decide(q)
	} else {
		r, err = f.ask(c.Context(), q)
	}
	if err != nil {
		return err
	}
	r.Notes = append(q.notes, r.Notes...)
	if doubt := f.doubt(r); doubt != "" {
		r.lead = strings.TrimPrefix(r.lead+"\n"+doubt, "\n")
	}
	if note := mismatch(q.action, q.resource, q.ARN); note != "" {
		r.Notes = append(r.Notes, note)
	}
	if !f.quiet {
		if err := f.out.print(c.OutOrStdout(), r, func(ui *ui) { r.print(ui, f.all) }); err != nil {
			return err
		}
	}
	if r.Decision != policy.Allowed {
		return exitCode(exitRefused)
	}
	return nil
}

// question checks what was typed.
func (f *canIFlags) question(c *cobra.Command, args []string) (q question, err error) {
	if f.denied != "" {
		if args, err = f.fill(c.InOrStdin(), args); err != nil {
			return q, err
		}
	}
	switch {
	case len(args) < 2:
		return q, usage(c, errors.New("an action and a resource are needed: podid can-i ACTION RESOURCE --as WHO"))
	case f.as == "":
		return q, problem.New(problem.Usage, "it is not said who asks").Because("").Fixed("give --as with %s", whoForms)
	case f.resourceAccount != "" && !twelve.MatchString(f.resourceAccount):
		return q, problem.New(problem.Usage, "--resource-account %s is not 12 digits", clip(f.resourceAccount))
	}
	q.as, q.action, q.resource = f.as, args[0], args[1]
	if err := checkAction(q.action); err != nil {
		return q, err
	}
	if permission := policy.Permission(q.action); permission != "" {
		q.notes = append(q.notes, q.action+" is a call: the permission that it takes is "+permission+", and the answer is about that")
		q.action = permission
	}
	if err := checkResource(q.action, q.resource); err != nil {
		return q, err
	}
	if q.who, err = parseWho(f.as, q.action, q.resource); err != nil {
		return q, err
	}
	q.account = f.resourceAccount
	if account := part(q.resource, 4); q.account == "" && twelve.MatchString(account) { // not "aws", nor a masked one
		q.account = account
	}
	q.keys, err = keyFlags(f.keys)
	return q, err
}

// print is the answer for people.
func (r *canIReply) print(ui *ui, all bool) {
	if r.lead != "" {
		ui.printf("%s\n", r.lead)
	}
	first, rest, _ := strings.Cut(r.Explanation, "\n")
	if r.Decision == policy.Allowed {
		ui.printf("%s\n", ui.good(first))
	} else {
		ui.printf("%s\n", ui.bad(first))
	}
	if rest != "" {
		ui.printf("%s\n", rest)
	}
	for _, key := range r.decidedBy() {
		ui.printf("%s nobody gave %s, and it was taken to be %s; --key %s=… says otherwise\n",
			ui.faint("note:"), key, strings.Join(r.Assumed[key], ", "), key)
	}
	for _, note := range r.Notes {
		ui.printf("%s %s\n", ui.faint("note:"), note)
	}
	if r.Problem != nil {
		ui.printf("%s podid explain %s\n", ui.faint("more:"), r.Problem.Code)
	}
	if all && len(r.Statements) > 0 {
		ui.printf("\n")
		ui.table([]string{"TYPE", "POLICY", "STATEMENT", "EFFECT", "APPLIES"}, statementRows(r.Statements))
	}
}

// decidedBy are the assumed keys that a statement which came nearest fails for.
func (r *canIReply) decidedBy() (keys []string) {
	for _, key := range slices.Sorted(maps.Keys(r.Assumed)) {
		if r.fails(key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// fails reports whether a statement which came nearest fails for the key.
func (r *canIReply) fails(key string) bool {
	return slices.ContainsFunc(r.Statements, func(s policy.Reason) bool {
		return s.Nearest && !s.Applied && strings.EqualFold(key, s.Key)
	})
}

func statementRows(statements []policy.Reason) (rows [][]string) {
	for _, s := range statements {
		applies := "yes"
		if !s.Applied {
			applies = "no: " + s.Mismatch()
		}
		if s.Decides {
			applies = "yes, decides"
		}
		name := fmt.Sprintf("%d, line %d", s.Number, s.Line)
		if s.Sid != "" {
			name += ", " + s.Sid
		}
		rows = append(rows, []string{s.Type.String(), s.Policy, name, s.Effect, applies})
	}
	return rows
}
