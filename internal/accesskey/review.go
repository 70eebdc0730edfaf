package accesskey

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/problem"
)

const (
	associations = "podidentityassociations"
	passGroup    = "iam.podid.dev"
	passResource = "iamroles"
)

// allowed has the API server say whether the caller may do what a asks.
func (d *Door) allowed(ctx context.Context, a authorizationv1.ResourceAttributes) (Account, bool, error) {
	account, proved := ctx.Value(callerKey{}).(Account)
	if !proved {
		return account, false, errUnproved
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: account.User(), Groups: account.Groups(), UID: account.UID, ResourceAttributes: &a,
	}}
	if err := d.API.Create(ctx, review); err != nil {
		return account, false, unreviewed(ctx, err)
	}
	return account, review.Status.Allowed && !review.Status.Denied, nil
}

// may asks for a verb on associations of a namespace; an empty one is all, an empty name
// any.
func (d *Door) may(ctx context.Context, verb, namespace, name string) error {
	account, yes, err := d.allowed(ctx, authorizationv1.ResourceAttributes{
		Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Resource: associations,
		Verb: verb, Namespace: namespace, Name: name,
	})
	if yes || err != nil {
		return err
	}
	where, kind, options := "in namespace "+namespace, "role", " --namespace="+namespace
	if namespace == "" {
		where, kind, options = "in all namespaces", "clusterrole", ""
	}
	grant := quote(verb + ":" + associations + ":" + account.Namespace + ":" + account.Name)
	return problem.New(problem.PermissionDenied, "service account %s may not %s %s %s", account, verb, associations, where).
		Because("RBAC grants it no such right").
		Fixed("an administrator grants it with: kubectl create %s %s%s --verb=%s --resource=%s.%s && kubectl create %sbinding %s%s --%s=%s --serviceaccount=%s:%s",
			kind, grant, options, verb, associations, v1alpha1.GroupVersion.Group,
			kind, grant, options, kind, grant, account.Namespace, account.Name)
}

// pass asks whether the caller may give a role to pods: cluster-wide, whatever may be
// granted in a namespace.
func (d *Door) pass(ctx context.Context, role podid.RoleARN) error {
	account, yes, err := d.allowed(ctx, authorizationv1.ResourceAttributes{
		Group: passGroup, Version: "*", Resource: passResource, Verb: "pass", Name: string(role),
	})
	if yes || err != nil {
		return err
	}
	return problem.New(problem.PermissionDenied, "service account %s may not pass %s", account, role).
		Because("that takes the verb pass on %s.%s, cluster-wide, with the ARN as resource name", passResource, passGroup).
		Fixed("an administrator grants it with: %s", grantPass(account, role))
}

// grantPass is a command to be pasted. It makes the role from JSON, since kubectl create
// clusterrole refuses resources that are not served.
func grantPass(account Account, role podid.RoleARN) string {
	name := strings.NewReplacer("/", ":", "%", ":", `"`, ":", "'", ":", `\`, ":").
		Replace(fmt.Sprintf("pass:%s:%s:%s", role, account.Namespace, account.Name))
	document, err := json.Marshal(struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        map[string]string   `json:"metadata"`
		Rules           []rbacv1.PolicyRule `json:"rules"`
	}{
		metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
		map[string]string{"name": name},
		[]rbacv1.PolicyRule{{APIGroups: []string{passGroup}, Resources: []string{passResource}, Verbs: []string{"pass"}, ResourceNames: []string{string(role)}}},
	})
	if err != nil {
		return "" // strings alone
	}
	return fmt.Sprintf("printf %%s %s | kubectl create -f - && kubectl create clusterrolebinding %s --clusterrole=%s --serviceaccount=%s:%s",
		quote(string(document)), quote(name), quote(name), account.Namespace, account.Name)
}

// quote is s as one word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
