package policy

import "strings"

// keyClass says who can change the value of a condition key.
type keyClass int

const (
	given  keyClass = iota // whoever asks
	itself                 // nobody: it says exactly who asks
	tenant                 // it keeps tenants apart
	fixed                  // nobody: it says what kind of caller asks
)

var classes = map[string]keyClass{
	"aws:principalarn": itself, "aws:userid": itself, "aws:username": itself, "aws:sourcearn": itself, "aws:sourceaccount": itself,
	"aws:currenttime": itself, "aws:epochtime": itself,
	"aws:principalaccount": tenant, "aws:principalorgid": tenant, "aws:principalorgpaths": tenant, "aws:principaltype": fixed,
	"aws:principalisawsservice": fixed, "aws:viaawsservice": fixed, "aws:sourceorgid": tenant, "aws:sourceorgpaths": tenant,
	"aws:resourceorgid": tenant, "aws:resourceorgpaths": tenant, "aws:resourceaccount": tenant, "sts:externalid": tenant,
}

func classify(lower string) keyClass {
	switch {
	case isTag(lower):
		return tenant
	case strings.HasSuffix(lower, ":sub"):
		return itself
	}
	return classes[lower]
}

// isTag reports whether the key is of a tag.
func isTag(lower string) bool {
	return strings.HasPrefix(lower, "aws:principaltag/") || strings.HasPrefix(lower, "aws:requesttag/") || strings.HasPrefix(lower, "aws:resourcetag/")
}

// asking is the advice to ask with a value for which the condition holds.
func asking(req *Request, k *condition, wanted []string) string {
	needs := k.needs(wanted)
	tag, isPrincipalTag := principalTag(k.key.name)
	switch l := k.key.lower; {
	case isPrincipalTag:
		key := newContextKey(k.key.name)
		if (&context{req: req}).values(&key) == nil && !k.negated {
			return tagged(req, tag)
		}
		return "ask as a caller whose tag " + tag + " is " + needs
	case k.kind == null:
		if k.values[0].truth {
			return "leave " + k.key.name + " out of the request"
		}
		return "make the request carry " + k.key.name
	case l == "aws:securetransport":
		return "use HTTPS (aws:SecureTransport " + needs + ")"
	case l == "aws:multifactorauthpresent" && strings.Contains(needs, "true"):
		return "sign in with MFA, which a pod cannot (" + k.key.name + " " + needs + ")"
	case l == "aws:tokenissuetime":
		return "renew the session: its credentials must be issued " + needs
	case l == "aws:sourceip":
		return "call from " + needs
	case l == "aws:sourcevpce":
		return "call through the VPC endpoint " + needs
	case l == "aws:sourcevpc":
		return "call through an endpoint of the VPC " + needs
	case l == "aws:tagkeys":
		if k.quantifier == forAllValues {
			return "pass only tags with the keys " + quoted(wanted, "and")
		}
		return "pass a tag with the key " + needs
	case l == "aws:requestedregion":
		return "call the region " + needs
	case l == "sts:externalid":
		return "pass the external ID " + needs
	case l == "sts:rolesessionname":
		return "name the session " + needs
	case strings.HasPrefix(l, "s3:x-amz-"):
		return "send the header " + l[len("s3:"):] + ": " + needs
	case l == "s3:prefix":
		return "list with the prefix " + needs
	case strings.HasSuffix(l, ":aud"):
		return "ask for a token with the audience " + needs
	case classify(l) == tenant && !isTag(l):
		return "ask as a caller whose " + k.key.name + " is " + needs
	}
	return "make the request's " + k.key.name + " " + needs
}

// needs is what a value must be.
func (k *condition) needs(wanted []string) string {
	list := quoted(wanted, "or")
	word := map[comparison]string{less: "less than ", lessEqual: "at most ", greater: "more than ", greaterEqual: "at least "}[k.cmp]
	if k.kind == date {
		word = map[comparison]string{less: "before ", lessEqual: "until ", greater: "after ", greaterEqual: "from "}[k.cmp]
	}
	if k.negated {
		word = "anything but "
	}
	if k.quantifier == forAllValues {
		return "hold only " + word + list
	}
	return word + list
}

// ask is a change to the request: a value of key for which the condition holds.
func ask(key, operator string, wanted, example []string, text string) step {
	return step{
		Change: Change{Do: SetKey, Key: key, Operator: operator, Values: wanted, Text: text},
		ask: func(r *Request) {
			lower := asciiLower(key)
			for name := range r.Keys {
				if equalFold(name, lower) {
					delete(r.Keys, name)
				}
			}
			if example != nil {
				r.Keys[key] = example
			}
		},
	}
}
