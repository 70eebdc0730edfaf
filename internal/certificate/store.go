package certificate

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid/problem"
)

const (
	// AuthoritySecret keeps the authorities and the key of the one that issues.
	AuthoritySecret = "podid-ca"
	// RotateAnnotation, with any value, on that Secret has a new authority made at
	// once; it is gone when that was done.
	RotateAnnotation = "podid.dev/rotate"

	stateKey = "authorities.json"
	owner    = client.FieldOwner("podid-auth")
)

// Store keeps authorities and serving certificates in Secrets of a namespace.
type Store struct {
	// API reads from no cache: to act on what was is to issue twice.
	API       client.Client
	Namespace string
}

// Kept is the state as it was read, with what is needed to write the next one.
type Kept struct {
	State State
	// Forced says that a person asked for a new authority.
	Forced bool

	secret *corev1.Secret
}

// Load reads the authorities; none if there is no Secret. A Secret that cannot be
// understood is certificate-invalid, and stays as it is.
func (s *Store) Load(ctx context.Context) (Kept, error) {
	secret, err := s.secret(ctx, AuthoritySecret)
	if err != nil {
		return Kept{}, err
	}
	kept := Kept{secret: secret}
	_, kept.Forced = secret.Annotations[RotateAnnotation]
	if secret.UID == "" {
		return kept, nil
	}
	if kept.State, err = parseState(secret.Data[stateKey]); err != nil {
		return Kept{}, problem.New(problem.CertificateInvalid, "the Secret %s/%s cannot be understood", s.Namespace, AuthoritySecret).
			Because("it holds podid's certificate authorities, and somebody or something else wrote it").
			Fixed("kubectl delete secret %s -n %s: podid makes a new authority, and agents reach podid-auth again when the kubelet has brought them the new bundle, a minute or two later", AuthoritySecret, s.Namespace).From(err)
	}
	return kept, nil
}

// Save writes a state in the place of the one that was read. It fails if another wrote
// since: Load again then.
func (s *Store) Save(ctx context.Context, was Kept, state State) (Kept, error) {
	text, err := encodeState(state)
	if err != nil {
		return was, err
	}
	secret := was.secret.DeepCopy()
	delete(secret.Annotations, RotateAnnotation)
	secret.Data = map[string][]byte{stateKey: text}
	if err := s.write(ctx, secret); err != nil {
		return was, err
	}
	return Kept{State: state, secret: secret}, nil
}

// Serving reads a serving certificate; an empty one if there is no Secret.
func (s *Store) Serving(ctx context.Context, name string) (Serving, error) {
	secret, err := s.secret(ctx, name)
	if err != nil {
		return Serving{}, err
	}
	return Serving{Certificate: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey]}, nil
}

// SaveServing writes a serving certificate.
func (s *Store) SaveServing(ctx context.Context, name string, serving Serving) error {
	secret, err := s.secret(ctx, name)
	if err != nil {
		return err
	}
	if secret.UID == "" {
		secret.Type = corev1.SecretTypeTLS
	}
	secret.Data = map[string][]byte{corev1.TLSCertKey: serving.Certificate, corev1.TLSPrivateKeyKey: serving.Key}
	return s.write(ctx, secret)
}

// secret reads a Secret; one to be created, without UID, if there is none.
func (s *Store) secret(ctx context.Context, name string) (*corev1.Secret, error) {
	secret := new(corev1.Secret)
	err := s.API.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/part-of": "podid"},
		}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read secret %s: %w", name, err)
	}
	return secret, nil
}

// write creates what has no UID, and replaces what has in the version that was read.
func (s *Store) write(ctx context.Context, secret *corev1.Secret) error {
	var err error
	if secret.UID == "" {
		err = s.API.Create(ctx, secret, owner)
	} else {
		err = s.API.Update(ctx, secret, owner)
	}
	if err != nil {
		return fmt.Errorf("write secret %s: %w", secret.Name, err)
	}
	return nil
}

// Lost says that a write met another's.
func Lost(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }
