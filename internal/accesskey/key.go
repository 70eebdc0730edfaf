package accesskey

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"log/slog"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openpodidentity/podid/problem"
)

// How a key is kept: as a Secret of this type, named after the key ID in lower case, so
// that no two have the same ID.
const (
	Type              = corev1.SecretType("podid.dev/access-key")
	AccountAnnotation = "podid.dev/service-account"
	UIDAnnotation     = "podid.dev/service-account-uid"

	idField     = "access-key-id"
	secretField = "secret-access-key"
)

// Key is an access key. It does not print its secret.
type Key struct {
	ID      string
	Secret  string
	Account Account
}

// LogValue implements slog.LogValuer.
func (k Key) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", k.ID), slog.String("account", k.Account.String()))
}

// String implements fmt.Stringer.
func (k Key) String() string { return k.ID + " of " + k.Account.String() }

// GoString implements fmt.GoStringer.
func (k Key) GoString() string { return k.String() }

// keyID is AWS's pattern within what a Secret can be named after
// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_AccessKey.html).
var keyID = regexp.MustCompile(`^[A-Z0-9]{16,128}$`)

// New makes a key for an account.
func New(account Account) Key {
	var id [10]byte
	var secret [30]byte
	_, _ = rand.Read(id[:]) // never fails
	_, _ = rand.Read(secret[:])
	return Key{
		ID:      "PKID" + base32.StdEncoding.EncodeToString(id[:]), // 20 characters, as AWS's
		Secret:  base64.StdEncoding.EncodeToString(secret[:]),      // 40
		Account: account,
	}
}

// Object is the Secret that keeps k, to be created.
func Object(namespace string, k Key) *corev1.Secret {
	o := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: objectName(k.ID),
			Annotations: map[string]string{AccountAnnotation: k.Account.String()},
			Labels:      map[string]string{"app.kubernetes.io/part-of": "podid"},
		},
		Type: Type,
		Data: map[string][]byte{idField: []byte(k.ID), secretField: []byte(k.Secret)},
	}
	if k.Account.UID != "" {
		o.Annotations[UIDAnnotation] = k.Account.UID
	}
	return o
}

func objectName(id string) string { return strings.ToLower(id) }

// Read is the key that a Secret keeps. An error says why it is none, and nothing of what
// is in it.
func Read(o *corev1.Secret) (Key, error) {
	bad := func(format string, args ...any) error {
		return problem.New(problem.RequestInvalid, "the Secret %s/%s is no access key", o.Namespace, o.Name).
			Because(format, args...).
			Fixed("make one: podid access-key create --service-account NAMESPACE/NAME")
	}
	id, secret := string(o.Data[idField]), string(o.Data[secretField])
	switch {
	case o.Type != Type:
		return Key{}, bad("its type is not %s", Type)
	case !keyID.MatchString(id):
		return Key{}, bad("its %s is not 16 to 128 of A-Z and 0-9", idField)
	case o.Name != objectName(id):
		return Key{}, bad("it is not named after its %s, in lower case", idField)
	case len(secret) < 16 || len(secret) > 1024:
		return Key{}, bad("its %s has %d characters, not 16 to 1024", secretField, len(secret))
	}
	account, err := ParseAccount(o.Annotations[AccountAnnotation])
	if err != nil {
		return Key{}, bad("its annotation %s is not a service account, NAMESPACE/NAME", AccountAnnotation)
	}
	account.UID = o.Annotations[UIDAnnotation]
	return Key{ID: id, Secret: secret, Account: account}, nil
}
