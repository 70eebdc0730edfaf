package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/injection"
	"github.com/openpodidentity/podid/internal/sandbox"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spf13/cobra"
)

// The names of the walk-through, those of AWS's own tutorial.
const (
	demoRole      = "EKS-Pod-Identity-Role"
	demoBucket    = "podid-demo"
	demoNamespace = "test-namespace"
	demoAccount   = "test-sa"
)

func newDemo() *cobra.Command {
	var principal string
	c := &cobra.Command{
		Use:   "demo",
		Short: "The walk-through, told step by step, then broken in ten ways",
		Long: `Starts a local world in memory and walks through pod identity in it: a role, the
agent, an association, a pod whose unmodified AWS SDK lists a bucket. Then breaks
it in ten ways, one after the other, and shows the error as the application sees it.

Everything that is told really happens; the command fails if anything turns out
otherwise than told.`,
		Example: `  podid demo
  podid demo --principal broker`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			principals := []sandbox.Principal{sandbox.ServicePrincipal, sandbox.BrokerUser, sandbox.BrokerRole}
			switch p := sandbox.Principal(principal); p {
			case "all":
			case sandbox.ServicePrincipal, sandbox.BrokerUser, sandbox.BrokerRole:
				principals = []sandbox.Principal{p}
			default:
				return problem.New(problem.Usage, "--principal %s is none of all, service, broker and broker-role", principal)
			}
			return runDemos(c.Context(), newUI(c.OutOrStdout()), principals)
		},
	}
	c.Flags().StringVar(&principal, "principal", "all", "who assumes the roles: service, broker, broker-role, or all, one after the other")
	must(c.RegisterFlagCompletionFunc("principal", cobra.FixedCompletions([]string{"all", "service", "broker", "broker-role"}, cobra.ShellCompDirectiveNoFileComp)))
	return c
}

// told are the principals in words, in the order they are shown.
var told = map[sandbox.Principal]string{
	sandbox.ServicePrincipal: "the service pods.eks.amazonaws.com assumes the roles, as inside AWS",
	sandbox.BrokerUser:       "a broker with a user's access key assumes the roles, as outside AWS",
	sandbox.BrokerRole:       "a broker that is itself a role session assumes the roles",
}

func runDemos(ctx context.Context, ui *ui, principals []sandbox.Principal) error {
	var summary []string
	for i, p := range principals {
		ui.printf("%s\n", ui.title(fmt.Sprintf("== %d of %d: %s ==", i+1, len(principals), told[p])))
		took, err := runDemo(ctx, ui, p)
		if err != nil {
			return fmt.Errorf("demo as %s: %w", p, err)
		}
		summary = append(summary, fmt.Sprintf("%s %s: 5 steps, %d failures, %.1f s", ui.good("✓"), told[p], len(failures), took.Seconds()))
	}
	ui.printf("%s\n%s\n", ui.title("All as told:"), strings.Join(summary, "\n"))
	return nil
}

// demo is one walk-through in a world of its own.
type demo struct {
	*ui
	world      *sandbox.World
	connection sandbox.Connection
	iam        *iam.Client
	s3         *s3.Client
	eks        *eks.Client
	// association is the ID of the one association.
	association string
	steps       int
}

func runDemo(ctx context.Context, ui *ui, principal sandbox.Principal) (took time.Duration, err error) {
	started := time.Now()
	w, err := sandbox.Start(ctx, sandbox.Config{Principal: principal})
	if err != nil {
		return 0, err
	}
	defer func() {
		if closed := w.Close(); err == nil {
			err = closed
		}
	}()
	d := &demo{ui: ui, world: w, connection: w.Connection()}
	cfg := aws.Config{
		Region: d.connection.Region, BaseEndpoint: &d.connection.Endpoint,
		Credentials: credentials.NewStaticCredentialsProvider(d.connection.AccessKeyID, d.connection.SecretAccessKey, ""),
	}
	d.iam, d.s3, d.eks = iam.NewFromConfig(cfg), s3.NewFromConfig(cfg), eks.NewFromConfig(cfg)
	for _, step := range []func(context.Context) error{d.role, d.install, d.associate, d.pod} {
		d.printf("\n")
		if err := step(ctx); err != nil {
			return 0, err
		}
	}
	d.printf("\n%s\n", d.title("Now what goes wrong: what was done, and what the application prints"))
	for _, f := range failures {
		if err := d.show(ctx, f); err != nil {
			return 0, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	d.printf("\n")
	return time.Since(started), nil
}

// step tells what is done next.
func (d *demo) step(format string, args ...any) {
	d.steps++
	d.printf("%s %s\n", d.title(fmt.Sprintf("%d.", d.steps)), fmt.Sprintf(format, args...))
}

func (d *demo) did(command string) { d.printf("   %s\n", d.faint("$ "+command)) }

func (d *demo) roleARN() string { return "arn:aws:iam::" + d.connection.Account + ":role/" + demoRole }

const demoPermissions = `{"Version":"2012-10-17","Statement":[{"Sid":"ListTheBucket","Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::` + demoBucket + `"}]}`

func (d *demo) role(ctx context.Context) error {
	d.step("A role that trusts %s and may list one bucket.", d.connection.Principal)
	trust, err := d.trust("")
	if err != nil {
		return err
	}
	d.did("podid trust-policy | tee trust-policy.json")
	d.printf("%s\n", indent(trust, "   "))
	d.did("aws iam create-role --role-name " + demoRole + " --assume-role-policy-document file://trust-policy.json")
	made, err := d.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: new(demoRole), AssumeRolePolicyDocument: &trust})
	if err != nil {
		return err
	}
	d.printf("   %s\n", *made.Role.Arn)
	d.did("cat permissions.json")
	d.printf("   %s\n", demoPermissions)
	d.did("aws iam put-role-policy --role-name " + demoRole + " --policy-name list --policy-document file://permissions.json")
	if err := d.permit(ctx); err != nil {
		return err
	}
	d.did("aws s3 mb s3://" + demoBucket)
	if _, err := d.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: new(demoBucket)}); err != nil {
		return err
	}
	for _, object := range []struct{ file, key, content string }{
		{"2026-11.csv", "orders/2026-11.csv", "id,total\n1,9.90\n"},
		{"readme.txt", "readme.txt", "Listed by a pod that has no keys.\n"},
	} {
		d.did("aws s3 cp " + object.file + " s3://" + demoBucket + "/" + object.key)
		if _, err := d.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: new(demoBucket), Key: &object.key, Body: strings.NewReader(object.content)}); err != nil {
			return err
		}
	}
	return nil
}

