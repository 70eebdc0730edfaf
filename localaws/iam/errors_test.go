package iam

import (
	"errors"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/policy"
)

// AWS's sentence comes first: people search for it.
func TestMistakesInPoliciesAreCalledAsAWSCallsThem(t *testing.T) {
	for _, test := range []struct {
		kind      policy.Type
		statement string
		want      string
	}{
		{policy.Identity, `{"Effect":"Allow","Action":"s3:*"}`, "Policy statement must contain resources. At line 1"},
		{policy.Identity, `{"Effect":"Allow","Action":"s3:*","Resource":[]}`, "Policy statement must contain resources. At line 1"},
		{policy.Identity, `{"Effect":"Allow","Resource":"*"}`, "Policy statement must contain actions. At line 1"},
		{policy.Identity, `{"Effect":"Allow","NotAction":[],"Resource":"*"}`, "Policy statement must contain actions. At line 1"},
		{policy.Identity, `{"Effect":"Allow","Action":"s3:*","Resource":"*","Principal":"*"}`, "Policy document should not specify a principal. At line 1"},
		{policy.Session, `{"Effect":"Allow","Action":"s3:*","Resource":"*","Principal":"*"}`, "Policy document should not specify a principal. At line 1"},
		{policy.Identity, `{"Effect":"Allow","Action":"GetObject","Resource":"*"}`, "Actions/Conditions must be prefaced by a vendor"},
		{policy.Identity, `{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:*:::b"}`, "Resource vendor must be fully qualified and cannot contain regexes. At line 1"},
		{policy.Identity, `{"Effect":"Allow","Action":"s3:*","NotResource":["*","arn:aws"]}`, "Resource vendor must be fully qualified and cannot contain regexes. At line 1"},
		{policy.Session, `{"Effect":"Allow","Action":"s3:*","Resource":"arn:*"}`, "Resource vendor must be fully qualified and cannot contain regexes. At line 1"},
		{policy.Identity, `{"Sid":"A","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"A","Effect":"Allow","Action":"*","Resource":"*"}`, "Statement IDs (SID) in a single policy must be unique."},
		{policy.Identity, `{"Effect":"Maybe","Action":"*","Resource":"*"}`, "Syntax errors in policy. At line 1"},
		{policy.Identity, ``, "Syntax errors in policy. The list of statements is empty"},
		{policy.Session, ``, "Syntax errors in policy. The list of statements is empty"},
		{policy.Trust, ``, "Syntax errors in policy. The list of statements is empty"},
		{policy.Identity, `{"Effect"`, "This policy contains invalid Json. At line 1"},
		{policy.Trust, `{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Resource":"*"}`, "Has prohibited field Resource. At line 1"},
		{policy.Trust, `{"Effect":"Allow","Action":"sts:AssumeRole"}`, "Missing required field Principal. At line 1"},
		{policy.Trust, `{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}`, `AssumeRolepolicy contained an invalid principal: "STAR":"*". At line 1`},
		{policy.Trust, `{"Effect":"Allow","Principal":{"AWS":"*"},"Action":["sts:AssumeRole","s3:GetObject"]}`, "AssumeRole policy may only specify STS AssumeRole actions. At line 1"},
		{policy.Trust, `{"Effect":"Allow","Principal":"*"}`, "Missing required field Action. At line 1"},
	} {
		_, err := Parse(test.kind, "", `{"Version":"2012-10-17","Statement":[`+test.statement+`]}`)
		e, ok := errors.AsType[*awswire.Error](err)
		if !ok || e.Code != "MalformedPolicyDocument" || !strings.HasPrefix(e.Message, test.want) {
			t.Errorf("%s %s: %v", test.kind, test.statement, err)
		}
	}
}
