package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association/annotation"
	"github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/internal/settings"
	"github.com/openpodidentity/podid/problem"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func newGet() *cobra.Command {
	return group(cobra.Command{
		Use:     "get",
		Short:   "List what podid knows of a cluster",
		Example: "  podid get associations -A",
	}, newGetAssociations())
}

// listedAssociation is a service account with a role, by whichever door it came.
type listedAssociation struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	RoleARN        string `json:"roleArn"`
	TargetRoleARN  string `json:"targetRoleArn,omitempty"`
	// Door is object, eks or annotation.
	Door               string `json:"door"`
	DisableSessionTags bool   `json:"disableSessionTags,omitempty"`
	Policy             string `json:"policy,omitempty"`
	AssociationID      string `json:"associationId"`
	AssociationARN     string `json:"associationArn,omitempty"` // while the cluster's name is known
	// Problem is why pods do not get the role.
	Problem *boundProblem `json:"problem,omitempty"`
}

type boundProblem struct {
	Code    problem.Code `json:"code"`
	Message string       `json:"message"`
}

func newBoundProblem(err error) *boundProblem {
	if err == nil {
		return nil
	}
	p := problem.Of(err)
	return &boundProblem{p.Code, p.Message()}
}

// getting are the flags of `podid get associations`.
type getting struct {
	cluster   kubeconfig
	installed string // podid's namespace
	all       bool
	out       output
}

