package policy_test

import (
	"strings"
	"testing"

	"github.com/openpodidentity/podid/policy"
)

// The matcher goes back to the last star only, so that the work is bounded by
// pattern times value, whatever the stars: these cases would otherwise not end.
func TestManyStarsAgainstALongValueEnd(t *testing.T) {
	const pattern, value = 10 << 10, 64 << 10
	long := strings.Repeat("a", value)
	for name, wanted := range map[string]string{
		"a star before each letter": strings.Repeat("*a", pattern/2) + "*b",
		"one star and a long rest":  "*" + strings.Repeat("a", pattern/10) + "b", // the dearest
		"any character":             strings.Repeat("*?a", pattern/3) + "*b",
	} {
		for text, s := range map[string]string{"ASCII": long, "UTF-16": long[:value-2] + "é"} {
			p := mustParse(t, policy.Identity, "p", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:UserAgent":"`+wanted+`"}}}]}`)
			d := policy.Evaluate(policy.Request{Principal: principals["user"], Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k", Keys: policy.Keys{"aws:UserAgent": {s}}},
				policy.Set{Identity: []*policy.Policy{p}})
			if d.Allowed {
				t.Errorf("%s, %s: allowed", name, text)
			}
		}
	}
}
