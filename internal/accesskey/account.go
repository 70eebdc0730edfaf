package accesskey

import (
	"regexp"
	"strings"

	"github.com/openpodidentity/podid/problem"
)

// Account is the service account that a key belongs to.
type Account struct {
	Namespace, Name string
	// UID of the account that the key was made for: one of the same name that is made
	// later is another. Empty where nobody noted it.
	UID string
}

// accountName is what the policy access-key.podid.dev takes: neither users and groups nor
// a system: name can be written so.
var accountName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// ParseAccount reads NAMESPACE/NAME.
func ParseAccount(s string) (Account, error) {
	namespace, name, _ := strings.Cut(s, "/")
	if len(name) > 253 || !accountName.MatchString(s) {
		return Account{}, problem.New(problem.RequestInvalid, "%.100q is not a service account, NAMESPACE/NAME", s).
			Because("access keys belong to service accounts, never to users, groups or system: names").
			Fixed("name the service account, such as shop/deployer")
	}
	return Account{Namespace: namespace, Name: name}, nil
}

// String is NAMESPACE/NAME.
func (a Account) String() string { return a.Namespace + "/" + a.Name }

// User is the account's name as a user, and Groups are its groups, as Kubernetes
// authenticates it
// (https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/).
func (a Account) User() string { return "system:serviceaccount:" + a.Namespace + ":" + a.Name }

// Groups of the account.
func (a Account) Groups() []string {
	return []string{"system:serviceaccounts", "system:serviceaccounts:" + a.Namespace, "system:authenticated"}
}
