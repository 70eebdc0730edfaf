package policy

import (
	"fmt"
	"math/big"
	"strings"
	"time"
)

// near are values before, at and after s.
func near(o operator, s string) []string {
	if o.kind == numeric {
		if n, ok := parseNumber(s); ok {
			step := big.NewRat(1, 1)
			return []string{s, new(big.Rat).Add(n, step).RatString(), new(big.Rat).Sub(n, step).RatString()}
		}
	}
	if t, ok := parseDate(s); ok && o.kind == date {
		const day = 24 * time.Hour
		t = t.UTC()
		return []string{t.Format(time.RFC3339), t.Truncate(day).Add(2 * day).Format(time.RFC3339), t.Truncate(day).Add(-day).Format(time.RFC3339)}
	}
	return nil
}

// inverse is the condition that holds where this one does not, with its values as
// a policy has them.
func (k *condition) inverse() (condition, []string, bool) {
	other, wanted := *k, k.wanted()
	name := inverses[k.name]
	if k.kind == boolean || k.kind == null {
		name, other.values = k.name, nil
		for i, v := range k.values {
			wanted[i] = fmt.Sprint(!v.truth)
			v.truth, v.source, v.template = !v.truth, wanted[i], template{}
			other.values = append(other.values, v)
		}
	}
	label, quantified := strings.CutPrefix(k.label, "ForAllValues:")
	prefix := ""
	switch {
	case quantified:
		prefix = "ForAnyValue:"
	case k.quantifier == forAnyValue:
		label, prefix = strings.TrimPrefix(label, "ForAnyValue:"), "ForAllValues:"
	}
	parsed, ok := parseOperator(prefix + name)
	if name == "" || !ok || k.kind == boolean && strings.Contains(label, "${") {
		return condition{}, nil, false
	}
	parsed.key, parsed.values = other.key, other.values
	return parsed, wanted, true
}

var inverses = map[string]string{
	"StringEquals": "StringNotEquals", "StringNotEquals": "StringEquals",
	"StringEqualsIgnoreCase": "StringNotEqualsIgnoreCase", "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
	"StringLike": "StringNotLike", "StringNotLike": "StringLike",
	"NumericEquals": "NumericNotEquals", "NumericNotEquals": "NumericEquals",
	"NumericLessThan": "NumericGreaterThanEquals", "NumericGreaterThanEquals": "NumericLessThan",
	"NumericGreaterThan": "NumericLessThanEquals", "NumericLessThanEquals": "NumericGreaterThan",
	"DateEquals": "DateNotEquals", "DateNotEquals": "DateEquals",
	"DateLessThan": "DateGreaterThanEquals", "DateGreaterThanEquals": "DateLessThan",
	"DateGreaterThan": "DateLessThanEquals", "DateLessThanEquals": "DateGreaterThan",
	"IpAddress": "NotIpAddress", "NotIpAddress": "IpAddress",
	"ArnEquals": "ArnNotEquals", "ArnNotEquals": "ArnEquals", "ArnLike": "ArnNotLike", "ArnNotLike": "ArnLike",
}

// example is a value of the key for which the condition holds; nil where it must
// be absent.
func (k *condition) example(c *context) ([]string, bool) {
	req := *c.req
	with := context{req: &req, bounded: c.bounded}
	for _, value := range k.candidates(c) {
		req.Keys = make(Keys, len(c.req.Keys)+1)
		for name, v := range c.req.Keys {
			if !equalFold(name, k.key.lower) {
				req.Keys[name] = v
			}
		}
		if value != nil {
			req.Keys[k.key.name] = value
		}
		if ok, _ := k.holds(&with); ok {
			return value, true
		}
	}
	return nil, false
}

func (k *condition) candidates(c *context) (values [][]string) {
	add := func(list ...string) {
		for _, s := range list {
			values = append(values, []string{s})
		}
	}
	for i := range k.values {
		v := &k.values[i]
		add(near(k.operator, v.source)...)
		switch k.kind {
		case ipAddress:
			add(v.prefix.Addr().String())
		case stringEquals, stringEqualsIgnoreCase, stringLike, arn:
			if pattern, missing := v.expand(c); missing == "" {
				add(fill(pattern, ""), fill(pattern, "x"))
			}
		}
		add(v.source)
	}
	add("x", "true", "false", "0", "203.0.113.1", "2001:db8::1", "arn:aws:x:::x", "2026-01-01T00:00:00Z")
	return append(values, nil)
}
