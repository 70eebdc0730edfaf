package accesskey_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/accesskey"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/association/memory"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/problem"
)

const (
	reader = "arn:aws:iam::111122223333:role/reader"
	writer = "arn:aws:iam::111122223333:role/team/writer"
	target = "arn:aws:iam::444455556666:role/it's/target"
)

// world is a door whose API server allows what grants says; test/kube has a real one.
type world struct {
	*accesskey.Door
	store  association.Store
	key    accesskey.Key
	grants map[string]bool // "VERB NAMESPACE/NAME" and "pass ARN"
	asked  []authorizationv1.SubjectAccessReviewSpec
	away   bool
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	w := &world{key: accesskey.New(deployer), grants: map[string]bool{}}
	objects = append(objects, accesskey.Object("podid-system", w.key),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "deployer", UID: "7d0f"}})
	api := interceptor.NewClient(fake.NewClientBuilder().WithObjects(objects...).Build(), interceptor.Funcs{
		Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
			if w.away {
				return errors.New("connection refused")
			}
			review := o.(*authorizationv1.SubjectAccessReview)
			w.asked = append(w.asked, review.Spec)
			a := review.Spec.ResourceAttributes
			question := a.Verb + " " + a.Namespace + "/" + a.Name
			if a.Resource == "iamroles" {
				question = a.Verb + " " + a.Name
			}
			review.Status.Allowed = w.grants[question]
			return nil
		},
	})
	w.Door = &accesskey.Door{Namespace: "podid-system", Region: "eu-central-1", Keys: api, API: api}
	inner, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.store = w.Store(inner)
	return w
}

// request is one signed with key.
func (w *world) request(t *testing.T, key accesskey.Key, service string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://podid-eks.podid-system.svc/clusters", http.NoBody)
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}, r, empty, service, "eu-central-1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// proved is the context of a request that the door has let in.
func (w *world) proved(t *testing.T) context.Context {
	t.Helper()
	r := w.request(t, w.key, "eks")
	if err := w.Access(r, "", ""); err != nil {
		t.Fatal(err)
	}
	if caller := accesskey.Caller(r); caller != "shop/deployer" {
		t.Errorf("caller %q", caller)
	}
	return r.Context()
}

func TestOnlyWhoSignsWithAKeyComesIn(t *testing.T) {
	elsewhere := accesskey.New(deployer)
	orphan := accesskey.New(accesskey.Account{Namespace: "shop", Name: "gone"})
	successor := accesskey.New(accesskey.Account{Namespace: "shop", Name: "deployer", UID: "of the one before"})
	w := newWorld(t, accesskey.Object("shop", elsewhere), accesskey.Object("podid-system", orphan), accesskey.Object("podid-system", successor))
	w.proved(t)
	wrong := w.key
	wrong.Secret = orphan.Secret
	for name, test := range map[string]struct {
		key     accesskey.Key
		service string
		code    string
	}{
		"another secret":                  {wrong, "eks", "InvalidSignatureException"},
		"an unknown key":                  {accesskey.New(deployer), "eks", "UnrecognizedClientException"},
		"a key of another namespace":      {elsewhere, "eks", "UnrecognizedClientException"},
		"an ID that is a path":            {accesskey.Key{ID: "../../../AAAAAAAAAAAAAAA", Secret: "x"}, "eks", "IncompleteSignatureException"},
		"another service":                 {w.key, "eks-auth", "InvalidSignatureException"},
		"an account that is gone":         {orphan, "eks", "permission-denied"},
		"an account that was made again":  {successor, "eks", "permission-denied"},
		"the service account of the name": {accesskey.Key{ID: "system:serviceaccount:shop:deployer", Secret: "x"}, "eks", "IncompleteSignatureException"},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.request(t, test.key, test.service)
			err := w.Access(r, "", "")
			got := ""
			if p := problem.Of(err); problem.Is(err, problem.PermissionDenied) {
				got = string(p.Code)
			} else if err != nil {
				got = awswire.AsError(err).Code
			}
			if got != test.code || accesskey.Caller(r) != "" {
				t.Errorf("%s (%v), caller %q; want %s", got, err, accesskey.Caller(r), test.code)
			}
		})
	}
	if err := w.Access(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/clusters", http.NoBody), "", ""); awswire.AsError(err).Code != "MissingAuthenticationToken" {
		t.Errorf("unsigned: %v", err)
	}
}

