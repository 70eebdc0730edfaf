package policy_test

import (
	"strings"
	"testing"

	"github.com/openpodidentity/podid/policy"
)

// holds reports whether an Allow under the condition applies to a request with keys.
func holds(t *testing.T, condition string, keys policy.Keys) bool {
	t.Helper()
	p := mustParse(t, policy.Identity, "p", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":`+condition+`}}`)
	return policy.Evaluate(policy.Request{
		Principal: principals["user"], Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k", Keys: keys,
	}, policy.Set{Identity: []*policy.Policy{p}}).Allowed
}

// matches reports whether an Allow with the statement's action and resource applies.
func matches(t *testing.T, statement, action, resource string) bool {
	t.Helper()
	p := mustParse(t, policy.Identity, "p", `{"Version":"2012-10-17","Statement":{"Effect":"Allow",`+statement+`}}`)
	return policy.Evaluate(policy.Request{Principal: principals["user"], Action: action, Resource: resource},
		policy.Set{Identity: []*policy.Policy{p}}).Allowed
}

type corner struct {
	condition string
	keys      policy.Keys
	want      bool
}

func try(t *testing.T, corners []corner) {
	t.Helper()
	for _, c := range corners {
		if got := holds(t, c.condition, c.keys); got != c.want {
			t.Errorf("%s with %v: %v, want %v", c.condition, c.keys, got, c.want)
		}
	}
}

func TestAMultivaluedKeyNeverMatchesAScalarOperator(t *testing.T) {
	two := policy.Keys{"aws:TagKeys": {"a", "b"}}
	one := policy.Keys{"aws:TagKeys": {"a"}}
	unlisted := policy.Keys{"svc:list": {"a", "b"}}
	try(t, []corner{
		{`{"StringEquals":{"aws:TagKeys":"a"}}`, two, false},
		{`{"StringEquals":{"aws:TagKeys":["a","b"]}}`, two, false},
		{`{"StringNotEquals":{"aws:TagKeys":"c"}}`, two, false},
		{`{"StringNotLike":{"aws:TagKeys":"c"}}`, two, false},
		{`{"StringEquals":{"aws:TagKeys":"a"}}`, one, false},
		{`{"StringNotEquals":{"aws:TagKeys":"c"}}`, one, false},
		{`{"StringEqualsIfExists":{"aws:TagKeys":"a"}}`, two, false},
		{`{"StringEquals":{"svc:list":"a"}}`, unlisted, false},
		{`{"StringNotEquals":{"svc:list":"c"}}`, unlisted, false},
	})
}

func TestAMissingKeyMatchesNegatedOperators(t *testing.T) {
	for _, negated := range []string{
		`{"StringNotEquals":{"k:k":"a"}}`, `{"StringNotEqualsIgnoreCase":{"k:k":"a"}}`, `{"StringNotLike":{"k:k":"a"}}`,
		`{"NumericNotEquals":{"k:k":"1"}}`, `{"DateNotEquals":{"k:k":"2026-01-01"}}`,
		`{"NotIpAddress":{"k:k":"10.0.0.0/8"}}`, `{"ArnNotEquals":{"k:k":"arn:aws:s3:::b"}}`, `{"ArnNotLike":{"k:k":"arn:aws:s3:::b"}}`,
	} {
		try(t, []corner{{negated, nil, true}, {negated, policy.Keys{"k:k": {}}, true}})
	}
}

func TestForAllValuesMatchesAMissingKey(t *testing.T) {
	try(t, []corner{
		{`{"ForAllValues:StringEquals":{"aws:TagKeys":"a"}}`, nil, true},
		{`{"ForAllValues:StringNotEquals":{"aws:TagKeys":"a"}}`, nil, true},
		{`{"ForAllValues:ArnLike":{"k:k":"arn:aws:s3:::b"}}`, nil, true},
		{`{"ForAnyValue:StringEquals":{"aws:TagKeys":"a"}}`, nil, false},
		{`{"ForAnyValue:StringNotEquals":{"aws:TagKeys":"a"}}`, nil, false},
	})
}

func TestNullTestsPresenceAndTheEmptyStringIsPresent(t *testing.T) {
	try(t, []corner{
		{`{"Null":{"s3:prefix":"true"}}`, policy.Keys{"s3:prefix": {""}}, false},
		{`{"Null":{"s3:prefix":"false"}}`, policy.Keys{"s3:prefix": {""}}, true},
		{`{"Null":{"s3:prefix":"true"}}`, nil, true},
		{`{"Null":{"s3:prefix":["true","false"]}}`, nil, true},
		{`{"Null":{"aws:TagKeys":"false"}}`, policy.Keys{"aws:TagKeys": {"a", "b"}}, true},
		{`{"StringEquals":{"s3:prefix":""}}`, policy.Keys{"s3:prefix": {""}}, true},
	})
}

func TestAQuestionMarkIsOneUTF16Unit(t *testing.T) {
	try(t, []corner{
		{`{"StringLike":{"s3:prefix":"?"}}`, policy.Keys{"s3:prefix": {"é"}}, true},
		{`{"StringLike":{"s3:prefix":"?"}}`, policy.Keys{"s3:prefix": {"世"}}, true},
		{`{"StringLike":{"s3:prefix":"?"}}`, policy.Keys{"s3:prefix": {"😀"}}, false},
		{`{"StringLike":{"s3:prefix":"??"}}`, policy.Keys{"s3:prefix": {"😀"}}, true},
		{`{"StringLike":{"s3:prefix":"a?*é"}}`, policy.Keys{"s3:prefix": {"aé世é"}}, true},
		{`{"StringLike":{"s3:prefix":"*"}}`, policy.Keys{"s3:prefix": {"😀世"}}, true},
		{`{"StringLike":{"s3:prefix":"?é"}}`, policy.Keys{"s3:prefix": {"éé"}}, true},
	})
}

func TestIgnoreCaseLowersAndDoesNotFold(t *testing.T) {
	try(t, []corner{
		{`{"StringEqualsIgnoreCase":{"k:k":"ÉCOLE"}}`, policy.Keys{"k:k": {"école"}}, true},
		{`{"StringEqualsIgnoreCase":{"k:k":"STRASSE"}}`, policy.Keys{"k:k": {"straße"}}, false},
		{`{"StringEqualsIgnoreCase":{"k:k":"s"}}`, policy.Keys{"k:k": {"ſ"}}, false}, // U+017F folds to s, its lower case is itself
		{`{"StringEqualsIgnoreCase":{"k:k":"ς"}}`, policy.Keys{"k:k": {"Σ"}}, false}, // lower case of Σ is σ
		{`{"StringEqualsIgnoreCase":{"k:k":"σ"}}`, policy.Keys{"k:k": {"Σ"}}, true},
	})
}

func TestMalformedValuesOfARequestNeverMatch(t *testing.T) {
	malformed := map[string][]string{
		`{"NumericEquals":{"k:k":"1"}}`:                {"", "one", "1e999999999", "0x1", "1,0", "Inf", "NaN", " 1"},
		`{"NumericNotEquals":{"k:k":"1"}}`:             {"", "one", "Inf"},
		`{"NumericLessThan":{"k:k":"1"}}`:              {"", "-one"},
		`{"DateLessThan":{"k:k":"2026-01-01"}}`:        {"", "yesterday", "2025-13-01", "2025-01-01 00:00:00", "2025-01-01T1:00:00Z", "2025-01-01T01:00:00,5Z", "2025-01-01t01:00:00z", "2025-01-01T01:00:60Z", "2025-01-01T24:00:00Z", "-1", "2025-1-1"},
		`{"DateNotEquals":{"k:k":"2026-01-01"}}`:       {"", "yesterday"},
		`{"Bool":{"k:k":"true"}}`:                      {"", "yes", "1"},
		`{"Bool":{"k:k":"false"}}`:                     {"", "no", "0", "falſe", " false"},
		`{"IpAddress":{"k:k":"0.0.0.0/0"}}`:            {"", "AWS Internal", "1.2.3", "1.2.3.4/32", "010.0.0.1"},
		`{"NotIpAddress":{"k:k":"10.0.0.0/8"}}`:        {"", "AWS Internal", "fe80::1%eth0", "11.0.0.0/8"},
		`{"ArnLike":{"k:k":"arn:*:*:*:*:*"}}`:          {"", "arn:aws:s3", "bucket", "urn:aws:s3:::b"},
		`{"ArnNotLike":{"k:k":"arn:aws:s3:::b"}}`:      {"", "bucket"},
		`{"BinaryEquals":{"k:k":"QUJD"}}`:              {"", "QUJ", "***"},
		`{"ForAnyValue:NumericEquals":{"k:k":"1"}}`:    {"one"},
		`{"ForAllValues:NumericEquals":{"k:k":"1"}}`:   {"one"},
		`{"NumericNotEqualsIfExists":{"k:k":"1"}}`:     {"one"},
		`{"NumericGreaterThanEquals":{"k:k":"-1e99"}}`: {"12345678901234567890123456789012345678901234567890123456789012345"},
	}
	for condition, values := range malformed {
		for _, v := range values {
			try(t, []corner{{condition, policy.Keys{"k:k": {v}}, false}})
		}
	}
}

func TestDatesOfEveryFormCompare(t *testing.T) {
	for _, same := range []string{"2026-05-01T00:00:00Z", "2026-05-01T02:00:00+02:00", "2026-04-30T19:00:00.000-05:00", "2026-05-01T00:00Z", "2026-05-01T00:00:00", "2026-05-01", "2026-05", "1777593600"} {
		try(t, []corner{{`{"DateEquals":{"k:k":"2026-05-01"}}`, policy.Keys{"k:k": {same}}, true}})
	}
}

func TestAnIPv4RangeIgnoresHostBits(t *testing.T) {
	try(t, []corner{
		{`{"IpAddress":{"aws:SourceIp":"10.1.2.3/8"}}`, policy.Keys{"aws:SourceIp": {"10.200.0.1"}}, true},
		{`{"IpAddress":{"aws:SourceIp":"10.1.2.3/8"}}`, policy.Keys{"aws:SourceIp": {"11.0.0.1"}}, false},
	})
}

func TestAnIPv6RangeWithHostBitsNeverMatches(t *testing.T) {
	try(t, []corner{
		{`{"IpAddress":{"aws:SourceIp":"2001:db8::1/32"}}`, policy.Keys{"aws:SourceIp": {"2001:db8::1"}}, false},
		{`{"NotIpAddress":{"aws:SourceIp":"2001:db8::1/32"}}`, policy.Keys{"aws:SourceIp": {"2001:db8::1"}}, true},
		{`{"IpAddress":{"aws:SourceIp":"2001:db8::/32"}}`, policy.Keys{"aws:SourceIp": {"2001:db8::1"}}, true},
	})
}

func TestIPv4MappedAddressesCompareAsIPv4(t *testing.T) {
	try(t, []corner{
		{`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`, policy.Keys{"aws:SourceIp": {"::ffff:10.0.0.1"}}, true},
		{`{"IpAddress":{"aws:SourceIp":"::ffff:10.0.0.1"}}`, policy.Keys{"aws:SourceIp": {"10.0.0.1"}}, true},
		{`{"IpAddress":{"aws:SourceIp":"::ffff:10.0.0.0/104"}}`, policy.Keys{"aws:SourceIp": {"10.9.9.9"}}, true},
		{`{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`, policy.Keys{"aws:SourceIp": {"::ffff:10.0.0.1"}}, false},
		{`{"IpAddress":{"aws:SourceIp":"::/0"}}`, policy.Keys{"aws:SourceIp": {"10.0.0.1"}}, false},
	})
}

func TestActionsIgnoreCaseAndResourcesDoNot(t *testing.T) {
	if !matches(t, `"Action":"S3:GETobject","Resource":"*"`, "s3:GetObject", "arn:aws:s3:::b/k") {
		t.Error("actions heed case")
	}
	if matches(t, `"Action":"*","Resource":"arn:aws:s3:::B/k"`, "s3:GetObject", "arn:aws:s3:::b/k") {
		t.Error("resources ignore case")
	}
}

func TestAStarCrossesSlashesAndColons(t *testing.T) {
	for resource, want := range map[string]bool{
		"arn:aws:s3:::b/*":             true,
		"arn:*:s3:::*/z":               true,
		"arn:aws:s3:*:*z":              true,
		"arn:aws:s3:::b/x?y/z":         true,
		"arn:aws:s3:::b/*/y":           false,
		"arn:aws:s3:::b/x/y/z/":        false,
		"arn:aws:s3:::*b*x*y*z*":       true,
		"arn:aws:s3:::b/****x/y/z****": true,
	} {
		if got := matches(t, `"Action":"*","Resource":"`+resource+`"`, "s3:GetObject", "arn:aws:s3:::b/x/y/z"); got != want {
			t.Errorf("%s: %v, want %v", resource, got, want)
		}
	}
}

func TestAStarThatEndsASegmentCrossesColons(t *testing.T) {
	const stream = "arn:aws:logs:eu-central-1:111122223333:log-group:g:log-stream:s"
	for resource, want := range map[string]bool{
		"arn:aws:logs:*:log-stream:s":                true,
		"arn:aws:logs:*:*:log-group:*":               true,
		"arn:aws:logs:*:111122223333:log-group:?":    false,
		"arn:aws:logs:*:111122223333:log-group:g":    false,
		"arn:aws:logs:*:log-stream:t":                false,
		"arn:aws:logs:*:*:*:*:*:*:*:*":               false,
		"arn:aws:logs:*:*:log-group:?:log-stream:?":  true,
		"arn:aws:logs:*:*:log-group:??:log-stream:?": false,
	} {
		if got := matches(t, `"Action":"*","Resource":"`+resource+`"`, "logs:PutLogEvents", stream); got != want {
			t.Errorf("%s: %v, want %v", resource, got, want)
		}
	}
}

func TestAnARNThatIsNoneNeverMatches(t *testing.T) {
	good := policy.Keys{"aws:SourceArn": {"arn:aws:s3:::b"}}
	try(t, []corner{
		{`{"ArnLike":{"aws:SourceArn":"*"}}`, good, false},
		{`{"ArnNotLike":{"aws:SourceArn":"*"}}`, good, false},
		{`{"ArnLike":{"aws:SourceArn":"arn:*"}}`, good, false},
		{`{"ArnLike":{"aws:SourceArn":"arn:aws:s3:::*"}}`, good, true},
	})
}

func TestKeysInAnySpellingAreOneKey(t *testing.T) {
	condition := `{"StringEquals":{"aws:RequestTag/Team":"blue"}}`
	try(t, []corner{
		{condition, policy.Keys{"AWS:REQUESTTAG/TEAM": {"blue"}}, true},
		{condition, policy.Keys{"aws:requesttag/team": {"blue"}}, true},
		{condition, policy.Keys{"aws:RequestTag/Teams": {"blue"}}, false},
	})
}

func TestWildcardBytesInARequestAreNotWildcards(t *testing.T) {
	try(t, []corner{
		{`{"StringLike":{"s3:prefix":"${aws:PrincipalTag/t}"}}`, policy.Keys{"s3:prefix": {"anything"}, "aws:PrincipalTag/t": {"\xff"}}, false},
		{`{"StringLike":{"s3:prefix":"${aws:PrincipalTag/t}"}}`, policy.Keys{"s3:prefix": {"a"}, "aws:PrincipalTag/t": {"\xfe"}}, false},
		{`{"StringEquals":{"s3:prefix":"${aws:PrincipalTag/t}"}}`, policy.Keys{"s3:prefix": {"*"}, "aws:PrincipalTag/t": {"*"}}, true},
	})
}

// A page of ${aws:UserAgent} must not multiply a long value by its thousands.
func TestVariablesAreFilledInToABoundedLength(t *testing.T) {
	long := policy.Keys{"s3:prefix": {strings.Repeat("a", 80<<10)}, "k:k": {strings.Repeat("a", 40<<10)}}
	try(t, []corner{
		{`{"StringEquals":{"s3:prefix":"${k:k}${k:k}"}}`, long, false},
		{`{"StringEquals":{"s3:prefix":"${k:k}${k:k, 'x'}"}}`, long, false},
		{`{"StringNotEquals":{"s3:prefix":"${k:k}${k:k}"}}`, long, true},
		{`{"StringNotLike":{"s3:prefix":"${k:k}*"}}`, long, false},
	})
}

func TestRequestKeysThatFollowFromTheCallerNeedNotBeGiven(t *testing.T) {
	try(t, []corner{
		{`{"StringEquals":{"aws:username":"alice"}}`, nil, true},
		{`{"StringEquals":{"aws:PrincipalType":"User"}}`, nil, true},
		{`{"StringEquals":{"aws:PrincipalAccount":"111122223333"}}`, nil, true},
		{`{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:user/alice"}}`, nil, true},
		{`{"Bool":{"aws:PrincipalIsAWSService":"false"}}`, nil, true},
		{`{"StringEquals":{"aws:username":"alice"}}`, policy.Keys{"aws:username": {"bob"}}, false},
		{`{"Bool":{"aws:ViaAWSService":"false"}}`, nil, true},
		{`{"Bool":{"aws:ViaAWSService":"false"}}`, policy.Keys{"AWS:calledvia": {"athena.amazonaws.com"}}, false},
		{`{"StringEquals":{"aws:CalledViaLast":"b.amazonaws.com"}}`, policy.Keys{"aws:CalledVia": {"a.amazonaws.com", "b.amazonaws.com"}}, true},
	})
}

// Without this a condition on the keys of tags, which holds for a request
// without tags, would admit any.
func TestTagKeysFollowFromTheTags(t *testing.T) {
	tags := policy.Keys{"aws:requesttag/team": {"blue"}, "AWS:RequestTag/env": {"prod"}, "aws:RequestTag/": {"x"}, "aws:RequestTag/none": {}}
	try(t, []corner{
		{`{"ForAllValues:StringEquals":{"aws:TagKeys":["team","env"]}}`, tags, true},
		{`{"ForAllValues:StringEquals":{"aws:TagKeys":"team"}}`, tags, false},
		{`{"ForAnyValue:StringEquals":{"aws:TagKeys":"env"}}`, tags, true},
		{`{"Null":{"aws:TagKeys":"true"}}`, tags, false},
		{`{"Null":{"aws:TagKeys":"true"}}`, policy.Keys{"aws:RequestTag/none": {}}, true},
		{`{"ForAllValues:StringEquals":{"aws:TagKeys":"team"}}`, policy.Keys{"aws:RequestTag/env": {"prod"}, "aws:TagKeys": {"team"}}, true},
	})
}
