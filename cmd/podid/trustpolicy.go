package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/sandbox"
	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
)

// trustFlags are the flags of `podid trust-policy`.
type trustFlags struct {
	principal      string
	clusterARN     string
	namespace      string
	serviceAccount string
	merge          string
	world          string
}

func newTrustPolicy() *cobra.Command {
	var f trustFlags
	c := &cobra.Command{
		Use:   "trust-policy",
		Short: "Print the trust policy a role needs for pod identity",
		Long: `Prints the trust policy of a role that pods shall have, for the principal that
podid assumes roles as: the service pods.eks.amazonaws.com inside AWS and in the
local world, or the ARN of podid-auth's own user or role (the broker) elsewhere.

The statement admits the given cluster alone, and the given namespace and service
account: by aws:SourceArn and aws:SourceAccount for the service, by session tags
otherwise, since those two keys exist only when an AWS service calls.

Principal and cluster are those of the running local world unless given.`,
		Example: `  podid trust-policy > trust-policy.json
  podid trust-policy -n shop -s cart --cluster-arn arn:aws:eks:eu-central-1:111122223333:cluster/prod
  podid trust-policy --principal arn:aws:iam::111122223333:user/podid-broker \
    --cluster-arn arn:aws:eks:eu-central-1:111122223333:cluster/prod
  podid trust-policy --merge trust-policy.json > merged.json   # keeps the other statements`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			statement, err := f.statement(c.Context())
			if err != nil {
				return err
			}
			document, err := f.document(statement)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(document)
			return err
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.principal, "principal", "", "service, or the ARN of the user or role that podid-auth signs as")
	flags.StringVar(&f.clusterARN, "cluster-arn", "", "ARN of the one cluster to admit, or \"any\" (default: that of the running local world)")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "admit pods of this namespace alone (* and ? match)")
	flags.StringVarP(&f.serviceAccount, "service-account", "s", "", "admit pods of this service account alone (* and ? match)")
	flags.StringVar(&f.merge, "merge", "", "trust policy to put the statement into, by its Sid; - for standard input")
	flags.StringVar(&f.world, "world", "", "file that says how to reach the local world")
	must(c.RegisterFlagCompletionFunc("principal", cobra.FixedCompletions([]string{"service"}, cobra.ShellCompDirectiveNoFileComp)))
	return c
}

var (
	principalARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:(user|role)/\S+$`)
	clusterARN   = regexp.MustCompile(`^arn:aws[a-z-]*:eks:[a-z0-9-]+:([0-9]{12}):cluster/[0-9A-Za-z][A-Za-z0-9_-]{0,99}$`)
)

// statement turns the flags into the trust statement.
func (f *trustFlags) statement(ctx context.Context) (policy.TrustStatement, error) {
	var s policy.TrustStatement
	principal, cluster := f.principal, f.clusterARN
	world, _, err := running(ctx, f.world)
	if err != nil && f.world != "" {
		return s, err
	}
	if err == nil {
		switch sandbox.Principal(principal) {
		case "", sandbox.BrokerUser, sandbox.BrokerRole: // as `podid local --principal` has them
			principal = world.Principal
		}
		if cluster == "" {
			cluster = worldCluster(world).ARN()
		}
	}
	service := principal == "" || principal == "service" || principal == podid.ServicePrincipal
	switch {
	case !service && !principalARN.MatchString(principal):
		return s, problem.New(problem.Usage, "--principal %s is neither \"service\" nor the ARN of a user or a role", principal).
			Because("").Fixed("give the ARN that podid-auth signs as; that of a running local world is taken by itself")
	case cluster == "":
		return s, problem.New(problem.Usage, "it is not said which cluster the role shall trust").
			Because("without a cluster every cluster of this principal could use the role, and no local world is running that says which").
			Fixed("give --cluster-arn arn:aws:eks:REGION:ACCOUNT:cluster/NAME, or --cluster-arn any if every cluster is meant")
	case cluster == "any":
		cluster = ""
	case cluster != "" && !clusterARN.MatchString(cluster):
		return s, problem.New(problem.Usage, "--cluster-arn %s is not the ARN of a cluster, arn:aws:eks:REGION:ACCOUNT:cluster/NAME", cluster)
	}
	return trustStatement(service, principal, cluster, f.namespace, f.serviceAccount), nil
}

// trustStatement is the statement for a principal; empty facts are no conditions.
func trustStatement(service bool, principal, cluster, namespace, serviceAccount string) policy.TrustStatement {
	tags := map[string]string{}
	set := func(key, value string) {
		if value != "" {
			tags[key] = value
		}
	}
	set(podid.TagNamespace, namespace)
	set(podid.TagServiceAccount, serviceAccount)
	if !service {
		set(podid.TagClusterARN, cluster)
		return policy.TrustStatement{AWS: principal, Tags: tags}
	}
	s := policy.TrustStatement{Service: podid.ServicePrincipal, SourceARN: cluster, Tags: tags}
	if m := clusterARN.FindStringSubmatch(cluster); m != nil {
		s.SourceAccount = m[1]
	}
	return s
}

func worldCluster(c sandbox.Connection) podid.Cluster {
	return podid.Cluster{Name: c.Cluster, Region: c.Region, Account: c.Account}
}

func (f *trustFlags) document(s policy.TrustStatement) ([]byte, error) {
	if f.merge == "" {
		return s.Document()
	}
	var existing []byte
	var err error
	if f.merge == "-" {
		existing, err = io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
	} else {
		existing, err = os.ReadFile(f.merge)
	}
	if err != nil {
		return nil, problem.New(problem.Usage, "the trust policy to merge into could not be read").Because("%v", err).Fixed("check the path")
	}
	merged, err := s.Merge(existing)
	if err != nil {
		return nil, problem.New(problem.Usage, "%s holds no trust policy to merge into", strings.TrimSpace(f.merge)).
			Because("%v", err).Fixed("correct the document at the position named")
	}
	return fmt.Appendf(nil, "%s\n", strings.TrimRight(string(merged), "\n")), nil
}
