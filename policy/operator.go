package policy

import (
	"bytes"
	"encoding/base64"
	"math/big"
	"net/netip"
	"regexp"
	"strings"
	"time"
)

// operator is a condition operator without its qualifiers
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html).
type operator struct {
	name    string
	kind    operatorKind
	negated bool
	cmp     comparison // of numbers and dates
}

type operatorKind int

const (
	stringEquals operatorKind = iota
	stringEqualsIgnoreCase
	stringLike
	numeric
	date
	boolean
	binary
	ipAddress
	arn
	null
)

type comparison int

const (
	equal comparison = iota
	less
	lessEqual
	greater
	greaterEqual
)

func (c comparison) holds(sign int) bool {
	switch c {
	case equal:
		return sign == 0
	case less:
		return sign < 0
	case lessEqual:
		return sign <= 0
	case greater:
		return sign > 0
	}
	return sign >= 0
}

// operators by lower-case name: IAM ignores the case of operators.
var operators = byName([]operator{
	{name: "StringEquals", kind: stringEquals},
	{name: "StringNotEquals", kind: stringEquals, negated: true},
	{name: "StringEqualsIgnoreCase", kind: stringEqualsIgnoreCase},
	{name: "StringNotEqualsIgnoreCase", kind: stringEqualsIgnoreCase, negated: true},
	{name: "StringLike", kind: stringLike},
	{name: "StringNotLike", kind: stringLike, negated: true},
	{name: "NumericEquals", kind: numeric},
	{name: "NumericNotEquals", kind: numeric, negated: true},
	{name: "NumericLessThan", kind: numeric, cmp: less},
	{name: "NumericLessThanEquals", kind: numeric, cmp: lessEqual},
	{name: "NumericGreaterThan", kind: numeric, cmp: greater},
	{name: "NumericGreaterThanEquals", kind: numeric, cmp: greaterEqual},
	{name: "DateEquals", kind: date},
	{name: "DateNotEquals", kind: date, negated: true},
	{name: "DateLessThan", kind: date, cmp: less},
	{name: "DateLessThanEquals", kind: date, cmp: lessEqual},
	{name: "DateGreaterThan", kind: date, cmp: greater},
	{name: "DateGreaterThanEquals", kind: date, cmp: greaterEqual},
	{name: "Bool", kind: boolean},
	{name: "BinaryEquals", kind: binary},
	{name: "IpAddress", kind: ipAddress},
	{name: "NotIpAddress", kind: ipAddress, negated: true},
	{name: "ArnEquals", kind: arn},
	{name: "ArnLike", kind: arn},
	{name: "ArnNotEquals", kind: arn, negated: true},
	{name: "ArnNotLike", kind: arn, negated: true},
	{name: "Null", kind: null},
})

func byName(list []operator) map[string]operator {
	m := make(map[string]operator, len(list))
	for _, o := range list {
		m[asciiLower(o.name)] = o
	}
	return m
}

// operand is one compiled value of a condition.
type operand struct {
	template // strings and ARNs
	number   *big.Rat
	time     time.Time
	truth    bool
	bytes    []byte
	prefix   netip.Prefix
	dead     bool // never matches: an IPv6 range with host bits
}

// compileOperand compiles a value for an operator; expected says what belongs
// there if it does not compile.
func compileOperand(o operator, s string, variables bool) (v operand, problem, expected string) {
	ok := true
	switch o.kind {
	case stringEquals, stringEqualsIgnoreCase, stringLike, arn:
		v.template, problem = compileTemplate(s, o.kind == stringLike || o.kind == arn, variables)
		if o.kind == stringEqualsIgnoreCase {
			v.pattern = strings.ToLower(v.pattern)
		}
		return v, problem, "a string, or variables of the form ${key} or ${key, 'default'}"
	case numeric:
		v.number, ok = parseNumber(s)
		expected = "a number"
	case date:
		v.time, ok = parseDate(s)
		expected = "a date such as 2026-05-01T12:00:00Z, or seconds since 1970"
	case boolean, null:
		if o.kind == boolean && variables && strings.Contains(s, "${") {
			v.template, problem = compileTemplate(s, false, variables)
			return v, problem, "true, false, or a variable"
		}
		v.truth, ok = parseBool(s)
		expected = "true or false"
	case binary:
		var err error
		v.bytes, err = base64.StdEncoding.DecodeString(s)
		ok = err == nil
		expected = "base64"
	case ipAddress:
		v.prefix, v.dead, ok = parseRange(s)
		expected = "an IP address or a CIDR range"
	}
	v.source = s
	if !ok {
		problem = "this is no value for " + o.name
	}
	return v, problem, expected
}