func TestEachStepIsReviewedForTheKeysAccount(t *testing.T) {
	w := newWorld(t)
	ctx := w.proved(t)
	allow := func(questions ...string) {
		w.grants = map[string]bool{}
		for _, question := range questions {
			w.grants[question] = true
		}
	}
	a := podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader, Target: target}
	passBoth := []string{"pass " + reader, "pass " + target}
	denied := func(does string, err error, says string) {
		t.Helper()
		if !problem.Is(err, problem.PermissionDenied) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", does, err)
		}
	}

	allow(passBoth...)
	_, err := w.store.Create(ctx, a)
	denied("create without the verb", err, "may not create podidentityassociations in namespace shop")
	allow("create shop/", "pass "+reader)
	_, err = w.store.Create(ctx, a)
	denied("create without pass on the target", err, `"resourceNames":["arn:aws:iam::444455556666:role/it'\''s/target"]`)
	allow(append(passBoth, "create shop/")...)
	made, err := w.store.Create(ctx, a)
	if err != nil {
		t.Fatal(err)
	}

	id := made.ID()
	retag := func(a *podid.Association) error { a.Tags = map[string]string{"a": "b"}; return nil }
	allow(passBoth...)
	_, err = w.store.Get(ctx, id)
	_, unknown := w.store.Get(ctx, "a-00000000000000000")
	if !problem.Is(err, problem.AssociationNotFound) || strings.ReplaceAll(problem.Of(err).Message(), id, "") != strings.ReplaceAll(problem.Of(unknown).Message(), "a-00000000000000000", "") {
		t.Errorf("who may not get learns that it exists:\n%v\n%v", err, unknown)
	}
	allow("get shop/cart", "patch shop/cart")
	_, err = w.store.Update(ctx, id, retag)
	denied("a change of tags without pass", err, "may not pass "+reader)
	if _, err = w.store.Update(ctx, id, func(*podid.Association) error { return nil }); err != nil {
		t.Errorf("an update that changes nothing: %v", err)
	}
	allow("get shop/cart", "patch shop/cart", "pass "+reader, "pass "+target)
	_, err = w.store.Update(ctx, id, func(a *podid.Association) error { a.Role = writer; return nil })
	denied("another role", err, "may not pass "+writer)
	if _, err = w.store.Update(ctx, id, retag); err != nil {
		t.Error(err)
	}
	allow(append(passBoth, "get shop/cart")...)
	_, err = w.store.Update(ctx, id, retag)
	denied("update without the verb", err, "may not patch")
	_, err = w.store.Delete(ctx, id)
	denied("delete without the verb", err, "may not delete")

	allow("list shop/")
	_, _, err = w.store.List(ctx, association.Filter{}, "", 10)
	denied("list of all", err, "may not list podidentityassociations in all namespaces")
	if page, _, err := w.store.List(ctx, association.Filter{Namespace: "shop"}, "", 10); err != nil || len(page) != 1 {
		t.Errorf("list: %v, %v", page, err)
	}
	allow("get shop/cart", "delete shop/cart")
	if _, err := w.store.Delete(ctx, id); err != nil {
		t.Error(err)
	}

	for _, spec := range w.asked {
		if spec.User != "system:serviceaccount:shop:deployer" || len(spec.Groups) != 3 || spec.UID != "7d0f" {
			t.Fatalf("asked for %+v", spec)
		}
		if at := spec.ResourceAttributes; at.Verb == "pass" && (at.Namespace != "" || at.Group != "iam.podid.dev") {
			t.Fatalf("another question than the policy's: %+v", at)
		}
	}
}

func TestAClientTokenTellsNothingOfOtherNamespaces(t *testing.T) {
	w := newWorld(t)
	ctx := w.proved(t)
	w.grants = map[string]bool{"create other/": true, "create shop/": true, "pass " + reader: true}
	token := strings.Repeat("t", 36)
	if _, err := w.store.Create(ctx, podid.Association{Namespace: "other", ServiceAccount: "cart", Role: reader, ClientToken: token}); err != nil {
		t.Fatal(err)
	}
	got, err := w.store.Create(ctx, podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: reader, ClientToken: token})
	if !problem.Is(err, problem.PermissionDenied) || got.UID != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWhatCannotBeAskedIsNotAllowed(t *testing.T) {
	w := newWorld(t)
	ctx := w.proved(t)
	w.grants["list shop/"] = true
	w.away = true
	if _, _, err := w.store.List(ctx, association.Filter{Namespace: "shop"}, "", 10); !problem.Is(err, problem.ClusterUnavailable) {
		t.Errorf("the API server is away: %v", err)
	}
	w.away = false
	if _, _, err := w.store.List(t.Context(), association.Filter{Namespace: "shop"}, "", 10); err == nil {
		t.Error("nobody was proved, and the associations are listed")
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	if err := w.PassRole(r, reader); err == nil {
		t.Error("nobody was proved, and may pass a role")
	}
}
