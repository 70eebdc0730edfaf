package main

import (
	"context"
	"strings"
	"time"

	"github.com/openpodidentity/podid/internal/accesskey"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func newAccessKey() *cobra.Command {
	return group(cobra.Command{
		Use:   "access-key",
		Short: "Make, list and delete access keys of the EKS API of a cluster",
		Long: `An access key signs requests to the EKS API that podid serves in a cluster (aws eks,
Terraform). It belongs to a service account, and may do what Kubernetes' RBAC lets that
account do with associations and roles. It is kept as a Secret in podid's namespace.`,
		Example: `  podid access-key create --service-account shop/deployer
  podid access-key list`,
	}, newAccessKeyCreate(), newAccessKeyList(), newAccessKeyDelete())
}

// madeKey is what is told of a key when it is made; never again.
type madeKey struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey,omitempty"`
	ServiceAccount  string `json:"serviceAccount"`
	Secret          string `json:"secret"` // the object
	DryRun          bool   `json:"dryRun,omitempty"`
}

// keying are the flags that the access-key commands share.
type keying struct {
	cluster   kubeconfig
	namespace string // podid's
	account   string
	dryRun    bool
	out       output
}

func (f *keying) flags(c *cobra.Command) {
	f.cluster.flags(c)
	podidNamespaceFlag(c, &f.namespace)
}

func newAccessKeyCreate() *cobra.Command {
	var f keying
	c := &cobra.Command{
		Use:   "create --service-account NAMESPACE/NAME",
		Short: "Make an access key of a service account",
		Long: `Makes an access key and prints it; its secret is not shown again, though whoever may read
Secrets in podid's namespace can. It takes the right to impersonate the service account
(the policy access-key.podid.dev).`,
		Example: `  podid access-key create --service-account shop/deployer
  podid access-key create --service-account shop/deployer -o json
  podid access-key create --service-account shop/deployer --dry-run   # may I?`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			made, err := f.create(c.Context())
			if err != nil {
				return err
			}
			return f.out.print(c.OutOrStdout(), made, func(ui *ui) { ui.madeKey(made) })
		},
	}
	f.flags(c)
	f.out.flag(c)
	c.Flags().StringVar(&f.account, "service-account", "", "service account that the key acts as, NAMESPACE/NAME")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "have the API server check it, and make nothing")
	must(c.MarkFlagRequired("service-account"))
	return c
}

func (u *ui) madeKey(made madeKey) {
	if made.DryRun {
		u.printf("you may make an access key of %s (dry run: none was made)\n", made.ServiceAccount)
		return
	}
	u.printf("access key ID      %s\n", made.AccessKeyID)
	u.printf("secret access key  %s\n", made.SecretAccessKey)
	u.printf("\nIt acts as service account %s. The secret is not shown again.\n", made.ServiceAccount)
	u.printf("%s podid eks env --access-key %s\n", u.faint("next:"), made.AccessKeyID)
}

func (f *keying) create(ctx context.Context) (madeKey, error) {
	account, err := accesskey.ParseAccount(f.account)
	if err != nil {
		return madeKey{}, problem.New(problem.Usage, "--service-account: %s", problem.Of(err).What).Because("%s", problem.Of(err).Why).
			Fixed("give NAMESPACE/NAME, such as shop/deployer")
	}
	api, err := f.cluster.client()
	if err != nil {
		return madeKey{}, err
	}
	var o corev1.ServiceAccount
	switch err := api.Get(ctx, types.NamespacedName{Namespace: account.Namespace, Name: account.Name}, &o); {
	case apierrors.IsNotFound(err):
		return madeKey{}, problem.New(problem.Usage, "there is no service account %s", account).
			Because("a key of an account that is not there opens nothing").
			Fixed("kubectl create serviceaccount %s -n %s", account.Name, account.Namespace)
	case err != nil:
		return madeKey{}, f.cluster.failed("read service account "+account.String(), err)
	}
	account.UID = string(o.UID)
	key := accesskey.New(account)
	secret := accesskey.Object(f.namespace, key)
	var options []client.CreateOption
	if f.dryRun {
		options = append(options, client.DryRunAll)
	}
	if err := api.Create(ctx, secret, options...); err != nil {
		return madeKey{}, f.cluster.failed("make an access key of "+account.String(), err)
	}
	made := madeKey{AccessKeyID: key.ID, SecretAccessKey: key.Secret, ServiceAccount: account.String(), Secret: secret.Namespace + "/" + secret.Name}
	if f.dryRun {
		made = madeKey{ServiceAccount: account.String(), DryRun: true}
	}
	return made, nil
}

// listedKey is a key without its secret.
type listedKey struct {
	AccessKeyID    string        `json:"accessKeyId"`
	ServiceAccount string        `json:"serviceAccount"`
	Secret         string        `json:"secret"` // the object
	CreatedAt      time.Time     `json:"createdAt"`
	Problem        *boundProblem `json:"problem,omitempty"`
}