// match compares one value of a request with one of the policy, before negation.
// valid is false if one of them is not of the operator's type: then the condition
// does not hold, negated or not. missing names a variable without a value.
func (o *operator) match(c *context, v *operand, s string) (ok, valid bool, missing string) {
	switch o.kind {
	case stringEquals:
		want, missing := v.expand(c)
		return missing == "" && want == s, true, missing
	case stringEqualsIgnoreCase:
		want, missing := v.expand(c)
		if v.parts != nil {
			want = strings.ToLower(want)
		}
		s = strings.ToLower(s) // AWS does not fold: ſ is not s
		return missing == "" && want == s, true, missing
	case stringLike:
		ok, missing := v.match(c, s)
		return ok, true, missing
	case arn:
		pattern, missing := v.expand(c)
		if missing != "" {
			return false, isARN(s), missing
		}
		return matchARN(pattern, s), isARN(pattern) && isARN(s), ""
	case numeric:
		n, valid := parseNumber(s)
		return valid && o.cmp.holds(n.Cmp(v.number)), valid, ""
	case date:
		t, valid := parseDate(s)
		return valid && o.cmp.holds(t.Compare(v.time)), valid, ""
	case boolean:
		b, valid := parseBool(s)
		want := v.truth
		if v.parts != nil {
			text, missing := v.expand(c)
			is, ok := parseBool(text)
			if missing != "" || !ok {
				return false, valid && missing != "", missing
			}
			want = is
		}
		return valid && b == want, valid, ""
	case binary:
		b, err := base64.StdEncoding.DecodeString(s)
		return err == nil && bytes.Equal(b, v.bytes), err == nil, ""
	case ipAddress:
		a, err := netip.ParseAddr(s)
		return err == nil && !v.dead && v.prefix.Contains(a.Unmap()), err == nil, ""
	}
	return false, false, ""
}

// decimal bounds a number's length and exponent: big.Rat would expand 1e999999999.
var decimal = regexp.MustCompile(`^[+-]?[0-9]{1,64}(\.[0-9]{1,64})?([eE][+-]?[0-9]{1,2})?$`)

func parseNumber(s string) (*big.Rat, bool) {
	if !decimal.MatchString(s) {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

var epoch = regexp.MustCompile(`^[0-9]{5,12}$`)

// parseDate reads the forms of https://www.w3.org/TR/NOTE-datetime and seconds
// since 1970. Four digits are a year.
func parseDate(s string) (time.Time, bool) {
	if epoch.MatchString(s) {
		n, ok := parseNumber(s)
		return time.Unix(n.Num().Int64(), 0), ok
	}
	for _, layout := range [...]string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", time.DateOnly, "2006-01", "2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func parseBool(s string) (value, ok bool) {
	switch {
	case strings.EqualFold(s, "true"):
		return true, true
	case strings.EqualFold(s, "false"):
		return false, true
	}
	return false, false
}

// parseRange reads an address or a CIDR range. An IPv4 range ignores host bits;
// an IPv6 range with host bits never matches (dead). IPv4-mapped addresses count
// as IPv4.
func parseRange(s string) (p netip.Prefix, dead, ok bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), false, true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, false, false
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, true, true
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	masked := p.Masked()
	return masked, p.Addr().Is6() && masked != p, true
}

// isARN reports whether s has the six parts of an ARN (or of a pattern for one).
func isARN(s string) bool {
	return strings.HasPrefix(s, "arn:") && strings.Count(s, ":") >= 5
}

// matchARN compares two ARNs part by part: a wildcard does not cross a colon
// before the resource part.
func matchARN(pattern, s string) bool {
	for range 5 {
		want, moreWant, ok := strings.Cut(pattern, ":")
		have, moreHave, also := strings.Cut(s, ":")
		if !ok || !also || !glob(want, have) {
			return false
		}
		pattern, s = moreWant, moreHave
	}
	return glob(pattern, s)
}
