package main

import (
	"slices"

	"github.com/openpodidentity/podid/internal/association/annotation"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// consenting is what `podid consent` and `podid install --annotations` do.
type consenting struct {
	cluster   *kubeconfig
	namespace string // podid's
	yes       bool
}

func newConsent() *cobra.Command {
	var cluster kubeconfig
	f := consenting{cluster: &cluster}
	c := &cobra.Command{
		Use:   "consent [NAMESPACE/NAME]...",
		Short: "Let annotations bind roles that were there before anything checked them",
		Long: `An annotation eks.amazonaws.com/role-arn binds its role only if a policy has checked that
whoever set it may pass the role, or somebody consents. Lists those that were there before
the policy came, or came while it was away, and asks; with arguments, about these service
accounts alone. Consent is to what is listed: a service account that is annotated anew is
checked by the policy.`,
		Example: `  podid consent
  podid consent shop/cart shop/till
  podid consent --yes`,
		RunE: func(c *cobra.Command, args []string) error {
			api, err := cluster.client()
			if err != nil {
				return err
			}
			return f.ask(c, api, args...)
		},
	}
	cluster.flags(c)
	podidNamespaceFlag(c, &f.namespace)
	c.Flags().BoolVarP(&f.yes, "yes", "y", false, "consent without being asked")
	return c
}

// ask lists what is annotated and was so before anything guarded it, and asks.
func (f *consenting) ask(c *cobra.Command, api client.Client, accounts ...string) error {
	ui := newUI(c.ErrOrStderr())
	ui.printf("looking at what is annotated already (10 s if the policy that guards annotations is new)\n")
	if err := annotation.Record(c.Context(), api, f.namespace); err != nil {
		return f.cluster.failed("see what is annotated", err)
	}
	found, err := annotation.Unconsented(c.Context(), api, f.namespace)
	if err != nil {
		return f.cluster.failed("see what is annotated", err)
	}
	for _, account := range accounts {
		if !slices.ContainsFunc(found, func(a annotation.Annotated) bool { return a.Namespace+"/"+a.Name == account }) {
			return problem.New(problem.Usage, "%s needs no consent", account).
				Because("it is not annotated, or its annotation was checked or consented to").
				Fixed("podid consent lists those that do")
		}
	}
	if len(accounts) > 0 {
		found = slices.DeleteFunc(found, func(a annotation.Annotated) bool { return !slices.Contains(accounts, a.Namespace+"/"+a.Name) })
	}
	if len(found) == 0 {
		ui.printf("there is nothing to consent to\n")
		return nil
	}
	var rows [][]string
	for _, a := range found {
		rows = append(rows, []string{a.Namespace, a.Name, a.RoleARN})
	}
	ui.printf("These service accounts are annotated already. Nobody has checked who may bind these roles:\n\n")
	ui.table([]string{"NAMESPACE", "SERVICE ACCOUNT", "ROLE"}, rows)
	ui.printf("\n")
	if !f.yes {
		agreed, err := ask(c, ui, "Give the pods of all of them these roles?")
		if err != nil {
			return err
		}
		if !agreed {
			return problem.New(problem.ConsentMissing, "these annotations give no role").
				Because("you did not consent to them").
				Fixed("remove the annotations that should give none, and call %s again", c.CommandPath())
		}
	}
	if err := annotation.Consent(c.Context(), api, f.namespace, found); err != nil {
		return f.cluster.failed("note the consent", err)
	}
	return nil
}
