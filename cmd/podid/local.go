package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/openpodidentity/podid/internal/sandbox"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
)

// localFlags are the flags of `podid local`.
type localFlags struct {
	config    sandbox.Config
	principal string
	world     string
	port      uint16
	listen    string
	verbose   bool
}

func newLocal() *cobra.Command {
	var f localFlags
	c := &cobra.Command{
		Use:   "local [-- COMMAND [ARG]...]",
		Short: "Run a small AWS and a cluster on this machine, until Ctrl-C or for one command",
		Long: `Runs the local world: an AWS with IAM, STS, S3, EKS and EKS Auth that evaluates
policies and verifies signatures for real, a cluster that mints pod-bound tokens,
podid-auth and the agent, all on loopback. Prints what to export.

With a COMMAND the world is there for that command alone, on free ports: it runs
as the account's administrator, ` + "`podid local run`" + ` in it finds the world, and its exit
code is passed on.

With --data DIR everything is kept there; without it the world is in memory.`,
		Example: `  podid local                                  # in memory
  podid local -- make integration-test         # in CI: a world for one command
  podid local --data ~/.podid                  # kept between runs
  podid local --principal broker               # as outside AWS: a user's key assumes the roles
  eval "$(podid local env)"                    # in another terminal
  podid local run -n shop -s cart -- aws sts get-caller-identity`,
		Args: func(c *cobra.Command, args []string) error {
			if c.ArgsLenAtDash() > 0 || c.ArgsLenAtDash() < 0 && len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return runLocal(c, &f, args) },
	}
	flags := c.Flags()
	flags.StringVar(&f.config.Data, "data", "", "directory that keeps everything (default: in memory)")
	flags.StringVar(&f.config.Cluster, "cluster", "", "name of the cluster (default: that of --data, or local)")
	flags.StringVar(&f.config.Region, "region", "", "AWS region (default: that of --data, or us-east-1)")
	flags.StringVar(&f.config.Account, "account", "", "AWS account, 12 digits (default: that of --data, or 111122223333)")
	flags.StringVar(&f.principal, "principal", "service", "who assumes the roles: service, broker or broker-role")
	flags.BoolVar(&f.config.AllowSigV4Agents, "allow-sigv4-agents", false, "let callers that sign, as AWS's own agent does, use EKS Auth if IAM permits it (node scope does not hold for them)")
	flags.StringVar(&f.listen, "listen", "127.0.0.1", "address to listen on; anything but loopback lets others reach the AWS endpoint")
	flags.Uint16Var(&f.port, "port", 4780, "port of the AWS endpoint; HTTPS is on the next, the agent on the one after; 0 takes free ports")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log every exchange and association call, not only refusals")
	c.PersistentFlags().StringVar(&f.world, "world", "", "file that says how to reach the world (default: $PODID_WORLD, or one per user)")
	must(c.RegisterFlagCompletionFunc("principal", cobra.FixedCompletions([]string{"service", "broker", "broker-role"}, cobra.ShellCompDirectiveNoFileComp)))
	must(c.MarkFlagDirname("data"))
	c.AddCommand(newLocalRun(&f.world), newLocalEnv(&f.world), newLocalPods(&f.world))
	return c
}

func runLocal(c *cobra.Command, f *localFlags, command []string) (err error) {
	ctx := c.Context()
	if len(command) > 0 {
		done, err := f.forOneCommand(c)
		if err != nil {
			return err
		}
		defer done()
	}
	if err := f.complete(c.ErrOrStderr()); err != nil {
		return err
	}
	file, err := connectionFile(f.world)
	if err != nil {
		return err
	}
	if err := sandbox.Vacant(ctx, file); err != nil {
		return err // before it fails for the ports
	}
	w, err := sandbox.Start(ctx, f.config)
	if err != nil {
		return fmt.Errorf("start local world: %w", err)
	}
	defer func() {
		if closed := w.Close(); err == nil {
			err = closed
		}
	}()
	connection := w.Connection()
	if err := connection.Save(ctx, file); err != nil {
		return err
	}
	// What is left of a world that is gone misleads.
	defer func() { err = errors.Join(err, connection.Remove(file)) }()
	if len(command) > 0 {
		return runAsAdministrator(c, connection, file, command)
	}
	welcome(newUI(c.OutOrStdout()), connection, f)
	select {
	case <-ctx.Done():
		return nil
	case err := <-w.Failed():
		return err
	}
}

// forOneCommand gives the world ports and a connection file of its own, so that it
// gets in nobody's way, unless the flags say otherwise. done removes the file's
// directory.
func (f *localFlags) forOneCommand(c *cobra.Command) (done func(), err error) {
	if !c.Flags().Changed("port") {
		f.port = 0
	}
	if f.world != "" {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "podid-world-")
	if err != nil {
		return nil, fmt.Errorf("make a place for the connection file: %w", err)
	}
	f.world = filepath.Join(dir, "world.json")
	return func() { _ = os.RemoveAll(dir) }, nil // what is left tells nothing: the secret is gone with the world
}

// runAsAdministrator runs a command with what leads it to the world.
func runAsAdministrator(c *cobra.Command, connection sandbox.Connection, file string, args []string) error {
	command := exec.CommandContext(c.Context(), args[0], args[1:]...) //nolint:gosec // running it is what was asked for
	command.Stdin, command.Stdout, command.Stderr = c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr()
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 10 * time.Second // then it is killed: nothing may outlive the world
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "AWS_") {
			command.Env = append(command.Env, variable)
		}
	}
	command.Env = append(append(command.Env, exports(connection)...), "PODID_WORLD="+file)
	return programError(args[0], command.Run())
}

