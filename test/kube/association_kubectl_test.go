package kube_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/association"
	store "github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/problem"
)

func (c *associations) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %v: %v: %s", args, err, out)
	}
	return string(out)
}

func (c *associations) get(t *testing.T, namespace, account string) *v1alpha1.PodIdentityAssociation {
	t.Helper()
	o := new(v1alpha1.PodIdentityAssociation)
	if err := c.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: account}, o); err != nil {
		t.Fatal(err)
	}
	return o
}

func behindOurBack(t *testing.T, c *associations) {
	c.clear(t)
	s := c.open(t, c.Config())
	a := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader, Tags: map[string]string{"team": "a"}}))
	finds := func(what string, check func(podid.Association) bool) {
		t.Helper()
		eventually(t, what, func(ctx context.Context) error {
			if got, err := s.Find(ctx, "shop", "cart"); err != nil || !check(got) {
				return fmt.Errorf("%+v, %w", got, err)
			}
			return nil
		})
	}
	c.kubectl(t, "patch", "pia", "cart", "-n", "shop", "--type=merge", "-p", `{"spec":{"roleARN":"`+writer+`"}}`)
	finds("the role is another", func(got podid.Association) bool {
		return got.Role == writer && got.Version != a.Version && got.UID == a.UID
	})
	c.kubectl(t, "label", "pia", "cart", "-n", "shop", "team=a")
	updated := must(t)(s.Update(t.Context(), a.ID(), func(a *podid.Association) error { a.Tags = nil; a.Target = target; return nil }))
	if updated.Role != writer || updated.Tags != nil || updated.Target != target {
		t.Errorf("updated: %+v", updated)
	}
	if o := c.get(t, "shop", "cart"); o.Labels["team"] != "a" {
		t.Errorf("an update took the labels: %+v", o.ObjectMeta)
	}

	// A grammar that no schema holds: the object is there, gives no role, and can be mended.
	c.kubectl(t, "patch", "pia", "cart", "-n", "shop", "--type=merge", "-p", `{"spec":{"policy":"{}","disableSessionTags":true}}`)
	eventually(t, "the policy is refused", func(ctx context.Context) error {
		if _, err := s.Find(ctx, "shop", "cart"); !problem.Is(err, problem.SessionPolicyInvalid) {
			return fmt.Errorf("%w", err)
		}
		return nil
	})
	if got := must(t)(s.Get(t.Context(), a.ID())); got.Policy != "{}" {
		t.Errorf("described: %+v", got)
	}
	must(t)(s.Update(t.Context(), a.ID(), func(a *podid.Association) error { a.Policy = allow; return nil }))
	finds("it is mended", func(got podid.Association) bool { return got.Policy == allow })

	// A token that nobody could have sent is none; another object's is not worth more than the name.
	c.kubectl(t, "annotate", "pia", "cart", "-n", "shop", store.TokenAnnotation+"=short")
	finds("no token", func(got podid.Association) bool { return got.ClientToken == "" })
	token := strings.Repeat("t", 36)
	till := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "till", Role: reader, ClientToken: token}))
	c.kubectl(t, "annotate", "--overwrite", "pia", "cart", "-n", "shop", store.TokenAnnotation+"="+token)
	finds("the token of another", func(got podid.Association) bool { return got.ClientToken == token })
	if got := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "till", Role: reader, ClientToken: token})); got.UID != till.UID {
		t.Errorf("a copied token leads to %s", got.ServiceAccount)
	}

	// Deleted and made again it is another.
	c.kubectl(t, "delete", "pia", "cart", "-n", "shop")
	c.apply(t, manifest("shop", "cart", "roleARN: "+reader))
	finds("another association", func(got podid.Association) bool { return got.UID != a.UID && got.Role == reader })
	if _, err := s.Get(t.Context(), a.ID()); !problem.Is(err, problem.AssociationNotFound) {
		t.Errorf("the old ID: %v", err)
	}
	if _, err := s.Delete(t.Context(), a.ID()); !problem.Is(err, problem.AssociationNotFound) {
		t.Errorf("the old ID: %v", err)
	}
}

func manifest(namespace, account string, spec ...string) string {
	return "apiVersion: podid.dev/v1alpha1\nkind: PodIdentityAssociation\nmetadata:\n  name: " + account +
		"\n  namespace: " + namespace + "\nspec:\n  " + strings.Join(spec, "\n  ") + "\n"
}

func (c *associations) apply(t *testing.T, text string) {
	t.Helper()
	if out, err := c.tryApply(t, text); err != nil {
		t.Fatalf("kubectl apply: %v: %s", err, out)
	}
}

func (c *associations) tryApply(t *testing.T, text string) (string, error) {
	cmd := c.Kubectl(t.Context(), "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func ending(t *testing.T, c *associations) {
	c.clear(t)
	s := c.open(t, c.Config())
	token := strings.Repeat("e", 36)
	a := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader, ClientToken: token}))
	c.kubectl(t, "patch", "pia", "cart", "-n", "shop", "--type=merge", "-p", `{"metadata":{"finalizers":["test.podid.dev/hold"]}}`)
	must(t)(s.Delete(t.Context(), a.ID()))
	_, err := s.Find(t.Context(), "shop", "cart")
	wantsCode(t, err, problem.AssociationMissing)
	_, err = s.Get(t.Context(), a.ID())
	wantsCode(t, err, problem.AssociationNotFound)
	_, err = s.Delete(t.Context(), a.ID())
	wantsCode(t, err, problem.AssociationNotFound)
	if page, _, err := s.List(t.Context(), association.Filter{}, "", 10); err != nil || len(page) != 0 {
		t.Errorf("listed: %v, %v", page, err)
	}
	_, err = s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader, ClientToken: token})
	wantsCode(t, err, problem.AssociationExists, "being deleted", "finalizers")
	c.kubectl(t, "patch", "pia", "cart", "-n", "shop", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	if again := must(t)(s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader, ClientToken: token})); again.UID == a.UID {
		t.Error("the ended association came back")
	}
}

