package policy

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// limit is one of AWS's limits on the size of a document.
type limit struct {
	most     int
	severity Severity // of a document that is larger
	what     string   // the limit in words
	fix      string
}

// IAM's limits are those of
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html, the
// organizations' of
// https://docs.aws.amazon.com/organizations/latest/userguide/orgs_reference_limits.html,
// in ascending order.
var sizeLimits = map[Type][]limit{
	Identity: {
		{6144, Warning, "a managed policy may have 6,144", "split it; only the inline policies of one role may have more, 10,240 together"},
		{10240, Error, "all inline policies of a role together may have 10,240", "split it into several managed policies"},
	},
	Trust: {
		{2048, Warning, "a trust policy may have 2,048, unless the account's quota is raised", "shorten it, or raise the quota \"Role trust policy length\" (up to 8,192)"},
		{8192, Error, "a trust policy may have 8,192, however far the account's quota is raised", "shorten it, or use several roles"},
	},
	Boundary:        {{6144, Error, "a permissions boundary is a managed policy, which may have 6,144", "shorten it"}},
	Session:         {{2048, Error, "a session policy, with the ARNs of managed ones, may have 2,048", "take out white space, which counts here, or attach the policy to the role"}},
	ServiceControl:  {{10240, Error, "a service control policy may have 10,240", "split it"}},
	ResourceControl: {{5120, Error, "a resource control policy may have 5,120", "split it"}},
}

// bucketPolicyLimit is 20 KB
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-policies.html).
var bucketPolicyLimit = []limit{{20 << 10, Error, "a bucket policy may have 20,480 (20 KB)", "use access points, or identity-based policies for some of it"}}

// size compares the document with AWS's limits. IAM does not count white space.
// Session policies are counted whole, and those of organizations too, unless they
// are saved with the console, which takes white space out.
func (l *linter) size() {
	all := utf8.RuneCount(l.doc)
	bare := all
	for _, c := range l.doc {
		if strings.IndexByte(" \t\r\n", c) >= 0 {
			bare--
		}
	}
	limits, size, how := sizeLimits[l.policy.Type], bare, "without white space, which IAM does not count"
	switch l.policy.Type {
	case Resource:
		if !l.bucketPolicy() {
			return
		}
		limits, size, how = bucketPolicyLimit, bare+len(l.doc)-all, "without white space"
	case Session:
		size, how = all, "with white space"
	case ServiceControl, ResourceControl:
		size, how = all, "with white space"
		if most := limits[0].most; all > most && bare <= most {
			l.add(nil, l.root.start, Warning,
				fmt.Sprintf("the policy has %s characters with white space, and %s without; %s", thousands(all), thousands(bare), limits[0].what),
				"the console takes white space out before it saves a policy; the CLI and the SDKs save it as it is",
				"take white space out")
			return
		}
	}
	over := limit{}
	for _, one := range limits {
		if size > one.most {
			over = one
		}
	}
	unit := "characters"
	if l.policy.Type == Resource {
		unit = "bytes"
	}
	switch first := limits[0]; {
	case over.most > 0:
		l.add(nil, l.root.start, over.severity,
			fmt.Sprintf("the policy has %s %s; %s", thousands(size), unit, over.what),
			"counted "+how+"; AWS refuses what is larger", over.fix)
	case size*10 > first.most*9:
		l.add(nil, l.root.start, Notice,
			fmt.Sprintf("the policy has %s %s; %s", thousands(size), unit, first.what),
			"counted "+how+"; less than a tenth is left", first.fix+", before it has to grow")
	}
}

func (l *linter) bucketPolicy() bool {
	for i := range l.statements {
		for j := range l.statements[i].actions {
			if !strings.HasPrefix(l.statements[i].actions[j].pattern, "s3:") {
				return false
			}
		}
	}
	return len(l.statements) > 0
}

// thousands is n as people write it: 10,240.
func thousands(n int) string {
	s := strconv.Itoa(n)
	if len(s) > 3 {
		s = s[:len(s)-3] + "," + s[len(s)-3:]
	}
	return s
}

// characters finds what IAM and STS refuse: anything but tab, line feed, carriage
// return and U+0020 to U+00FF
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html#reference_iam-quotas-names).
func (l *linter) characters() {
	switch l.policy.Type {
	case Resource, ServiceControl, ResourceControl:
		return // stored by others
	}
	for i, c := range string(l.doc) {
		if c > 0xFF {
			l.add(nil, i, Error, fmt.Sprintf("the character %q (%U) cannot be in a policy of IAM", c, c),
				"IAM and STS take tab, line feed, carriage return and the characters U+0020 to U+00FF",
				"leave it out, or write it in Latin-1")
			return
		}
	}
}
