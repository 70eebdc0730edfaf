package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/openpodidentity/podid/internal/install"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// installing is the flags of `podid install`.
type installing struct {
	cluster kubeconfig
	out     output
	options install.Options

	settings      []setting
	labelledScope bool
	dryRun, yes   bool
	wait          bool
	timeout       time.Duration
}

// setting is a flag that sets a key of the ConfigMap podid.
type setting struct {
	flag, key string
	value     *string
	on        *bool
}

func newInstall() *cobra.Command {
	i := &installing{}
	c := &cobra.Command{
		Use:   "install",
		Short: "Install podid in a cluster, upgrade it, or change its settings",
		Long: `Applies what podid carries (deploy/install.yaml), changed by the flags. Called again, it
upgrades: what is not given stays as it is, and what this version has no more is removed.

Roles then have to trust podid: podid trust-policy prints how.`,
		Example: `  podid install --cluster-name prod-1 --region eu-central-1 --account 111122223333 --wait
  podid install --dry-run                                # what an upgrade would change
  podid install --annotations                            # IRSA's annotation binds roles, too
  podid install --registry registry.example.com/podid    # images of your own registry`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return i.run(c) },
	}
	i.flags(c)
	return c
}

func (i *installing) flags(c *cobra.Command) {
	f := c.Flags()
	f.SortFlags = false
	text := func(flag, key, usage string) {
		i.settings = append(i.settings, setting{flag: flag, key: key, value: f.String(flag, "", usage)})
	}
	on := func(flag, key, usage string) {
		i.settings = append(i.settings, setting{flag: flag, key: key, on: f.Bool(flag, false, usage)})
	}
	text("cluster-name", "clusterName", "the cluster's name: in session tags, trust policies and the EKS API")
	text("region", "region", "the AWS region, such as eu-central-1")
	text("account", "account", "the AWS account that the cluster's ARN names, 12 digits")
	text("sts-endpoint", "stsEndpoint", "another STS than AWS's, a URL")
	text("iam-endpoint", "iamEndpoint", "another IAM than AWS's, a URL (default: where STS is)")
	text("principal", "principal", "broker: roles trust podid's base credentials; service: pods.eks.amazonaws.com (default: broker)")
	text("session-duration", "sessionDuration", "how long sessions last (default: 1h)")
	on("annotations", "annotations", "open the annotation door; lists first what is annotated already, and asks")
	on("irsa", "irsa", "IRSA's variables and token for annotated service accounts without association")
	on("ipv6", "ipv6", "pods reach the agent at [fd00:ec2::23]")
	on("eks-api", "eksAPI", "the EKS REST API's door (default: open)")
	on("startup-taint", "startupTaint", "lift the taint podid.dev/agent-not-ready from nodes whose agent is ready")
	f.StringArray("set", nil, "any setting of the ConfigMap podid, KEY=VALUE; an empty value unsets it")
	f.BoolVar(&i.labelledScope, "labelled-scope", false, "the API server injects pods labelled podid.dev/inject: enabled (Kubernetes 1.36 and later)")
	f.StringVar(&i.options.Registry, "registry", "", "where the images are")
	f.StringVar(&i.options.Tag, "image-tag", "", "the images' tag (default: this version's)")
	f.BoolVar(&i.dryRun, "dry-run", false, "let the API server say what would change, and change nothing")
	f.BoolVar(&i.wait, "wait", false, "wait until everything is ready, and say why if it is not")
	f.DurationVar(&i.timeout, "timeout", 5*time.Minute, "how long --wait waits")
	f.BoolVarP(&i.yes, "yes", "y", false, "consent without being asked")
	i.cluster.flags(c)
	i.out.flag(c)
}

// installed is what -o json prints.
type installed struct {
	DryRun   bool              `json:"dryRun"`
	Objects  []install.Change  `json:"objects"`
	Programs []install.Program `json:"programs,omitempty"`
}

