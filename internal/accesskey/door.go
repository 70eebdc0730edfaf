package accesskey

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/informer"
	"github.com/openpodidentity/podid/internal/sigv4"
	"github.com/openpodidentity/podid/problem"
)

// Door admits the requests of one cluster's EKS API.
type Door struct {
	// Namespace is podid's own: keys elsewhere are none.
	Namespace string
	// Region is the one that requests are signed for.
	Region string
	// Keys reads Secrets; nobody who merely sends requests should cost the API server
	// anything, so it reads from memory ([Informer]).
	Keys client.Reader
	// API reads service accounts and creates reviews; not from memory.
	API client.Client
}

// Informer is memory of the access keys of a namespace alone. It is read once it has been
// started.
func Informer(config *rest.Config, namespace string) (cache.Cache, error) {
	known := runtime.NewScheme()
	if err := corev1.AddToScheme(known); err != nil {
		return nil, fmt.Errorf("know secrets: %w", err)
	}
	keys, err := cache.New(config, cache.Options{
		Scheme:           known,
		NewInformer:      informer.New,
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: {
			Namespaces: map[string]cache.Config{namespace: {FieldSelector: fields.OneTermEqualSelector("type", string(Type))}},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("follow access keys: %w", err)
	}
	return keys, nil
}

type callerKey struct{}

// Access proves who sent r: the request then carries the account, and the verified
// payload. What the account may do is asked when it is known what of: by [Door.Store].
// It is an eksapi.Access.
func (d *Door) Access(r *http.Request, _, _ string) error { return d.prove(r, "eks") }

// prove proves who signed r for a service of the cluster's region.
func (d *Door) prove(r *http.Request, service string) error {
	verifier := sigv4.Verifier{Service: service, Region: d.Region, Lookup: d.lookup}
	verified, err := verifier.Verify(r)
	if err != nil {
		return err
	}
	key, err := d.key(r.Context(), verified.AccessKeyID)
	if err != nil {
		return err
	}
	if err := d.exists(r.Context(), key.Account); err != nil {
		return err
	}
	*r = *r.WithContext(context.WithValue(r.Context(), callerKey{}, key.Account))
	return nil
}

// Caller is the account that a request was proved to be of, empty before that.
func Caller(r *http.Request) string {
	if account, ok := r.Context().Value(callerKey{}).(Account); ok {
		return account.String()
	}
	return ""
}

// PassRole is the same question that the policy pass-role.podid.dev asks. It is an
// eksapi.PassRole.
func (d *Door) PassRole(r *http.Request, role podid.RoleARN) error {
	return d.pass(r.Context(), role)
}

// lookup is for the verifier. Sessions have no keys here, and a key with a session token
// is refused by the verifier.
func (d *Door) lookup(ctx context.Context, id, _ string) (sigv4.Key, error) {
	key, err := d.key(ctx, id)
	if err != nil {
		return sigv4.Key{}, err
	}
	return sigv4.Key{Secret: key.Secret}, nil
}

func (d *Door) key(ctx context.Context, id string) (Key, error) {
	if !keyID.MatchString(id) {
		return Key{}, sigv4.ErrUnknownKey
	}
	var o corev1.Secret
	switch err := d.Keys.Get(ctx, types.NamespacedName{Namespace: d.Namespace, Name: objectName(id)}, &o); {
	case apierrors.IsNotFound(err):
		return Key{}, sigv4.ErrUnknownKey
	case err != nil:
		return Key{}, fmt.Errorf("read access key: %w", err)
	}
	key, err := Read(&o)
	if err != nil {
		// Not wrapped: who holds no key learns nothing of a Secret.
		return Key{}, fmt.Errorf("%w: %v", sigv4.ErrUnknownKey, err) //nolint:errorlint // see above
	}
	return key, nil
}

// exists refuses keys that outlived their account: RBAC goes on naming it, and one of the
// same name that is made later may be somebody else's.
func (d *Door) exists(ctx context.Context, account Account) error {
	var o corev1.ServiceAccount
	err := d.API.Get(ctx, types.NamespacedName{Namespace: account.Namespace, Name: account.Name}, &o)
	switch {
	case apierrors.IsNotFound(err), err == nil && account.UID != "" && account.UID != string(o.UID):
		return problem.New(problem.PermissionDenied, "the service account %s of this access key does not exist any more", account).
			Because("it was deleted, and one of the same name would be another").
			Fixed("make a key of one that exists: podid access-key create --service-account NAMESPACE/NAME")
	case err != nil:
		return unreviewed(ctx, err)
	}
	return nil
}

// unreviewed is the problem of what could not be asked: no refusal, and no permission.
func unreviewed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("review access: %w", ctx.Err())
	}
	return problem.New(problem.ClusterUnavailable, "it cannot be asked what the service account may do").
		Because("the API server does not answer, or answers with an error").
		Fixed("look at the API server and at podid's connection to it, and try again").From(err)
}

var errUnproved = errors.New("nobody was proved to send this request")