func newGetAssociations() *cobra.Command {
	var f getting
	c := &cobra.Command{
		Use:     "associations",
		Aliases: []string{"association", "pia"},
		Short:   "List which service account has which role, by all doors",
		Long: `Lists the associations of a namespace, or of all: those that are objects, those that the
EKS API has made (eks; they are objects, too), and the annotations of service accounts,
where that door is open. STATE says why pods do not get a role, as a problem's code.`,
		Example: `  podid get associations
  podid get associations -A
  podid get associations -n shop -o yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			bound, hint, err := f.list(c.Context())
			if err != nil {
				return err
			}
			err = f.out.print(c.OutOrStdout(), map[string]any{"associations": bound}, func(ui *ui) { ui.bound(bound) })
			if err == nil && hint != "" {
				newUI(c.ErrOrStderr()).printf("%s\n", hint)
			}
			return err
		},
	}
	f.cluster.flags(c)
	c.Flags().StringVarP(&f.cluster.namespace, "namespace", "n", "", "namespace of the service accounts (default: the context's)")
	c.Flags().BoolVarP(&f.all, "all-namespaces", "A", false, "of all namespaces")
	podidNamespaceFlag(c, &f.installed)
	c.MarkFlagsMutuallyExclusive("namespace", "all-namespaces")
	f.out.flag(c)
	return c
}

func (u *ui) bound(all []listedAssociation) {
	if len(all) == 0 {
		u.printf("no service account has a role\n")
		return
	}
	var rows [][]string
	for _, b := range all {
		state := u.good("ok")
		if b.Problem != nil {
			state = u.bad(string(b.Problem.Code))
		}
		role := b.RoleARN
		if b.TargetRoleARN != "" {
			role += " → " + b.TargetRoleARN
		}
		rows = append(rows, []string{b.Namespace, b.ServiceAccount, short(role), b.Door, b.AssociationID, state})
	}
	u.table([]string{"NAMESPACE", "SERVICE ACCOUNT", "ROLE", "DOOR", "ID", "STATE"}, rows)
}

// list is in the order of namespaces and names; hint is what should be said beside.
func (f *getting) list(ctx context.Context) (bound []listedAssociation, hint string, err error) {
	api, err := f.cluster.client()
	if err != nil {
		return nil, "", err
	}
	namespace := ""
	if !f.all {
		if namespace, err = f.cluster.current(); err != nil {
			return nil, "", err
		}
	}
	var objects v1alpha1.PodIdentityAssociationList
	if err := api.List(ctx, &objects, client.InNamespace(namespace)); err != nil {
		return nil, "", f.cluster.failed("list associations", err)
	}
	var accounts corev1.ServiceAccountList
	if err := api.List(ctx, &accounts, client.InNamespace(namespace)); err != nil && !apierrors.IsForbidden(err) {
		return nil, "", f.cluster.failed("list service accounts", err)
	} else if err != nil {
		hint = "Annotations are left out: you may not list service accounts there."
	}
	set, known := f.settings(ctx, api)

	bound = []listedAssociation{} // a list in JSON, too
	named := map[types.NamespacedName]podid.Association{}
	for i := range objects.Items {
		o := &objects.Items[i]
		a := kube.Association(o)
		named[client.ObjectKeyFromObject(o)] = a
		bound = append(bound, newBound(a, door(o), set.Cluster, objectProblem(o)))
	}
	annotated := f.annotated(accounts.Items)
	switch {
	case len(annotated) == 0:
	case known && !set.Annotations:
		hint = "Service accounts are annotated here, and the annotation door is closed: podid install --annotations opens it."
	default:
		judge, err := annotation.Judge(ctx, api, f.installed)
		if err != nil {
			judge = func(*corev1.ServiceAccount) error { return nil }
			hint = "Whether annotations give their roles cannot be told: " + problem.Of(err).Why + "."
		}
		for _, o := range annotated {
			a := annotation.Association(o)
			err := judge(o)
			if object, shadowed := named[client.ObjectKeyFromObject(o)]; shadowed {
				err = problem.New(problem.AssociationShadowed, "the annotation has no effect").
					Because("the object %s/%s gives the service account %s, and decides", o.Namespace, o.Name, object.Role)
			}
			bound = append(bound, newBound(a, "annotation", set.Cluster, err))
		}
	}
	slices.SortStableFunc(bound, func(a, b listedAssociation) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.ServiceAccount, b.ServiceAccount))
	})
	return bound, hint, nil
}

func (f *getting) annotated(accounts []corev1.ServiceAccount) []*corev1.ServiceAccount {
	var out []*corev1.ServiceAccount
	for i := range accounts {
		if accounts[i].Annotations[annotation.Role] != "" {
			out = append(out, &accounts[i])
		}
	}
	return out
}

func newBound(a podid.Association, door string, cluster podid.Cluster, err error) listedAssociation {
	b := listedAssociation{
		Namespace: a.Namespace, ServiceAccount: a.ServiceAccount, RoleARN: string(a.Role), TargetRoleARN: string(a.Target), Door: door,
		DisableSessionTags: a.DisableSessionTags, Policy: a.Policy, AssociationID: a.ID(), Problem: newBoundProblem(err),
	}
	if cluster.Name != "" {
		b.AssociationARN = a.ARN(cluster)
	}
	return b
}

func objectProblem(o *v1alpha1.PodIdentityAssociation) error {
	if o.DeletionTimestamp != nil {
		return problem.New(problem.AssociationMissing, "the object is being deleted").
			Because("finalizers hold what is left of it").
			Fixed("whoever put them there removes them: %s", strings.Join(o.Finalizers, ", "))
	}
	return kube.Check(o)
}

// door is who last said which role an object names, by the API server's own book: podid
// itself writes for the EKS API alone.
func door(o *v1alpha1.PodIdentityAssociation) string {
	for _, entry := range o.ManagedFields {
		var fields struct {
			Spec map[string]any `json:"f:spec"`
		}
		if entry.Manager != string(kube.Owner) || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		if json.NewDecoder(entry.FieldsV1.GetRawReader()).Decode(&fields) == nil && fields.Spec["f:roleARN"] != nil {
			return "eks"
		}
	}
	return "object"
}

// settings are podid's, as far as they can be read.
func (f *getting) settings(ctx context.Context, api client.Client) (set settings.Settings, known bool) {
	var o corev1.ConfigMap
	if err := api.Get(ctx, types.NamespacedName{Namespace: f.installed, Name: "podid"}, &o); err != nil {
		return set, false
	}
	set, err := settings.Parse(o.Data)
	return set, err == nil || problem.Is(err, problem.ConfigurationMissing)
}
