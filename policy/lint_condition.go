package policy

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/openpodidentity/podid/internal/spelling"
)

// legacyKeys are condition keys of AWS that its list of global keys lacks.
var legacyKeys = []string{"aws:sourceowner"}

// unknownKeys finds keys of aws: and sts: that AWS does not document.
func (l *linter) unknownKeys() {
	for i := range l.statements {
		s := &l.statements[i]
		for j := range s.conditions {
			k := &s.conditions[j]
			service, _, _ := strings.Cut(k.key.lower, ":")
			if _, known := catalogued(k.key.lower); known || service != "aws" && service != "sts" || slices.Contains(legacyKeys, k.key.lower) {
				continue
			}
			effect := "a key that a request never has fails plain operators and fulfils negated ones, whatever the values"
			if near := nearestKey(k.key.lower); near != "" {
				l.add(s, k.at, Warning, "there is no condition key "+excerpt(k.key.name), effect, "perhaps "+near+" is meant")
			} else {
				l.add(s, k.at, Notice, excerpt(k.key.name)+" is not among the documented keys", effect, "check its spelling, or whether it is new")
			}
		}
	}
}

// nearestKey is the documented key that was probably meant: the same name of
// another service, or one mistyped by a few characters.
func nearestKey(lowered string) string {
	head, tag, slash := strings.Cut(lowered, "/")
	_, bare, _ := strings.Cut(head, ":")
	best, least := "", 3
	for _, name := range slices.Sorted(maps.Keys(catalogue)) {
		service, known, _ := strings.Cut(strings.TrimSuffix(name, "/"), ":")
		if service != "aws" && service != "sts" || max(len(bare)-len(known), len(known)-len(bare)) >= least {
			continue
		}
		d := spelling.Distance(bare, known)
		if strings.HasSuffix(name, "/") != slash && d == 0 {
			d = 1
		}
		if d*4 <= len(known) && d < least {
			best, least = catalogue[name].name, d
		}
	}
	if strings.HasSuffix(best, "/") {
		best += cmp.Or(tag, "KEY")
	}
	return best
}

// keyOperators finds operators that do not fit what a key holds.
func (l *linter) keyOperators() {
	for i := range l.statements {
		s := &l.statements[i]
		for j := range s.conditions {
			k := &s.conditions[j]
			facts, known := catalogued(k.key.lower)
			if !known || k.kind == null {
				continue
			}
			on := k.label + " on " + k.key.name
			switch {
			case facts.multivalued && k.quantifier == scalar:
				l.add(s, k.operatorAt, Warning, on+" never holds: the key has a list of values",
					"a plain operator compares one value with one, negated or not",
					fmt.Sprintf("write ForAnyValue:%s (one of the values fits) or ForAllValues:%s (all of them do)", k.label, k.label))
			case !facts.multivalued && k.quantifier == forAllValues && !s.deny && !s.needs(k.key.lower):
				l.add(s, k.operatorAt, Warning, on+" holds also for requests without the key",
					"ForAllValues is about all values that there are, and of none it holds; the key has one value or is missing",
					"write "+strings.TrimPrefix(k.label, "ForAllValues:")+fmt.Sprintf(`, or add {"Null": {"%s": "false"}}`, facts.name))
			case !fits(k.condition, facts):
				why := "a value that is not of the operator's type fulfils neither the operator nor its negation"
				if k.text() || k.kind == stringEqualsIgnoreCase {
					why = "as text one address has several spellings, and a range has none"
				}
				name, operators := facts.types.words()
				l.add(s, k.operatorAt, Warning, on+" compares "+k.compares()+", and the key holds "+name, why, "use "+operators)
			}
		}
	}
}

// needs reports whether another condition of the statement demands the key.
func (s *lintStatement) needs(key string) bool {
	return slices.ContainsFunc(s.conditions, func(k lintCondition) bool {
		return k.key.lower == key && k.demands()
	})
}

