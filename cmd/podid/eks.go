package main

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/openpodidentity/podid/internal/accesskey"
	"github.com/openpodidentity/podid/internal/settings"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func newEKS() *cobra.Command {
	return group(cobra.Command{
		Use:     "eks",
		Short:   "Get to the EKS API of a cluster, with aws eks and Terraform",
		Example: `  eval "$(podid eks env --service-account shop/deployer)"`,
	}, newEKSEnv())
}

// eksEnv is what leads an AWS client to the EKS API of a cluster.
type eksEnv struct {
	ClusterName     string `json:"clusterName"`
	Region          string `json:"region"`
	Endpoint        string `json:"endpoint"`
	CABundle        string `json:"caBundle,omitempty"` // a file
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
	PortForward     string `json:"portForward,omitempty"`
}

// forwarded is where the port-forward listens that podid eks env proposes.
const forwarded = "https://localhost:8444"

// eksing are the flags of `podid eks env`.
type eksing struct {
	keying
	key       string
	endpoint  string
	inCluster bool
	bundle    string
	unset     bool
}

func newEKSEnv() *cobra.Command {
	var f eksing
	c := &cobra.Command{
		Use:   "env",
		Short: "Print what leads aws eks to the EKS API of a cluster",
		Long: `Prints the endpoint, the CA and an access key, as variables for a shell of its own: they
hold for every AWS service. From outside the cluster the endpoint is that of a kubectl
port-forward, which is printed as well, or of an ingress (--endpoint); inside it is the
Service. The CA is written to a file, since AWS clients want one.`,
		Example: `  podid access-key create --service-account shop/deployer
  kubectl port-forward -n podid-system service/podid-eks 8444:443 &
  eval "$(podid eks env --service-account shop/deployer)"
  aws eks list-pod-identity-associations --cluster-name prod --namespace shop
  podid eks env --in-cluster -o json
  podid eks env --endpoint https://eks.example.com --ca-bundle ca.pem`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if f.unset {
				return f.out.print(c.OutOrStdout(), eksVariables, func(ui *ui) { ui.printf("unset %s\n", strings.Join(eksVariables, " ")) })
			}
			env, err := f.env(c.Context())
			if err != nil {
				return err
			}
			return f.out.print(c.OutOrStdout(), env, func(ui *ui) { ui.eks(env) })
		},
	}
	f.flags(c)
	f.out.flag(c)
	flags := c.Flags()
	flags.StringVar(&f.account, "service-account", "", "take an access key of this service account, NAMESPACE/NAME")
	flags.StringVar(&f.key, "access-key", "", "take this access key, by its ID (default: the only one there is)")
	flags.StringVar(&f.endpoint, "endpoint", "", "URL of an ingress or load balancer that leads to the Service podid-eks")
	flags.BoolVar(&f.inCluster, "in-cluster", false, "the endpoint is the Service, for pods")
	flags.StringVar(&f.bundle, "ca-bundle", "", "file of the CA; podid's own is written to it if there is none (default: one in the user's cache directory)")
	flags.BoolVar(&f.unset, "unset", false, "print what undoes it")
	c.MarkFlagsMutuallyExclusive("endpoint", "in-cluster")
	c.MarkFlagsMutuallyExclusive("service-account", "access-key")
	return c
}

