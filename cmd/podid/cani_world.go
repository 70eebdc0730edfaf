package main

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/openpodidentity/podid/internal/sandbox"
	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
)

// ask asks the running local world.
func (f *canIFlags) ask(ctx context.Context, q question) (*canIReply, error) {
	flag := f.given()
	if f.user != "" {
		flag = "user"
	}
	if flag != "" {
		return nil, problem.New(problem.Usage, "--%s goes with policy files", flag).
			Because("the local world knows the pod's role, its principal and its cluster").
			Fixed("leave it out, or give the policies: --identity FILE, --trust FILE")
	}
	ask := sandbox.Question{
		Namespace: q.namespace, ServiceAccount: q.serviceAccount,
		Action: q.action, Resource: q.resource, ResourceAccount: q.account, Keys: q.keys,
	}
	if !q.isPod() {
		if q.Kind != policy.User && q.Kind != policy.AssumedRole {
			return nil, problem.New(problem.Usage, "the local world does not answer for %s", q.as).
				Because("it answers for its pods, users and roles").
				Fixed("give the policies that apply as files, --resource-policy FILE, --trust FILE, …")
		}
		ask.Principal = q.as
	}
	connection, err := connect(f.world)
	if err != nil {
		return nil, cannotTell(err)
	}
	answer, err := connection.Decide(ctx, ask)
	if err != nil {
		return nil, cannotTell(err)
	}
	r := &canIReply{As: q.as, Pod: answer.Pod, Problem: answer.Problem, Assumed: answer.Keys}
	if answer.Pod != nil {
		r.lead = lead(answer.Pod)
	}
	if answer.Decision != nil {
		r.Report = *answer.Decision
		if answer.Pod == nil {
			r.noteTags(&q)
		}
		if p := answer.Pod; p != nil && q.assumesRole() && (q.resource == p.Role || q.resource == p.TargetRole) {
			r.Notes = append(r.Notes, "the question is whether the pod's session may assume its own role; podid has just assumed it for the pod")
		}
		return r, nil
	}
	r.Report = refused(q, answer)
	return r, nil
}

// cannotTell gives an error the exit code 3, unless the question is wrong.
func cannotTell(err error) error {
	p := problem.Of(err)
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case p.Code == problem.Usage:
		return p
	case p.Code == problem.RequestInvalid:
		return errors.Join(p, exitCode(exitUsage))
	case p.Code == problem.WorldNotRunning:
		p = p.Fixed("start one in another terminal, podid local, or give the policies as files: --identity FILE, --trust FILE, …")
	}
	return errors.Join(p, exitCode(exitTryAgain))
}

// lead says how a pod gets its role.
func lead(p *sandbox.PodRole) string {
	if p.Role == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString(p.Namespace + "/" + p.ServiceAccount + " is bound to " + p.Role + " by association " + p.Association)
	if p.TargetRole != "" {
		b.WriteString(", and through it to the target role " + p.TargetRole)
	}
	switch {
	case p.SessionPolicy:
		b.WriteString("; its session policy narrows the session, which has no tags")
	case p.DisableSessionTags:
		b.WriteString("; its sessions have no tags")
	}
	return b.String() + "."
}

// refused is the report of a pod that has no credentials, or of a role that is
// not there.
func refused(q question, a sandbox.Answer) policy.Report {
	r := policy.Report{
		Decision: policy.ImplicitDeny, Principal: q.as, Action: q.action, Resource: q.resource,
		Statements: []policy.Reason{},
	}
	p := a.Problem
	if p == nil {
		return r
	}
	// What STS says ends with a fix that names the statement.
	said, fix, _ := strings.Cut(p.STS, " Fix: ")
	r.Fix = strings.TrimSuffix(cmp.Or(fix, p.Fix), ".")
	var b strings.Builder
	b.WriteString("No. " + q.as + " may not " + q.action + " on " + q.resource)
	if a.Pod != nil && !a.Pod.Credentials {
		b.WriteString(": it gets no credentials")
	}
	b.WriteString(".\n" + sentence(p.What) + ".\n")
	if p.Why != "" {
		b.WriteString(sentence(strings.TrimSuffix(p.Why, ".")) + ".\n")
	}
	if said != "" {
		b.WriteString("STS says: " + said + "\n")
	}
	if r.Fix != "" {
		b.WriteString("To allow it: " + r.Fix + ".")
	}
	r.Explanation = strings.TrimRight(b.String(), "\n")
	return r
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// completeWho completes --as by the service accounts of the running world.
func (f *canIFlags) completeWho(c *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names := []cobra.Completion{"anonymous", "pods.eks.amazonaws.com"}
	if connection, err := connect(f.world); err == nil {
		if known, err := connection.ServiceAccounts(c.Context()); err == nil {
			names = append(names, known...)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