func kubectlRefused(t *testing.T, c *associations) {
	c.clear(t)
	for _, test := range []struct {
		name string
		spec []string
		says string
	}{
		{"a field of another spelling", []string{"roleArn: " + reader}, `unknown field "spec.roleArn"`},
		{"an unknown field", []string{"roleARN: " + reader, "serviceAccount: cart"}, `unknown field "spec.serviceAccount"`},
		{"no role", []string{"disableSessionTags: true"}, "spec.roleARN: Required value"},
		{"a user", []string{"roleARN: arn:aws:iam::111122223333:user/jane"}, "this is not the ARN of a role, arn:aws:iam::ACCOUNT:role/NAME"},
		{"a session", []string{"roleARN: arn:aws:sts::111122223333:assumed-role/reader/x"}, "this is the ARN of a role session"},
		{"a policy with session tags", []string{"roleARN: " + reader, "policy: '" + allow + "'"}, "set disableSessionTags: true together with policy"},
		{"a reserved tag", []string{"roleARN: " + reader, "tags: {'AWS:team': a}"}, "reserved for AWS"},
		{"a number for a role", []string{"roleARN: 5"}, "must be of type string"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := c.tryApply(t, manifest("shop", "cart", test.spec...))
			if err == nil || !strings.Contains(out, test.says) {
				t.Errorf("%v: %q does not say %q", err, out, test.says)
			}
		})
	}
	c.apply(t, manifest("shop", "cart", "roleARN: "+reader, "tags: {team: a}"))
	if out := c.kubectl(t, "get", "pia", "-n", "shop"); !strings.Contains(out, reader) || !strings.Contains(out, "ACCEPTED") {
		t.Errorf("kubectl get:\n%s", out)
	}
}

func namespaceRefused(t *testing.T, c *associations) {
	c.clear(t)
	s := c.open(t, c.Config())
	_, err := s.Create(t.Context(), podid.Association{Namespace: "nowhere", ServiceAccount: "cart", Role: reader})
	wantsCode(t, err, problem.AssociationInvalid, `namespace "nowhere" does not exist`, "kubectl create namespace nowhere")
	_, err = s.Find(t.Context(), "nowhere", "cart")
	wantsCode(t, err, problem.AssociationMissing)
	if page, _, err := s.List(t.Context(), association.Filter{Namespace: "nowhere"}, "", 10); err != nil || len(page) != 0 {
		t.Errorf("listed: %v, %v", page, err)
	}
	// Nothing runs that would end a namespace: it stays in the state between.
	makeNamespace(t, kubernetes.NewForConfigOrDie(c.Config()), "ends")
	if err := kubernetes.NewForConfigOrDie(c.Config()).CoreV1().Namespaces().Delete(t.Context(), "ends", meta.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace ends", func(ctx context.Context) error {
		_, err := s.Create(ctx, podid.Association{Namespace: "ends", ServiceAccount: "cart", Role: reader})
		if err == nil {
			return fmt.Errorf("created")
		}
		if !strings.Contains(err.Error(), `namespace "ends" is being deleted`) && !problem.Is(err, problem.AssociationExists) {
			t.Errorf("error %v", err)
		}
		return nil
	})
}

func forbidden(t *testing.T, c *associations) {
	c.clear(t)
	admin := c.open(t, c.Config())
	cart := must(t)(admin.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader}))
	config, err := c.ConfigFor("reader-only")
	if err != nil {
		t.Fatal(err)
	}
	clientset := kubernetes.NewForConfigOrDie(c.Config())
	_, err = clientset.RbacV1().ClusterRoles().Create(t.Context(), &rbac.ClusterRole{
		ObjectMeta: meta.ObjectMeta{Name: "reader-only"},
		Rules:      []rbac.PolicyRule{{APIGroups: []string{"podid.dev"}, Resources: []string{"podidentityassociations"}, Verbs: []string{"get", "list", "watch"}}},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = clientset.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbac.ClusterRoleBinding{
		ObjectMeta: meta.ObjectMeta{Name: "reader-only"},
		Subjects:   []rbac.Subject{{Kind: "User", APIGroup: rbac.GroupName, Name: "reader-only"}},
		RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: "reader-only"},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := c.open(t, config) // with no more rights than doc.go says
	if got := must(t)(s.Find(t.Context(), "shop", "cart")); got.UID != cart.UID {
		t.Errorf("found %+v", got)
	}
	_, err = s.Create(t.Context(), podid.Association{Namespace: "shop", ServiceAccount: "till", Role: reader})
	wantsCode(t, err, problem.PermissionDenied, "reader-only")
	_, err = s.Update(t.Context(), cart.ID(), func(a *podid.Association) error { a.Role = writer; return nil })
	wantsCode(t, err, problem.PermissionDenied, "reader-only")
	_, err = s.Delete(t.Context(), cart.ID())
	wantsCode(t, err, problem.PermissionDenied, "reader-only")

	nobody, err := c.ConfigFor("nobody")
	if err != nil {
		t.Fatal(err)
	}
	blind := c.start(t, nobody)
	_, err = blind.Find(t.Context(), "shop", "cart")
	wantsCode(t, err, problem.ClusterUnavailable, "get, list and watch")
	if strings.Contains(problem.Of(err).Message(), "nobody") {
		t.Errorf("a pod is told of podid's own rights in detail: %v", err)
	}
	_, _, err = blind.List(t.Context(), association.Filter{}, "", 10)
	wantsCode(t, err, problem.ClusterUnavailable)
}
