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

// value is one value of a request, read as one of the operator's type.
type value struct {
	text    string
	number  *big.Rat
	time    time.Time
	truth   bool
	bytes   []byte
	address netip.Addr
}

// read reads a value of a request. ok is false if it is none of the operator's
// type: then the condition does not hold, negated or not.
func (o *operator) read(s string) (v value, ok bool) {
	v.text, ok = s, true
	var err error
	switch o.kind {
	case stringEqualsIgnoreCase:
		v.text = strings.ToLower(s) // AWS does not fold: ſ is not s
	case arn:
		ok = isARN(s)
	case numeric:
		v.number, ok = parseNumber(s)
	case date:
		v.time, ok = parseDate(s)
	case boolean:
		v.truth, ok = parseBool(s)
	case binary:
		v.bytes, err = base64.StdEncoding.DecodeString(s)
		ok = err == nil
	case ipAddress:
		v.address, err = netip.ParseAddr(s)
		v.address, ok = v.address.Unmap(), err == nil && v.address.Zone() == ""
	}
	return v, ok
}

// match compares one value of a request with one of the policy, before negation.
// valid is false if the policy's, filled in, is not of the operator's type.
// missing names a variable without a value.
func (o *operator) match(c *context, want *operand, v *value) (ok, valid bool, missing string) {
	switch o.kind {
	case stringEquals:
		text, missing := want.expand(c)
		return missing == "" && text == v.text, true, missing
	case stringEqualsIgnoreCase:
		text, missing := want.expand(c)
		if want.parts != nil {
			text = strings.ToLower(text)
		}
		return missing == "" && text == v.text, true, missing
	case stringLike:
		ok, missing := want.match(c, v.text)
		return ok, true, missing
	case arn:
		pattern, missing := want.expand(c)
		if missing != "" {
			return false, true, missing
		}
		return matchARN(pattern, v.text), isARN(pattern), ""
	case numeric:
		return o.cmp.holds(v.number.Cmp(want.number)), true, ""
	case date:
		return o.cmp.holds(v.time.Compare(want.time)), true, ""
	case boolean:
		if want.parts == nil {
			return v.truth == want.truth, true, ""
		}
		text, missing := want.expand(c)
		truth, valid := parseBool(text)
		return valid && v.truth == truth, valid, missing
	case binary:
		return bytes.Equal(v.bytes, want.bytes), true, ""
	case ipAddress:
		return !want.dead && want.prefix.Contains(v.address), true, ""
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

var (
	epoch = regexp.MustCompile(`^[0-9]{5,12}$`)
	// dateForm keeps out what time.Parse takes beyond its layout: hours of one
	// digit, and a comma before the fraction.
	dateForm = regexp.MustCompile(`^[0-9]{4}(-[0-9]{2}){0,2}(T[0-9]{2}:[0-9]{2}[0-9:.Z+-]*)?$`)
)

// parseDate reads the forms of https://www.w3.org/TR/NOTE-datetime and seconds
// since 1970. Four digits are a year.
func parseDate(s string) (time.Time, bool) {
	if epoch.MatchString(s) {
		n, ok := parseNumber(s)
		return time.Unix(n.Num().Int64(), 0), ok
	}
	if !dateForm.MatchString(s) {
		return time.Time{}, false
	}
	for _, layout := range [...]string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", time.DateOnly, "2006-01", "2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func parseBool(s string) (value, ok bool) {
	value = equalFold(s, "true")
	return value, value || equalFold(s, "false")
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
