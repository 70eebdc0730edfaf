package accesskey_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/openpodidentity/podid/internal/accesskey"
	"github.com/openpodidentity/podid/problem"
)

var deployer = accesskey.Account{Namespace: "shop", Name: "deployer", UID: "7d0f"}

func TestAKeySurvivesBeingASecret(t *testing.T) {
	want := accesskey.New(deployer)
	got, err := accesskey.Read(accesskey.Object("podid-system", want))
	if err != nil || got != want {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if other := accesskey.New(deployer); other.ID == want.ID || other.Secret == want.Secret {
		t.Error("two keys are the same")
	}
}

func TestAKeyDoesNotPrintItsSecret(t *testing.T) {
	key := accesskey.New(deployer)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("made", "key", key)
	for _, text := range []string{fmt.Sprint(key), fmt.Sprintf("%+v %#v %s %q", key, key, key, key), log.String()} {
		if strings.Contains(text, key.Secret) {
			t.Errorf("printed: %s", text)
		}
	}
}

func TestKeysBelongToServiceAccountsAlone(t *testing.T) {
	for _, name := range []string{
		"", "shop", "shop/", "/deployer", "shop/deployer/x", "shop/deployer\n", "Shop/deployer", "shop/*", "*/*",
		"system:serviceaccount:shop:deployer", "shop/system:admin", "system:masters", "system:node:a/b", "alice@example.com",
		strings.Repeat("n", 64) + "/deployer", "shop/" + strings.Repeat("n", 254),
	} {
		if _, err := accesskey.ParseAccount(name); !problem.Is(err, problem.RequestInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	got, err := accesskey.ParseAccount("shop/deployer.v2")
	if err != nil || got.User() != "system:serviceaccount:shop:deployer.v2" {
		t.Errorf("%v, %v", got, err)
	}
	if groups := fmt.Sprint(got.Groups()); groups != "[system:serviceaccounts system:serviceaccounts:shop system:authenticated]" {
		t.Errorf("groups %s", groups)
	}
}

func TestASecretThatIsNoKeyIsNone(t *testing.T) {
	for name, spoil := range map[string]func(*corev1.Secret){
		"another type":               func(o *corev1.Secret) { o.Type = corev1.SecretTypeOpaque },
		"another's name":             func(o *corev1.Secret) { o.Name = strings.ToLower(accesskey.New(deployer).ID) },
		"no ID":                      func(o *corev1.Secret) { delete(o.Data, "access-key-id") },
		"a lower-case ID":            func(o *corev1.Secret) { o.Data["access-key-id"] = []byte(o.Name) },
		"no secret":                  func(o *corev1.Secret) { delete(o.Data, "secret-access-key") },
		"a secret that can be tried": func(o *corev1.Secret) { o.Data["secret-access-key"] = []byte("hunter2") },
		"a long secret":              func(o *corev1.Secret) { o.Data["secret-access-key"] = make([]byte, 1<<20) },
		"no account":                 func(o *corev1.Secret) { o.Annotations = nil },
		"an account of 1 MB":         func(o *corev1.Secret) { o.Annotations["podid.dev/service-account"] = strings.Repeat("a", 1<<20) },
		"a user":                     func(o *corev1.Secret) { o.Annotations["podid.dev/service-account"] = "system:admin" },
	} {
		o := accesskey.Object("podid-system", accesskey.New(deployer))
		spoil(o)
		_, err := accesskey.Read(o)
		if !problem.Is(err, problem.RequestInvalid) {
			t.Errorf("%s: %v", name, err)
		} else if len(err.Error()) > 1000 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
}

func FuzzParseAccount(f *testing.F) {
	for _, seed := range []string{"shop/deployer", "system:masters", "a/b.c", "/", "a/b/c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		account, err := accesskey.ParseAccount(s)
		if err != nil {
			return
		}
		if account.String() != s || strings.ContainsAny(s, ":* \n") || strings.Count(s, "/") != 1 {
			t.Errorf("%q is taken for %q", s, account)
		}
	})
}

func FuzzRead(f *testing.F) {
	made := accesskey.New(deployer)
	f.Add(strings.ToLower(made.ID), deployer.String(), made.ID, made.Secret)
	f.Add("a", "", "", "short")
	f.Fuzz(func(t *testing.T, name, account, id, secret string) {
		kept := func(secret string) *corev1.Secret {
			o := accesskey.Object("podid-system", accesskey.Key{ID: id, Secret: secret, Account: deployer})
			o.Name, o.Annotations[accesskey.AccountAnnotation] = name, account
			return o
		}
		key, err := accesskey.Read(kept(secret))
		if err != nil {
			if _, other := accesskey.Read(kept(strings.Repeat("x", len(secret)))); other == nil || other.Error() != err.Error() {
				t.Errorf("the error depends on the secret: %v", err)
			}
			return
		}
		if again := accesskey.Object("podid-system", key); key.Secret != secret || key.Account.String() != account || again.Name != name {
			t.Errorf("%s of %q is read as %v", id, account, key)
		}
	})
}