func (i *installing) run(c *cobra.Command) error {
	ctx := c.Context()
	if err := i.read(c); err != nil {
		return err
	}
	cluster, err := i.connect()
	if err != nil {
		return err
	}
	current, err := cluster.Current(ctx)
	if err != nil {
		return i.cluster.failed("look at what is installed", err)
	}
	options := current.Keep(i.options)
	objects, err := install.Render(options)
	if err != nil {
		return err
	}
	if err := cluster.Serves(objects); err != nil {
		return i.cluster.failed("see what the cluster has", err)
	}
	progress := newUI(c.ErrOrStderr())
	result := installed{DryRun: i.dryRun}

	// The annotation door opens when there is an answer about what is annotated already:
	// the policy that guards it has to be there for that.
	opens := options.Settings["annotations"] == "true" && current.Settings["annotations"] != "true"
	if opens && !i.dryRun {
		if err := cluster.Apply(ctx, install.Guards(objects), false, func(install.Change) {}); err != nil {
			return i.cluster.failed("install podid", err)
		}
		consent := consenting{cluster: &i.cluster, namespace: install.Namespace, yes: i.yes}
		if err := consent.ask(c, cluster.API); err != nil {
			return err
		}
	}
	if err := i.apply(ctx, cluster, objects, func(change install.Change) {
		result.Objects = append(result.Objects, change)
		if i.out == "text" {
			i.tell(newUI(c.OutOrStdout()), change)
		}
	}); err != nil {
		return err
	}
	if i.wait && !i.dryRun {
		if missing := i.missing(options); missing != nil {
			return problem.New(problem.ConfigurationMissing, "podid is installed, and is not ready until it is told %s", strings.Join(missing, ", ")).
				Fixed("podid install with these flags")
		}
		if result.Programs, err = i.waitReady(ctx, cluster, progress); err != nil {
			return err
		}
	}
	return i.out.print(c.OutOrStdout(), result, func(ui *ui) { i.summary(ui, result, options) })
}

// read takes the flags that were given as settings.
func (i *installing) read(c *cobra.Command) error {
	if err := i.out.check(); err != nil {
		return err
	}
	i.options.Settings = map[string]string{}
	if c.Flags().Changed("labelled-scope") {
		i.options.LabelledScope = &i.labelledScope
	}
	for _, s := range i.settings {
		if !c.Flags().Changed(s.flag) {
			continue
		}
		if s.on != nil {
			i.options.Settings[s.key] = fmt.Sprint(*s.on)
		} else {
			i.options.Settings[s.key] = *s.value
		}
	}
	given, err := c.Flags().GetStringArray("set")
	if err != nil {
		return err
	}
	for _, pair := range given {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return usage(c, fmt.Errorf("--set %s is not KEY=VALUE", pair))
		}
		i.options.Settings[key] = value
	}
	// What is wrong with them is said before the cluster is asked.
	_, err = install.Render(install.Options{Settings: i.options.Settings})
	if p := problem.Of(err); p != nil && strings.HasPrefix(p.Fix, "correct ") { // in the ConfigMap, where it is not yet
		return p.Fixed("give the flag another value")
	}
	return err
}

func (i *installing) connect() (install.Cluster, error) {
	config, err := i.cluster.config()
	if err != nil {
		return install.Cluster{}, err
	}
	cluster, err := install.Connect(config, install.Namespace)
	if err != nil {
		return install.Cluster{}, i.cluster.failed("reach the cluster", err)
	}
	return cluster, nil
}

func (i *installing) apply(ctx context.Context, cluster install.Cluster, objects []*unstructured.Unstructured, report func(install.Change)) error {
	if err := cluster.Apply(ctx, objects, i.dryRun, report); err != nil {
		return i.cluster.failed("install podid", err)
	}
	if err := cluster.Prune(ctx, objects, i.dryRun, report); err != nil {
		return i.cluster.failed("remove what is no more", err)
	}
	return nil
}