// trust is the role's trust policy, for one namespace if given.
func (d *demo) trust(namespace string) (string, error) {
	principal := d.connection.Principal
	statement := trustStatement(principal == podid.ServicePrincipal, principal, worldCluster(d.connection).ARN(), namespace, "")
	document, err := statement.Document()
	return strings.TrimSpace(string(document)), err
}

func (d *demo) permit(ctx context.Context) error {
	_, err := d.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
		RoleName: new(demoRole), PolicyName: new("list"), PolicyDocument: new(demoPermissions),
	})
	return err
}

func (d *demo) install(context.Context) error {
	d.step("podid: the agent answers the SDKs on the node, podid-auth answers the agent.")
	d.printf("   agent %s, AWS %s, cluster %s\n", d.connection.Agent, d.connection.Endpoint, d.connection.Cluster)
	return nil
}

func (d *demo) associate(ctx context.Context) error {
	d.step("The role is bound to service account %s/%s.", demoNamespace, demoAccount)
	d.did("aws eks create-pod-identity-association --cluster-name " + d.connection.Cluster + " --namespace " + demoNamespace +
		" --service-account " + demoAccount + " --role-arn " + d.roleARN())
	made, err := d.eks.CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{
		ClusterName: &d.connection.Cluster, Namespace: new(demoNamespace), ServiceAccount: new(demoAccount), RoleArn: new(d.roleARN()),
	})
	if err != nil {
		return err
	}
	d.association = *made.Association.AssociationId
	d.printf("   %s\n", *made.Association.AssociationArn)
	return nil
}

func (d *demo) pod(ctx context.Context) error {
	d.step("A pod of that service account. Injection gives it these variables, and the token file:")
	return d.inPod(ctx, func(c *sandbox.Container) error {
		d.printf("   pod %s/%s, UID %s\n", c.Pod.Namespace, c.Pod.Name, c.Pod.UID)
		for _, v := range injection.Variables(d.connection.Region, d.connection.Agent, c.TokenFile()) {
			d.printf("   %s=%s\n", v.Name, v.Value)
		}
		d.printf("   and AWS_ENDPOINT_URL=%s, to reach the local AWS instead of AWS.\n\n", d.connection.Endpoint)

		d.step("The program in that pod lists the bucket with an unmodified AWS SDK for Go. It prints:")
		said, err := d.application(ctx, c)
		if err != nil {
			return fmt.Errorf("the application could not list the bucket: %w: %s", err, said)
		}
		if !strings.Contains(said, "readme.txt") {
			return fmt.Errorf("the listing lacks an object: %q", said)
		}
		d.printf("%s\n", d.good(indent(strings.TrimRight(said, "\n"), "   ")))
		return nil
	})
}

// inPod runs do with a new pod of the demo's service account.
func (d *demo) inPod(ctx context.Context, do func(*sandbox.Container) error) error {
	pod, err := d.connection.StartPod(ctx, demoNamespace, demoAccount, "", 0)
	if err != nil {
		return err
	}
	container := &sandbox.Container{Connection: d.connection, Pod: pod}
	if err := container.Mount(ctx); err != nil {
		return err
	}
	if err := errors.Join(do(container), container.Unmount()); err != nil {
		return err
	}
	err = d.connection.EndPod(ctx, pod.UID)
	if problem.Is(err, problem.PodGone) {
		return nil // one of the failures ends it first
	}
	return err
}

// application runs the workload, a program of its own with an unmodified SDK, and
// returns what it printed.
func (d *demo) application(ctx context.Context, c *sandbox.Container) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var said bytes.Buffer
	command := exec.CommandContext(ctx, self, "application", demoBucket) //nolint:gosec // this program itself
	command.Stdout, command.Stderr = &said, &said
	err = c.Run(ctx, command, nil)
	return said.String(), err
}

func indent(s, by string) string { return by + strings.ReplaceAll(s, "\n", "\n"+by) }