func newAccessKeyList() *cobra.Command {
	var f keying
	c := &cobra.Command{
		Use:     "list",
		Short:   "List access keys, without their secrets",
		Example: "  podid access-key list\n  podid access-key list --service-account shop/deployer -o json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			keys, err := f.list(c.Context())
			if err != nil {
				return err
			}
			return f.out.print(c.OutOrStdout(), map[string]any{"accessKeys": keys}, func(ui *ui) { ui.keys(keys) })
		},
	}
	f.flags(c)
	f.out.flag(c)
	c.Flags().StringVar(&f.account, "service-account", "", "those of this service account alone, NAMESPACE/NAME")
	return c
}

func (u *ui) keys(keys []listedKey) {
	if len(keys) == 0 {
		u.printf("there are no access keys\n")
		return
	}
	var rows [][]string
	for _, key := range keys {
		state := u.good("ok")
		if key.Problem != nil {
			state = u.bad(key.Problem.Message)
		}
		rows = append(rows, []string{key.AccessKeyID, key.ServiceAccount, key.CreatedAt.Format(time.DateOnly), state})
	}
	u.table([]string{"ACCESS KEY ID", "SERVICE ACCOUNT", "CREATED", "STATE"}, rows)
}

func (f *keying) list(ctx context.Context) ([]listedKey, error) {
	api, err := f.cluster.client()
	if err != nil {
		return nil, err
	}
	secrets, err := f.secrets(ctx, api)
	if err != nil {
		return nil, err
	}
	keys := []listedKey{} // a list in JSON, too
	for i := range secrets {
		o := &secrets[i]
		account := o.Annotations[accesskey.AccountAnnotation]
		if f.account != "" && account != f.account {
			continue
		}
		key, err := accesskey.Read(o)
		if err == nil {
			err = f.outlived(ctx, api, key.Account)
		}
		listed := listedKey{AccessKeyID: strings.ToUpper(o.Name), ServiceAccount: short(account), Secret: o.Namespace + "/" + o.Name, CreatedAt: o.CreationTimestamp.UTC()}
		if err != nil {
			p := problem.Of(err)
			listed.Problem = &boundProblem{p.Code, p.Why}
		}
		keys = append(keys, listed)
	}
	return keys, nil
}

func (f *keying) secrets(ctx context.Context, api client.Client) ([]corev1.Secret, error) {
	var secrets corev1.SecretList
	err := api.List(ctx, &secrets, client.InNamespace(f.namespace), client.MatchingFields{"type": string(accesskey.Type)})
	if err != nil {
		return nil, f.cluster.failed("list access keys, which are Secrets in "+f.namespace, err)
	}
	return secrets.Items, nil
}

// outlived is the problem of a key whose account is gone, or was made again.
func (f *keying) outlived(ctx context.Context, api client.Client, account accesskey.Account) error {
	var o corev1.ServiceAccount
	err := api.Get(ctx, types.NamespacedName{Namespace: account.Namespace, Name: account.Name}, &o)
	if apierrors.IsNotFound(err) || err == nil && account.UID != "" && account.UID != string(o.UID) {
		return problem.New(problem.PermissionDenied, "the key opens nothing").Because("its service account was deleted")
	}
	return nil // or it cannot be told
}

func newAccessKeyDelete() *cobra.Command {
	var f keying
	c := &cobra.Command{
		Use:     "delete ACCESS-KEY-ID...",
		Short:   "Delete access keys; they open nothing from then on",
		Example: "  podid access-key delete PKIDEXAMPLEEXAMPLE22\n  podid access-key delete PKIDEXAMPLEEXAMPLE22 --dry-run   # is it there, and may I?",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, ids []string) error {
			api, err := f.cluster.client()
			if err != nil {
				return err
			}
			said := "is deleted"
			if f.dryRun {
				said = "would be deleted (dry run: it was not)"
			}
			for _, id := range ids {
				if err := f.delete(c.Context(), api, id); err != nil {
					return err
				}
				newUI(c.OutOrStdout()).printf("%s %s\n", id, said)
			}
			return nil
		},
	}
	f.flags(c)
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "have the API server check it, and delete nothing")
	return c
}

// delete deletes nothing but access keys, whatever it is given.
func (f *keying) delete(ctx context.Context, api client.Client, id string) error {
	o := &corev1.Secret{}
	err := api.Get(ctx, types.NamespacedName{Namespace: f.namespace, Name: strings.ToLower(id)}, o)
	switch {
	case apierrors.IsNotFound(err), err == nil && o.Type != accesskey.Type:
		return problem.New(problem.Usage, "there is no access key %.200q", id).Because("").Fixed("podid access-key list")
	case err != nil:
		return f.cluster.failed("read access key "+id, err)
	}
	options := []client.DeleteOption{client.Preconditions{UID: &o.UID}}
	if f.dryRun {
		options = append(options, client.DryRunAll)
	}
	if err := api.Delete(ctx, o, options...); err != nil {
		return f.cluster.failed("delete access key "+id, err)
	}
	return nil
}