// missing are the flags of what podid has to be told, and is not.
func (i *installing) missing(options install.Options) []string {
	var missing []string
	for _, s := range i.settings[:3] {
		if options.Settings[s.key] == "" {
			missing = append(missing, "--"+s.flag)
		}
	}
	return missing
}

// tell prints what became of an object.
func (i *installing) tell(ui *ui, change install.Change) {
	if change.Action == install.Unchanged {
		return
	}
	action := string(change.Action)
	if i.dryRun {
		action = "would be " + action
	}
	ui.printf("%s %s\n", change.Object, action)
	for _, d := range change.Differences {
		switch {
		case d.Old == "":
			ui.printf("    %s %s\n", d.Field, ui.good("+ "+short(d.New)))
		case d.New == "":
			ui.printf("    %s %s\n", d.Field, ui.bad("- "+short(d.Old)))
		default:
			ui.printf("    %s %s → %s\n", d.Field, short(d.Old), short(d.New))
		}
	}
}

// short cuts what would fill the screen.
func short(value string) string {
	const most = 80
	if runes := []rune(value); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return value
}

func (i *installing) summary(ui *ui, result installed, options install.Options) {
	count := map[install.Action]int{}
	for _, change := range result.Objects {
		count[change.Action]++
	}
	ui.printf("%d objects: %d created, %d changed, %d unchanged, %d removed", len(result.Objects),
		count[install.Created], count[install.Changed], count[install.Unchanged], count[install.Removed])
	if i.dryRun {
		ui.printf(" (dry run: nothing was changed)")
	}
	ui.printf("\n")
	if missing := i.missing(options); missing != nil {
		ui.printf("podid is not ready until it is told %s.\n", strings.Join(missing, ", "))
	} else if !i.wait && !i.dryRun {
		ui.printf("podid status tells how it is doing.\n")
	}
}

// ask asks a person for a yes; where there is none, it is a problem.
func ask(c *cobra.Command, ui *ui, question string) (bool, error) {
	if in, isFile := c.InOrStdin().(*os.File); isFile && !term.IsTerminal(int(in.Fd())) {
		return false, problem.New(problem.Usage, "there is nobody to ask: %s", question).
			Because("the input is not a terminal").
			Fixed("see to it yourself, and give --yes")
	}
	ui.printf("%s [y/N] ", question)
	answer, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

// waitReady waits, and says how far it is whenever that changes.
func (i *installing) waitReady(ctx context.Context, cluster install.Cluster, ui *ui) ([]install.Program, error) {
	ctx, cancel := context.WithTimeout(ctx, i.timeout)
	defer cancel()
	said, began := map[string]string{}, time.Now()
	programs, err := cluster.Wait(ctx, func(programs []install.Program) {
		news := false
		for _, p := range programs {
			if line := progressOf(p); said[p.Name] != line {
				said[p.Name], news = line, true
				ui.printf("%s\n", line)
			}
		}
		if !news {
			ui.printf("still waiting (%v of %v)\n", time.Since(began).Round(time.Second), i.timeout)
		}
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		if err != nil {
			err = i.cluster.failed("wait for podid", err)
		}
		return programs, err
	}
	var why []string
	for _, p := range programs {
		if !p.Settled {
			why = append(why, fmt.Sprintf("%s has %d of %d ready", p.Name, p.Ready, p.Desired))
		}
		for _, reason := range p.Reasons {
			why = append(why, reason.String())
		}
	}
	return programs, problem.New(problem.InstallIncomplete, "podid is not ready after %s", i.timeout).Because("%s", strings.Join(why, "; "))
}

// progressOf is how far a program is, and why no further.
func progressOf(p install.Program) string {
	line := fmt.Sprintf("%s: %d of %d ready", p.Name, p.Ready, p.Desired)
	if p.Updated != p.Desired {
		line += fmt.Sprintf(", %d of this version", p.Updated)
	}
	for _, reason := range p.Reasons {
		line += "\n    " + reason.String()
	}
	return line
}
