package policy

import "strings"

// contextKey is a condition key, compiled. Keys ignore case.
type contextKey struct {
	name        string // as written
	lower       string
	multivalued bool
}

func newContextKey(name string) contextKey {
	l := asciiLower(name)
	facts, _ := catalogued(l)
	return contextKey{name: name, lower: l, multivalued: facts.multivalued}
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

// derived are the keys that follow from the principal and the resource
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html).
func (c *context) derived(key string) []string {
	p := &c.req.Principal
	iam := p.Kind == Root || p.Kind == User || p.Kind == AssumedRole
	switch key {
	case "aws:principalarn":
		if iam {
			return present(p.identityARN())
		}
	case "aws:principalaccount":
		if iam {
			return present(p.Account)
		}
	case "aws:principaltype":
		switch p.Kind {
		case Root:
			return []string{"Account"}
		case User:
			return []string{"User"}
		case AssumedRole:
			return []string{"AssumedRole"}
		case Anonymous:
			return []string{"Anonymous"}
		}
	case "aws:username":
		if p.Kind == User {
			return present(p.ARN[strings.LastIndexByte(p.ARN, '/')+1:])
		}
	case "aws:principalisawsservice":
		if p.Kind == Service {
			return []string{"true"}
		}
		return []string{"false"}
	case "aws:principalservicename":
		if p.Kind == Service {
			return present(p.ARN)
		}
	case "aws:resourceaccount":
		return present(c.req.resourceAccount())
	}
	return nil
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
	return r.Principal.Account
}
