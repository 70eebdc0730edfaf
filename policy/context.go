package policy

import (
	"slices"
	"strconv"
	"strings"
)

// contextKey is a condition key, compiled. Keys ignore case.
type contextKey struct {
	name        string // as written
	lower       string
	multivalued bool
}

func newContextKey(name string) contextKey {
	l := asciiLower(name)
	facts, _ := catalogued(l)
	return contextKey{name: name, lower: l, multivalued: facts.multivalued || slices.Contains(lists, l)}
}

func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// context is what one evaluation needs of a request.
type context struct {
	req *Request
	// bounded is set when the principal has a permissions boundary.
	bounded bool
}

// values are the values of a key, nil if it is not in the request.
func (c *context) values(k *contextKey) []string {
	if v, ok := c.req.Keys[k.name]; ok && len(v) > 0 {
		return v
	}
	var found []string
	var under string
	for name, v := range c.req.Keys {
		// Two spellings of one key: the first in order, so that the answer is always the same.
		if len(v) > 0 && equalFold(name, k.lower) && (found == nil || name < under) {
			found, under = v, name
		}
	}
	if found != nil {
		return found
	}
	return c.derived(k.lower)
}

func equalFold(s, lowered string) bool {
	if len(s) != len(lowered) {
		return false
	}
	for i := range len(s) {
		if lower(s[i]) != lowered[i] {
			return false
		}
	}
	return true
}

// derived are the keys that follow from the principal, the resource and other
// keys
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
// and reference_policies_variables.html#principaltable).
func (c *context) derived(key string) []string {
	p := &c.req.Principal
	switch key {
	case "aws:principalarn":
		if p.inIAM() {
			return present(p.identityARN())
		}
	case "aws:principalaccount":
		switch {
		case p.inIAM():
			return present(p.Account)
		case p.Kind == Anonymous:
			return []string{"anonymous"}
		}
	case "aws:principaltype":
		return present(principalTypes[p.Kind])
	case "aws:username":
		if p.Kind == User {
			return present(lastPart(p.ARN))
		}
	case "aws:userid":
		switch p.Kind {
		case Root:
			return present(p.Account)
		case FederatedUser:
			return []string{p.Account + ":" + lastPart(p.ARN)}
		case Anonymous:
			return []string{"anonymous"}
		}
	case "aws:principalisawsservice":
		if p.Kind != Anonymous && p.Kind != Federated { // in signed requests alone
			return []string{strconv.FormatBool(p.Kind == Service)}
		}
	case "aws:principalservicename":
		if p.Kind == Service {
			return present(p.ARN)
		}
	case "aws:federatedprovider":
		if p.Kind == Federated && !strings.Contains(p.ARN, ":saml-provider/") {
			return present(p.ARN)
		}
	case "aws:resourceaccount":
		return present(c.req.resourceAccount())
	case "aws:calledviafirst":
		if chain := c.values(&calledVia); chain != nil {
			return chain[:1]
		}
	case "aws:calledvialast":
		if chain := c.values(&calledVia); chain != nil {
			return chain[len(chain)-1:]
		}
	case "aws:viaawsservice":
		return []string{strconv.FormatBool(c.values(&calledVia) != nil)}
	case "aws:tagkeys":
		return c.tagKeys()
	}
	return nil
}

var calledVia = newContextKey("aws:CalledVia")

var principalTypes = map[PrincipalKind]string{
	Root: "Account", User: "User", AssumedRole: "AssumedRole", FederatedUser: "FederatedUser", Anonymous: "Anonymous",
}

// lastPart is the name at the end of an ARN.
func lastPart(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// tagKeys are the keys of the tags that the request passes, in order.
func (c *context) tagKeys() (keys []string) {
	const prefix = "aws:requesttag/"
	for name, v := range c.req.Keys {
		if len(v) > 0 && len(name) > len(prefix) && equalFold(name[:len(prefix)], prefix) {
			keys = append(keys, name[len(prefix):])
		}
	}
	slices.Sort(keys)
	return keys
}

func present(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// identityARN is the value of aws:PrincipalArn: for a session that of its role.
func (p *Principal) identityARN() string {
	if p.Kind == AssumedRole {
		return p.RoleARN
	}
	return p.ARN
}

func (r *Request) resourceAccount() string {
	if r.ResourceAccount != "" {
		return r.ResourceAccount
	}
	if account := accountOf(r.Resource); accountID.MatchString(account) { // not "aws"
		return account
	}
	return r.Principal.Account
}

// accountOf is the fifth part of an ARN.
func accountOf(arn string) string {
	for range 4 {
		_, arn, _ = strings.Cut(arn, ":")
	}
	account, _, _ := strings.Cut(arn, ":")
	return account
}
