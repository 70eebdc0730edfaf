package oracle_test

import (
	"math/big"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// difference is one that is explained. rewrite says in other words what the
// simulator sees differently, so that its meaning to AWS stays as it is, and
// reports whether there was anything to rewrite; if the simulator agrees after
// it, nothing else was the difference.
type difference struct {
	slug    string
	why     string
	source  string // AWS's page
	rewrite func(*question) bool
	rare    string // a case that shows it, if a default run need not
}

const guide = "https://docs.aws.amazon.com/IAM/latest/UserGuide/"

var explained = []difference{
	{
		slug:   "ipv4-mapped-address",
		why:    "an IPv4-mapped IPv6 address is the IPv4 address; the simulator takes it for another one",
		source: guide + "reference_policies_elements_condition_operators.html",
		rewrite: conditions(func(c *condition) bool {
			return c.family == "IP" && (anyOf(c.found, mapped) || anyOf(c.wanted, mapped))
		}, unmapped),
	},
	{
		slug:   "ipv6-spelling",
		why:    "one IPv6 address has many spellings; the simulator compares single addresses as text",
		source: guide + "reference_policies_elements_condition_operators.html",
		rewrite: conditions(func(c *condition) bool {
			return c.family == "IP" && anyOf(c.wanted, func(want string) bool {
				return anyOf(c.found, func(have string) bool {
					a, single, _ := address(want)
					b, also, _ := address(have)
					return single && also && a == b && want != have
				})
			})
		}, canonical),
	},
	{
		slug:   "ipv6-host-bits",
		why:    "AWS does not say what an IPv6 range with host bits is; here it never matches, the simulator ignores the bits",
		source: guide + "reference_policies_elements_condition_operators.html",
		rewrite: conditions(func(c *condition) bool {
			return c.family == "IP" && anyOf(c.wanted, func(s string) bool {
				p, err := netip.ParsePrefix(s)
				return err == nil && p.Addr().Is6() && p.Masked() != p
			})
		}, func(c *condition, s string) []string {
			if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is6() && p.Masked() != p {
				return []string{"100::/128"}
			}
			return nil
		}),
	},
	{
		slug:   "every-ipv4-address",
		why:    "0.0.0.0/0 is every IPv4 address; to the simulator it is 0.0.0.0 alone",
		source: guide + "reference_policies_elements_condition_operators.html",
		rewrite: conditions(func(c *condition) bool {
			return c.family == "IP" && anyOf(c.wanted, func(s string) bool { return strings.HasSuffix(s, ".0/0") })
		}, func(c *condition, s string) []string {
			if s == "0.0.0.0/0" {
				return []string{"0.0.0.0/1", "128.0.0.0/1"}
			}
			return nil
		}),
	},
	{
		slug:   "not-an-address-of-the-other-family",
		why:    "an IPv6 address is not the IPv4 address 10.1.2.3, so NotIpAddress holds; the simulator says so of ranges only",
		source: guide + "reference_policies_elements_condition_operators.html",
		rewrite: conditions(func(c *condition) bool {
			return c.operator == "NotIpAddress" && anyOf(c.wanted, func(want string) bool {
				return anyOf(c.found, func(have string) bool {
					a, single, _ := address(want)
					b, also, _ := address(have)
					return single && also && a.Is4() != b.Is4()
				})
			})
		}, func(c *condition, s string) []string {
			if a, single, _ := address(s); single && c.inPolicy {
				return []string{netip.PrefixFrom(a, a.BitLen()).String()}
			}
			return nil
		}),
	},
	{
		slug:   "epoch-seconds",
		why:    "a date may be seconds since 1970, and equals the same date in letters; the simulator counts the letters' date in milliseconds",
		source: guide + "reference_policies_elements_condition_operators.html",
		rewrite: conditions(func(c *condition) bool {
			return c.family == "Date" && (anyOf(c.found, digits.MatchString) || anyOf(c.wanted, digits.MatchString))
		}, func(c *condition, s string) []string {
			if seconds, err := strconv.ParseInt(s, 10, 64); err == nil && digits.MatchString(s) && seconds < 1e11 {
				return []string{time.Unix(seconds, 0).UTC().Format(time.RFC3339)}
			}
			return nil
		}),
	},
	{
		slug:   "four-digits-are-a-year",
		why:    "AWS allows W3C dates, of which YYYY is one, and seconds since 1970, and does not say what four digits are; here a year, there seconds",
		source: guide + "reference_policies_elements_condition_operators.html",
		rare: `{"principal": "user", "action": "s3:GetObject", "resource-arn": "arn:aws:s3:::b/k", "resource-account": "111122223333", "keys": {"aws:CurrentTime": ["2025-01-01T00:00:00Z"]},
			"identity": [{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"DateLessThan": {"aws:CurrentTime": "2026"}}}]}]}`,
		rewrite: conditions(func(c *condition) bool {
			return c.family == "Date" && (anyOf(c.found, year.MatchString) || anyOf(c.wanted, year.MatchString))
		}, func(c *condition, s string) []string {
			if year.MatchString(s) {
				return []string{s + "-01-01T00:00:00Z"}
			}
			return nil
		}),
	},
	{
		slug:   "dates-of-javascript",
		why:    "2026-05-01 00:00:00 and 2026-02-30 are no W3C dates; JavaScript takes them",
		source: guide + "reference_policies_elements_condition_operators.html",
		rewrite: conditions(func(c *condition) bool {
			return c.family == "Date" && anyOf(c.found, func(s string) bool {
				return s != "" && !date.MatchString(s) || s == "2026-02-30"
			})
		}, func(c *condition, s string) []string {
			if !c.inPolicy && s != "" && !date.MatchString(s) || s == "2026-02-30" || s == "2026-13-01" {
				return none
			}
			return nil
		}),
	},
	{
		slug:   "numbers-with-a-tail",
		why:    "12abc and 1,0 are no numbers; JavaScript reads as far as it can",
		source: guide + "reference_policies_elements_condition_operators.html",
		rewrite: conditions(func(c *condition) bool {
			return c.family == "Number" && anyOf(c.found, func(s string) bool { return beginsAsNumber.MatchString(s) && !number.MatchString(s) })
		}, func(c *condition, s string) []string {
			if !number.MatchString(s) {
				return none
			}
			return nil
		}),
	},
	{
		slug:   "numbers-with-an-exponent",
		why:    "1e1 is ten; the simulator reads 1",
		source: guide + "reference_policies_elements_condition_operators.html",
		rewrite: conditions(func(c *condition) bool {
			return c.family == "Number" && (anyOf(c.found, exponent.MatchString) || anyOf(c.wanted, exponent.MatchString))
		}, func(c *condition, s string) []string {
			if r, ok := new(big.Rat).SetString(s); ok && number.MatchString(s) {
				return []string{r.FloatString(2)}
			}
			return nil
		}),
	},
	{
		slug:   "numbers-of-many-digits",
		why:    "99999999999999999999 is more than 99999999999999999998; to a floating-point number they are one",
		source: guide + "reference_policies_elements_condition_operators.html",
		rare: `{"principal": "user", "action": "s3:GetObject", "resource-arn": "arn:aws:s3:::b/k", "resource-account": "111122223333", "keys": {"aws:MultiFactorAuthAge": ["99999999999999999999"]},
			"identity": [{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"NumericGreaterThan": {"aws:MultiFactorAuthAge": "99999999999999999998"}}}]}]}`,
		rewrite: conditions(func(c *condition) bool {
			return c.family == "Number" && anyOf(c.found, func(s string) bool { return len(s) > 15 }) && anyOf(c.wanted, func(s string) bool { return len(s) > 15 })
		}, nil),
	},
	{
		slug:   "negated-with-a-variable-without-value",
		why:    "nothing equals a variable without a value, so that negated operators hold; to the simulator they do not",
		source: guide + "reference_policies_variables.html#policy-vars-no-value",
		rewrite: conditions(func(c *condition) bool {
			return c.negated() && c.missing()
		}, func(c *condition, s string) []string {
			switch {
			case !c.inPolicy || !c.q.unfilled(s):
				return nil
			case c.family == "ARN":
				return []string{"arn:none:none:::none"}
			}
			return none
		}),
	},
	{
		slug:   "variable-of-an-empty-value",
		why:    "a key that is present with an empty value fills a variable with nothing; the simulator takes the default, or none. AWS calls both “no value”",
		source: guide + "reference_policies_variables.html#policy-vars-no-value",
		rare: `{"principal": "user", "action": "s3:GetObject", "resource-arn": "arn:aws:s3:::b/k", "resource-account": "111122223333", "keys": {"aws:PrincipalTag/team": [""], "aws:userid": ["xblue"]},
			"identity": [{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:userid": "x${aws:PrincipalTag/team, 'blue'}"}}}]}]}`,
		rewrite: func(q *question) bool {
			empty := func(s string) bool {
				return anyOf(sorted(variables(s)), func(key string) bool {
					found := q.found(key)
					return len(found) == 1 && found[0] == ""
				})
			}
			a := conditions(func(c *condition) bool { return c.variables() && anyOf(c.wanted, empty) }, func(c *condition, s string) []string {
				if c.inPolicy && !c.q.unfilled(s) {
					return c.q.filled(s)
				}
				return nil
			})(q)
			b := resources(func(p *pattern) bool { return p.version == "2012-10-17" && empty(p.text) }, func(p *pattern) string { return p.q.filled(p.text)[0] })(q)
			return a || b
		},
	},
	{
		slug:   "version-2008-has-no-variables",
		why:    "without Version 2012-10-17 variables are text; the simulator fills them in",
		source: guide + "reference_policies_variables.html",
		rewrite: func(q *question) bool {
			a := conditions(func(c *condition) bool {
				return !c.variables() && anyOf(c.wanted, func(s string) bool { return strings.Contains(s, "${") })
			}, func(c *condition, s string) []string {
				c.version = "2012-10-17"
				if c.inPolicy {
					return []string{literal(s)}
				}
				return nil
			})(q)
			b := resources(func(p *pattern) bool { return p.version != "2012-10-17" && strings.Contains(p.text, "${") }, func(p *pattern) string { return literal(p.text) })(q)
			return a || b
		},
	},
	{
		slug:   "escapes-without-wildcards",
		why:    "${*}, ${?} and ${$} are the characters in every string; to the simulator only where wildcards are",
		source: guide + "reference_policies_variables.html#policy-vars-specialchars",
		rare: `{"principal": "user", "action": "s3:GetObject", "resource-arn": "arn:aws:s3:::b/k", "resource-account": "111122223333", "keys": {"aws:userid": ["b*"]},
			"identity": [{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:userid": "b${*}"}}}]}]}`,
		rewrite: conditions(func(c *condition) bool {
			return c.variables() && c.family == "String" && !strings.Contains(c.operator, "Like") && anyOf(c.wanted, escape.MatchString)
		}, func(c *condition, s string) []string {
			if c.inPolicy {
				return []string{escape.ReplaceAllStringFunc(s, func(e string) string { return e[2:3] })}
			}
			return nil
		}),
	},
	{
		slug:   "lower-case-without-folding",
		why:    "ignoring case is not documented beyond letters of English; here Σ becomes σ and ς stays, JavaScript folds both",
		source: guide + "reference_policies_elements_condition_operators.html",
		rare: `{"principal": "user", "action": "s3:GetObject", "resource-arn": "arn:aws:s3:::b/k", "resource-account": "111122223333", "keys": {"aws:userid": ["Σ"]},
			"identity": [{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEqualsIgnoreCase": {"aws:userid": "ς"}}}]}]}`,
		rewrite: conditions(func(c *condition) bool {
			return strings.Contains(c.operator, "IgnoreCase") && anyOf(c.found, foreign.MatchString) && anyOf(c.wanted, foreign.MatchString)
		}, nil),
	},
	{
		slug:   "set-of-the-empty-string",
		why:    "to ForAllValues and ForAnyValue values that are empty strings are a null data set; the simulator compares them",
		source: guide + "reference_policies_condition-single-vs-multi-valued-context-keys.html",
		rewrite: conditions(func(c *condition) bool {
			return c.quantifier != "" && c.found != nil && !anyOf(c.found, func(s string) bool { return s != "" })
		}, nil),
	},
	{
		slug:   "what-is-an-arn",
		why:    "an ARN begins with arn: and has six parts; the simulator looks at neither the beginning nor the sixth part",
		source: guide + "reference-arns.html",
		rewrite: conditions(func(c *condition) bool {
			return c.family == "ARN" && (anyOf(c.found, almostARN) || anyOf(c.wanted, almostARN))
		}, func(c *condition, s string) []string {
			if almostARN(s) {
				return none
			}
			return nil
		}),
	},
	{
		slug:   "variable-before-the-fifth-colon",
		why:    "a variable is filled in before the ARN is taken apart; the simulator takes ${aws:PrincipalArn} apart at its colon",
		source: guide + "reference_policies_variables.html#policy-vars-wheretouse",
		rewrite: conditions(func(c *condition) bool {
			return c.family == "ARN" && c.variables() && anyOf(c.wanted, func(s string) bool {
				before, _, found := strings.Cut(s, "${")
				return found && strings.Count(before, ":") < 5
			})
		}, func(c *condition, s string) []string {
			if c.inPolicy {
				return c.q.filled(s)
			}
			return nil
		}),
	},
	{
		slug:   "star-across-colons",
		why:    "a * that ends a part of an ARN may match beyond the colon; the simulator keeps it in its part",
		source: guide + "reference_policies_elements_resource.html",
		rewrite: resources(func(p *pattern) bool {
			return p.matched && !p.segmentsMatch()
		}, nil),
	},
	{
		slug:   "wildcard-in-the-type-of-a-resource",
		why:    "AWS says not to put a wildcard into the type, and not what it does; here it matches, there it is text",
		source: guide + "reference-arns.html",
		rewrite: resources(func(p *pattern) bool {
			return p.matched && strings.ContainsAny(p.kind(), "*?")
		}, nil),
	},
	{
		slug:   "variable-at-the-beginning-of-a-resource",
		why:    "a variable may stand anywhere after the fifth colon; the simulator takes ${aws: for the type of the resource",
		source: guide + "reference_policies_variables.html#policy-vars-wheretouse",
		rewrite: resources(func(p *pattern) bool {
			return p.version == "2012-10-17" && strings.Contains(p.kind(), "${")
		}, func(p *pattern) string { return p.q.filled(p.text)[0] }),
	},
	{
		slug:   "not-resource-with-a-variable-without-value",
		why:    "a resource with a variable without a value matches none, so that NotResource excepts none; to the simulator the statement does not apply",
		source: guide + "reference_policies_variables.html#policy-vars-no-value",
		rewrite: resources(func(p *pattern) bool {
			return p.not && p.version == "2012-10-17" && p.q.unfilled(p.text)
		}, func(*pattern) string { return "arn:aws:none:::none" }),
	},
	{
		slug:   "not-principal-names-all",
		why:    "NotPrincipal excepts who is listed with the account, and a session with its role; the simulator is content with one of them",
		source: guide + "reference_policies_elements_notprincipal.html",
		rewrite: grantees(func(q *question, s *statement) bool {
			return !s.NotPrincipal.IsZero() && !s.NotPrincipal.everyone
		}, func(q *question, s *statement) bool { return !q.exempts(s.NotPrincipal) }),
	},
	{
		slug:   "root-needs-no-policy",
		why:    "the root user may do everything in its account; the simulator wants an identity policy",
		source: guide + "reference_policies_evaluation-logic_policy-eval-denyallow.html",
		rewrite: func(q *question) bool {
			if q.Principal != "root" {
				return false
			}
			q.Identity = append(q.Identity, document{"2012-10-17", []statement{{Effect: "Allow", Action: one("*"), Resource: one("*")}}})
			return true
		},
	},
	{
		slug:   "session-named-by-the-resource",
		why:    "what a resource policy grants to the session itself, or to everyone, no session policy limits; in the simulator it always does",
		source: guide + "reference_policies_evaluation-logic_policy-eval-denyallow.html",
		rewrite: func(q *question) bool {
			granted := &question{
				Principal: q.Principal, Action: q.Action, Resource: q.Resource, Account: q.Account, Keys: q.Keys,
				Trust: q.Trust, ResourcePolicy: q.ResourcePolicy, Session: &document{"2012-10-17", []statement{}},
			}
			if v, _, err := granted.decide(); q.Session == nil || err != nil || v != allowed {
				return false
			}
			q.Session.Statement = append(q.Session.Statement, statement{Effect: "Allow", Action: one("*"), Resource: one("*")})
			return true
		},
	},
	{
		slug:   "federated-user-without-session-policy",
		why:    "a federated user without a session policy has no permissions but what resources grant to the session; the simulator gives it all of the user's",
		source: guide + "id_credentials_temp_control-access_getfederationtoken.html",
		rewrite: func(q *question) bool {
			if q.Principal != "federated user" || q.Session != nil {
				return false
			}
			q.Session = &document{"2012-10-17", []statement{}}
			return true
		},
	},
	{
		slug:   "identity-provider-is-not-of-the-account",
		why:    "a web identity is not a principal of the account; the simulator reads the account from the provider's ARN",
		source: guide + "reference_policies_elements_principal.html",
		rare: `{"principal": "web identity", "action": "sts:AssumeRoleWithWebIdentity", "resource-arn": "arn:aws:iam::111122223333:role/target", "resource-account": "111122223333",
			"trust": {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": {"AWS": "111122223333"}, "Action": "*"}]}}`,
		rewrite: grantees(func(q *question, s *statement) bool {
			return q.Principal == "web identity" && s.Principal.lists("AWS", home, "arn:aws:iam::"+home+":root")
		}, func(q *question, s *statement) bool {
			return s.Principal.lists("AWS", "*") || s.Principal.lists("Federated", cast[q.Principal].principal.ARN)
		}),
	},
}

var (
	digits         = regexp.MustCompile(`^[0-9]{5,}$`)
	year           = regexp.MustCompile(`^[0-9]{4}$`)
	date           = regexp.MustCompile(`^([0-9]{4}(-[0-9]{2}(-[0-9]{2}(T[0-9:.]+(Z|[+-][0-9:]+)?)?)?)?|[0-9]{5,12})$`)
	number         = regexp.MustCompile(`^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	beginsAsNumber = regexp.MustCompile(`^\s*[+-]?[0-9]`)
	exponent       = regexp.MustCompile(`[0-9][eE]`)
	escape         = regexp.MustCompile(`\$\{[*?$]\}`)
	foreign        = regexp.MustCompile(`[^\x00-\x7f]`)
)

// literal is a value of the older language, which has no variables, in the newer one.
func literal(s string) string { return strings.ReplaceAll(s, "${", "${$}{") }

// almostARN reports whether s has an ARN's parts but the last, or all and another beginning.
func almostARN(s string) bool {
	colons := strings.Count(s, ":")
	return colons == 4 || colons > 4 && !strings.HasPrefix(s, "arn:")
}

func unmapped(_ *condition, s string) []string {
	if a, err := netip.ParseAddr(s); err == nil {
		return []string{a.Unmap().String()}
	}
	if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4In6() {
		return []string{netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).String()}
	}
	return nil
}

func canonical(_ *condition, s string) []string {
	if a, err := netip.ParseAddr(s); err == nil && !a.Is4In6() {
		return []string{a.String()}
	}
	return nil
}