var eksVariables = []string{"AWS_ENDPOINT_URL_EKS", "AWS_CA_BUNDLE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}

func (u *ui) eks(env eksEnv) {
	if env.PortForward != "" {
		u.printf("# in another terminal: %s\n", env.PortForward)
	}
	values := []string{env.Endpoint, env.CABundle, env.Region, env.Region, env.AccessKeyID, env.SecretAccessKey}
	for i, name := range eksVariables {
		if values[i] != "" {
			u.printf("export %s=%s\n", name, shellQuote(values[i]))
		}
	}
	u.printf("unset AWS_SESSION_TOKEN AWS_PROFILE\n")
	u.printf("# aws eks list-pod-identity-associations --cluster-name %s --namespace NAMESPACE\n", env.ClusterName)
}

// shellQuote is s as one word of a shell.
func shellQuote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:/.,@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (f *eksing) env(ctx context.Context) (env eksEnv, err error) {
	if err := f.where(&env); err != nil {
		return env, err
	}
	api, err := f.cluster.client()
	if err != nil {
		return env, err
	}
	var o corev1.ConfigMap
	switch err := api.Get(ctx, types.NamespacedName{Namespace: f.namespace, Name: "podid"}, &o); {
	case apierrors.IsNotFound(err):
		return env, problem.New(problem.InstallIncomplete, "podid is not installed in namespace %s", f.namespace).
			Because("there is no ConfigMap podid").Fixed("podid install, or give --podid-namespace")
	case err != nil:
		return env, f.cluster.failed("read podid's settings", err)
	}
	set, err := settings.Parse(o.Data)
	if err != nil {
		return env, err
	}
	if !set.EKSAPI {
		return env, problem.New(problem.InstallIncomplete, "the EKS API is switched off here").
			Because("the setting eksAPI is false").Fixed("podid install --eks-api")
	}
	env.ClusterName, env.Region = set.Cluster.Name, set.Cluster.Region
	key, err := f.choose(ctx, api)
	if err != nil {
		return env, err
	}
	env.AccessKeyID, env.SecretAccessKey = key.ID, key.Secret
	env.CABundle, err = f.authority(ctx, api)
	return env, err
}

// where is the endpoint.
func (f *eksing) where(env *eksEnv) error {
	switch {
	case f.inCluster:
		env.Endpoint = "https://podid-eks." + f.namespace + ".svc"
	case f.endpoint == "":
		env.Endpoint = forwarded
		env.PortForward = "kubectl port-forward -n " + f.namespace + " service/podid-eks 8444:443"
	default:
		if u, err := url.Parse(f.endpoint); err != nil || u.Scheme != "https" || u.Host == "" {
			return problem.New(problem.Usage, "--endpoint %s is not an https URL", f.endpoint).Because("").Fixed("give one such as https://eks.example.com")
		}
		env.Endpoint = strings.TrimSuffix(f.endpoint, "/")
	}
	return nil
}

// choose is the access key that is asked for, or the only one.
func (f *eksing) choose(ctx context.Context, api client.Client) (accesskey.Key, error) {
	secrets, err := f.secrets(ctx, api)
	if err != nil {
		return accesskey.Key{}, err
	}
	var found []accesskey.Key
	for i := range secrets {
		key, err := accesskey.Read(&secrets[i])
		if err == nil && (f.key == "" || key.ID == f.key) && (f.account == "" || key.Account.String() == f.account) {
			found = append(found, key)
		}
	}
	switch {
	case len(found) == 1, len(found) > 1 && f.account != "":
		return found[0], nil
	case len(found) > 1:
		return accesskey.Key{}, problem.New(problem.Usage, "there are %d access keys, and it is not said which to take", len(found)).
			Because("").Fixed("give --service-account NAMESPACE/NAME or --access-key ID; podid access-key list shows them")
	}
	return accesskey.Key{}, problem.New(problem.Usage, "there is no such access key").
		Because("the EKS API knows its callers by the keys of service accounts").
		Fixed("podid access-key create --service-account NAMESPACE/NAME")
}

// authority writes podid's CA to a file. Behind an ingress there is another, or one
// that everybody trusts.
func (f *eksing) authority(ctx context.Context, api client.Client) (string, error) {
	if f.bundle != "" {
		if _, err := os.Stat(f.bundle); err == nil {
			return filepath.Abs(f.bundle)
		}
	}
	if f.endpoint != "" && f.bundle == "" {
		return "", nil
	}
	var o corev1.ConfigMap
	if err := api.Get(ctx, types.NamespacedName{Namespace: f.namespace, Name: "podid-ca"}, &o); err != nil {
		if apierrors.IsNotFound(err) {
			return "", problem.New(problem.InstallIncomplete, "podid has no CA yet, the ConfigMap podid-ca in namespace %s", f.namespace).
				Because("podid-auth makes it when it starts, and has not, or podid is not installed").
				Fixed("podid status says why")
		}
		return "", f.cluster.failed("read podid's CA, the ConfigMap podid-ca", err)
	}
	file := f.bundle
	if file == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", problem.New(problem.Usage, "there is no place for the CA's file").Because("%v", err).Fixed("give --ca-bundle FILE")
		}
		file = filepath.Join(cache, "podid", "eks-"+fileName(f.cluster.server())+".crt")
	}
	err := os.MkdirAll(filepath.Dir(file), 0o755) //nolint:gosec // a CA is public
	if err == nil {
		err = os.WriteFile(file, []byte(o.Data["ca.crt"]), 0o644) //nolint:gosec // a CA is public
	}
	if err != nil {
		return "", problem.New(problem.Usage, "the CA cannot be written to %s", file).Because("%v", err).Fixed("give --ca-bundle FILE")
	}
	return filepath.Abs(file)
}

// fileName is text as a part of a path.
func fileName(text string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' {
			return c
		}
		return '_'
	}, text)
}