// fits reports whether the operator may compare what the key holds. Text is
// compared of ARNs, booleans, dates and numbers as well; the value of a tag, and
// an account's number, may be anything.
func fits(k *condition, facts keyFacts) bool {
	var takes valueTypes
	switch k.kind {
	case stringEquals, stringEqualsIgnoreCase, stringLike:
		return facts.types != ipAddressValue
	case numeric:
		takes = numericValue
		if facts.types == stringValue && strings.HasSuffix(facts.name, "Account") {
			return true
		}
	case date:
		takes = dateValue
	case boolean:
		takes = boolValue
	case ipAddress:
		takes = ipAddressValue
	case arn:
		takes = arnValue | stringValue // a text may be an ARN
	default:
		return true
	}
	return facts.types&takes != 0 || strings.HasSuffix(facts.name, "/")
}

func (k *condition) compares() string {
	switch k.kind {
	case numeric:
		return "numbers"
	case date:
		return "dates"
	case boolean:
		return "booleans"
	case ipAddress:
		return "IP addresses"
	case arn:
		return "ARNs"
	}
	return "text"
}

// words are what a value of the types is called, and the operators for it.
func (v valueTypes) words() (name, operators string) {
	switch {
	case v&arnValue != 0:
		return "an ARN", "ArnLike or ArnNotLike"
	case v&boolValue != 0:
		return "a boolean", "Bool"
	case v&dateValue != 0:
		return "a date", "DateLessThan, DateGreaterThan or another operator for dates"
	case v&numericValue != 0:
		return "a number", "NumericEquals, NumericLessThan or another operator for numbers"
	case v&ipAddressValue != 0:
		return "an IP address", "IpAddress or NotIpAddress"
	}
	return "text", "StringEquals, StringLike or another operator for text"
}

// literalWildcards finds wildcards that match nothing but themselves.
func (l *linter) literalWildcards() {
	for i := range l.statements {
		s := &l.statements[i]
		for j := range s.conditions {
			k := &s.conditions[j]
			if k.kind != stringEquals && k.kind != stringEqualsIgnoreCase {
				continue
			}
			nodes := values(k.values)
			for n := range k.condition.values {
				source := k.condition.values[n].source
				if !wildcardOutsideEscapes(source, l.policy.version == version2012) {
					continue
				}
				like, fix := strings.Replace(k.label, "Equals", "Like", 1), ""
				if k.kind == stringEquals {
					fix = "write " + like
				} else {
					fix = "write StringLike or StringNotLike with each spelling: there is no such operator that ignores case"
				}
				if l.policy.version == version2012 {
					fix += "; if the character itself is meant, say so with ${*} or ${?}"
				}
				l.add(s, nodes[n].start, Warning, excerpt(source)+" is compared as it stands: "+k.label+" has no wildcards",
					"* and ? match other characters under StringLike, StringNotLike and the operators for ARNs", fix)
				break
			}
		}
	}
}

var variable = regexp.MustCompile(`\$\{[^}]*\}`)

// wildcardOutsideEscapes reports whether s has a * or, but for URLs, a ?.
func wildcardOutsideEscapes(s string, escapes bool) bool {
	if escapes {
		s = variable.ReplaceAllString(s, "")
	}
	return strings.Contains(s, "*") || strings.Contains(s, "?") && !strings.Contains(s, "://")
}

// variableKeys finds policy variables where they are none: in the key of a condition.
func (l *linter) variableKeys() {
	for i := range l.statements {
		s := &l.statements[i]
		for j := range s.conditions {
			if k := &s.conditions[j]; variable.MatchString(k.key.name) {
				l.add(s, k.at, Warning, "in the key "+excerpt(k.key.name)+" ${…} is plain text",
					"variables are filled in only in values and resources; no request has a key of this name",
					"write the key out in full, and one statement for each value that the variable would have")
			}
		}
	}
}

// oldVersion finds policy variables in the version of the language that has none.
func (l *linter) oldVersion() {
	if l.policy.version == version2012 {
		return
	}
	for i := range l.statements {
		s := &l.statements[i]
		lists := [][]*node{values(s.node.member("Resource")), values(s.node.member("NotResource"))}
		for j := range s.conditions {
			lists = append(lists, values(s.conditions[j].values))
		}
		for _, n := range slices.Concat(lists...) {
			if strings.Contains(n.text, "${") {
				l.add(s, n.start, Warning, excerpt(n.text)+" has no variables: it is compared as it stands",
					"policy variables came with the version 2012-10-17; a document that names no version speaks the one before", `add "Version": "2012-10-17"`)
				return
			}
		}
	}
}