// complete turns flags into the configuration.
func (f *localFlags) complete(log io.Writer) error {
	switch p := sandbox.Principal(f.principal); p {
	case sandbox.ServicePrincipal, sandbox.BrokerUser, sandbox.BrokerRole:
		f.config.Principal = p
	default:
		return problem.New(problem.Usage, "--principal %s is none of service, broker and broker-role", f.principal)
	}
	address := func(host string, next uint16) string {
		if f.port == 0 {
			next = 0
		}
		return net.JoinHostPort(host, strconv.Itoa(int(f.port+next)))
	}
	if f.port > 65533 {
		return problem.New(problem.Usage, "--port %d leaves no room for the two ports after it", f.port)
	}
	f.config.Listen, f.config.ListenTLS = address(f.listen, 0), address(f.listen, 1)
	// SDKs ask an agent over HTTP on loopback alone.
	agent := f.listen
	if ip := net.ParseIP(agent); agent != "localhost" && (ip == nil || !ip.IsLoopback()) {
		agent = "127.0.0.1"
	}
	f.config.ListenAgent = address(agent, 2)
	level := slog.LevelWarn
	if f.verbose {
		level = slog.LevelInfo
	}
	f.config.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level}))
	return nil
}

func welcome(ui *ui, c sandbox.Connection, f *localFlags) {
	ui.printf("%s\n\n", ui.title("The local world is up. Ctrl-C ends it."))
	kept := "in memory, gone with this process"
	if f.config.Data != "" {
		kept = "kept in " + f.config.Data
	}
	ui.table([]string{"WHAT", "WHERE"}, [][]string{
		{"AWS (IAM, STS, S3, EKS, EKS Auth)", c.Endpoint + " and " + c.EndpointTLS},
		{"account, region", c.Account + ", " + c.Region},
		{"cluster", c.Cluster},
		{"roles are assumed by", c.Principal},
		{"agent", c.Agent},
		{"state", kept},
	})
	ui.printf("\nIn another terminal, as the account's administrator:\n\n")
	for _, line := range exports(c) {
		ui.printf("  export %s\n", line)
	}
	ui.printf("\nor %s. Then, as a pod:\n\n  podid local run -n NAMESPACE -s SERVICEACCOUNT -- COMMAND\n\n", ui.title(`eval "$(podid local env)"`))
}

// exports are the variables that lead an AWS client to the world as its administrator.
func exports(c sandbox.Connection) []string {
	return []string{
		"AWS_ENDPOINT_URL=" + c.Endpoint,
		"AWS_ACCESS_KEY_ID=" + c.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey,
		"AWS_REGION=" + c.Region,
		"AWS_DEFAULT_REGION=" + c.Region,
	}
}

func connectionFile(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	return sandbox.DefaultConnectionFile()
}

func connect(flag string) (sandbox.Connection, error) {
	file, err := connectionFile(flag)
	if err != nil {
		return sandbox.Connection{}, err
	}
	return sandbox.LoadConnection(file)
}

func newLocalEnv(world *string) *cobra.Command {
	var out output
	var unset, bundle bool
	c := &cobra.Command{
		Use:   "env",
		Short: "Print what leads an AWS client to the running local world",
		Example: `  eval "$(podid local env)"
  eval "$(podid local env --unset)"   # the shell's AWS clients ask AWS again
  podid local env -o json
  podid local env --ca-bundle > ca.pem && aws --endpoint-url https://127.0.0.1:4781 --ca-bundle ca.pem s3 ls`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if unset {
				return out.print(c.OutOrStdout(), set, func(ui *ui) { ui.printf("unset %s\n", strings.Join(set, " ")) })
			}
			connection, err := connect(*world)
			if err != nil {
				return err
			}
			if _, err := connection.ListPods(c.Context()); err != nil {
				return err
			}
			if bundle {
				_, err := io.WriteString(c.OutOrStdout(), connection.CABundle)
				return err
			}
			return out.print(c.OutOrStdout(), connection, func(ui *ui) {
				for _, line := range exports(connection) {
					ui.printf("export %s\n", line)
				}
				// Each of these would lead or sign elsewhere.
				ui.printf("unset AWS_SESSION_TOKEN AWS_PROFILE AWS_CA_BUNDLE\n")
			})
		},
	}
	out.flag(c)
	c.Flags().BoolVar(&unset, "unset", false, "print what undoes it")
	c.Flags().BoolVar(&bundle, "ca-bundle", false, "print the CA that clients of the HTTPS endpoint have to trust (PEM)")
	c.MarkFlagsMutuallyExclusive("unset", "ca-bundle")
	return c
}

// set are the variables that exports sets.
var set = []string{"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"}

func newLocalPods(world *string) *cobra.Command {
	var out output
	c := &cobra.Command{
		Use:     "pods",
		Short:   "List the pods of the running local world",
		Example: "  podid local pods -o yaml",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, pods, err := running(c.Context(), *world)
			if err != nil {
				return err
			}
			return out.print(c.OutOrStdout(), pods, func(ui *ui) {
				var rows [][]string
				for _, p := range pods {
					rows = append(rows, []string{p.Namespace, p.Name, p.ServiceAccount, p.UID})
				}
				ui.table([]string{"NAMESPACE", "NAME", "SERVICE ACCOUNT", "UID"}, rows)
			})
		},
	}
	out.flag(c)
	return c
}

// running is the world that answers now, and its pods.
func running(ctx context.Context, world string) (sandbox.Connection, []sandbox.Pod, error) {
	connection, err := connect(world)
	if err != nil {
		return connection, nil, err
	}
	pods, err := connection.ListPods(ctx)
	return connection, pods, err
}
