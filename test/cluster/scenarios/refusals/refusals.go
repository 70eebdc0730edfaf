// Package refusals is the scenario that its README tells.
package refusals

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/openpodidentity/podid"
	podidv1 "github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/problem"
	"github.com/openpodidentity/podid/test/cluster/lab"
	"github.com/openpodidentity/podid/test/kube"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

//go:embed README.md
var readme string

// Run runs it.
func Run(t *testing.T, l *lab.Lab) {
	s := l.Scenario(t, readme)
	s.OK(s.Account(s.Ctx(), s.Space, "cart"))
	s.OK(s.Account(s.Ctx(), s.Space, "kart"))

	s.Step("Malformed objects")
	for what, c := range map[string]struct{ spec, says string }{
		"a role that is no ARN": {`roleARN: cart`, "this is not the ARN of a role"},
		"a session's ARN":       {`roleARN: "arn:aws:sts::111122223333:assumed-role/cart/one"`, "ARN of a role session"},
		"an unknown field":      {`{roleARN: "arn:aws:iam::111122223333:role/cart", rolArn: x}`, "rolArn"},
		"a policy with tags":    {`{roleARN: "arn:aws:iam::111122223333:role/cart", policy: "{}"}`, "disableSessionTags"},
		"a policy in YAML":      {`{roleARN: "arn:aws:iam::111122223333:role/cart", disableSessionTags: true, policy: "Version: 1"}`, "begins with {"},
		"an annotation of 1 MB": {`roleARN: "arn:aws:iam::111122223333:role/cart"`, "annotations"},
	} {
		annotation := ""
		if strings.Contains(what, "1 MB") {
			annotation = strings.Repeat("x", 1<<20)
		}
		object := fmt.Sprintf("apiVersion: podid.dev/v1alpha1\nkind: PodIdentityAssociation\nmetadata: {name: kart, namespace: %s, annotations: {note: %q}}\nspec: {%s}\n",
			s.Space, annotation, strings.Trim(c.spec, "{}"))
		said, err := s.Apply(s.Ctx(), object)
		if err == nil || !strings.Contains(said, c.says) {
			t.Errorf("%s: %v, %.500s, which does not say %q", what, err, said, c.says)
		}
	}

	s.Step("An object that is well-formed and not permitted")
	_, err := s.Client.RbacV1().Roles(s.Space).Create(s.Ctx(), &rbac.Role{
		ObjectMeta: meta.ObjectMeta{Name: "associations"},
		Rules:      []rbac.PolicyRule{{APIGroups: []string{"podid.dev"}, Resources: []string{"*"}, Verbs: []string{"*"}}},
	}, meta.CreateOptions{})
	s.OK(err)
	_, err = s.Client.RbacV1().RoleBindings(s.Space).Create(s.Ctx(), &rbac.RoleBinding{
		ObjectMeta: meta.ObjectMeta{Name: "developer"}, RoleRef: rbac.RoleRef{Kind: "Role", Name: "associations"},
		Subjects: []rbac.Subject{{Kind: "User", Name: "developer"}},
	}, meta.CreateOptions{})
	s.OK(err)
	config, err := s.ConfigFor("developer")
	s.OK(err)
	developer, err := client.New(config, client.Options{Scheme: s.Objects.Scheme()})
	s.OK(err)
	object := &podidv1.PodIdentityAssociation{ObjectMeta: meta.ObjectMeta{Namespace: s.Space, Name: "kart"}}
	object.Spec.RoleARN = podidv1.RoleARN(lab.ARN("Admin"))
	if err := developer.Create(s.Ctx(), object); err == nil || !strings.Contains(err.Error(), "pass") {
		t.Errorf("a user without pass: %v", err)
	}

	s.Step("A token of another cluster")
	s.Bind("cart", "refusals")
	p := s.Pod("one", "cart", "node1")
	s.Refused(p, foreign(s, p), problem.TokenKeyUnknown)

	s.Step("A token for another audience")
	other, err := p.Token(s.Ctx(), "sts.amazonaws.com")
	s.OK(err)
	s.Refused(p, other, problem.TokenAudience)
	unbound, err := s.Token(s.Ctx(), s.Space, "cart", podid.AudiencePods, nil)
	s.OK(err)
	s.Refused(p, unbound, problem.TokenUnbound)
	s.Refused(p, "a.b.c", problem.TokenMalformed)
	s.Refused(p, strings.Repeat("x", 17_000), problem.TokenMalformed)

	s.Step("An association in another namespace")
	elsewhere := s.Space + "-other"
	s.Drops(elsewhere)
	p, err = s.StartPod(s.Ctx(), lab.PodSpec{Namespace: elsewhere, ServiceAccount: "cart", Name: "one", ByHand: true})
	s.OK(err)
	s.Refused(p, "", problem.AssociationMissing)
}

// foreign is a token of a pod of the same names in another cluster with the same issuer.
func foreign(s *lab.Scenario, p *lab.Pod) string {
	s.Helper()
	other, err := kube.Start(s.Ctx(), kube.Options{Progress: io.Discard})
	s.OK(err)
	defer func() { s.OK(other.Stop()) }()
	c, err := kubernetes.NewForConfig(other.Config())
	s.OK(err)
	_, err = c.CoreV1().Namespaces().Create(s.Ctx(), &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: p.Namespace}}, meta.CreateOptions{})
	s.OK(err)
	_, err = c.CoreV1().ServiceAccounts(p.Namespace).Create(s.Ctx(), &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: p.Spec.ServiceAccountName}}, meta.CreateOptions{})
	s.OK(err)
	twin, err := c.CoreV1().Pods(p.Namespace).Create(s.Ctx(), &core.Pod{
		ObjectMeta: meta.ObjectMeta{Name: p.Name},
		Spec:       core.PodSpec{ServiceAccountName: p.Spec.ServiceAccountName, Containers: []core.Container{{Name: "app", Image: lab.Image}}},
	}, meta.CreateOptions{})
	s.OK(err)
	minted, err := c.CoreV1().ServiceAccounts(p.Namespace).CreateToken(s.Ctx(), p.Spec.ServiceAccountName, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{
			Audiences:      []string{podid.AudiencePods},
			BoundObjectRef: &authentication.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: twin.Name, UID: twin.UID},
		},
	}, meta.CreateOptions{})
	s.OK(err)
	return minted.Status.Token
}
