package association_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/problem"
)

const allow = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`

func TestValidate(t *testing.T) {
	type A = podid.Association
	for _, test := range []struct {
		name   string
		change func(*A)
		code   problem.Code // "" for valid
		says   string
	}{
		{"as it is", func(*A) {}, "", ""},
		{"no namespace", func(a *A) { a.Namespace = "" }, problem.AssociationInvalid, "namespace is missing"},
		{"upper case", func(a *A) { a.Namespace = "Shop" }, problem.AssociationInvalid, "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
		{"a dot in the namespace", func(a *A) { a.Namespace = "a.b" }, problem.AssociationInvalid, "pattern"},
		{"a line break", func(a *A) { a.Namespace = "shop\n" }, problem.AssociationInvalid, "pattern"},
		{"63 characters", func(a *A) { a.Namespace = strings.Repeat("n", 63) }, "", ""},
		{"64 characters", func(a *A) { a.Namespace = strings.Repeat("n", 64) }, problem.AssociationInvalid, "more than 63"},
		{"no service account", func(a *A) { a.ServiceAccount = "" }, problem.AssociationInvalid, "serviceAccount is missing"},
		{"a subdomain", func(a *A) { a.ServiceAccount = "a.b-c.9" }, "", ""},
		{"an empty label", func(a *A) { a.ServiceAccount = "a..b" }, problem.AssociationInvalid, "serviceAccount"},
		{"a slash", func(a *A) { a.ServiceAccount = "a/b" }, problem.AssociationInvalid, "serviceAccount"},
		{"a wildcard", func(a *A) { a.ServiceAccount = "*" }, problem.AssociationInvalid, "serviceAccount"},
		{"254 characters", func(a *A) { a.ServiceAccount = strings.Repeat("n", 254) }, problem.AssociationInvalid, "more than 253"},
		{"no role", func(a *A) { a.Role = "" }, problem.AssociationInvalid, "roleArn"},
		{"a user", func(a *A) { a.Role = "arn:aws:iam::111122223333:user/x" }, problem.AssociationInvalid, "roleArn"},
		{"a session", func(a *A) { a.Role = "arn:aws:sts::111122223333:assumed-role/x/y" }, problem.AssociationInvalid, "role session"},
		{"a target that is no role", func(a *A) { a.Target = "x" }, problem.AssociationInvalid, "targetRoleArn"},
		{"a policy with session tags", func(a *A) { a.Policy = allow }, problem.SessionPolicyInvalid, "disableSessionTags"},
		{"a policy", func(a *A) { a.Policy, a.DisableSessionTags = allow, true }, "", ""},
		{"a policy of 2,048 characters", func(a *A) {
			a.Policy, a.DisableSessionTags = allow+strings.Repeat(" ", 2048-len(allow)), true
		}, "", ""},
		{"a policy of 2,049 characters", func(a *A) {
			a.Policy, a.DisableSessionTags = allow+strings.Repeat(" ", 2049-len(allow)), true
		}, problem.SessionPolicyInvalid, "2049 characters"},
		{"a policy that is a list", func(a *A) { a.Policy, a.DisableSessionTags = "[]", true }, problem.SessionPolicyInvalid, "JSON object"},
		{"a policy that is null", func(a *A) { a.Policy, a.DisableSessionTags = "null", true }, problem.SessionPolicyInvalid, "JSON object"},
		{"a policy with a principal", func(a *A) {
			a.Policy, a.DisableSessionTags = strings.Replace(allow, `"Action"`, `"Principal":"*","Action"`, 1), true
		}, problem.SessionPolicyInvalid, "not an IAM policy"},
		{"a policy STS does not take", func(a *A) {
			a.Policy, a.DisableSessionTags = strings.Replace(allow, "GetObject", "Get→", 1), true
		}, problem.SessionPolicyInvalid, "U+00FF"},
		{"a client token of 32", func(a *A) { a.ClientToken = strings.Repeat("x", 32) }, problem.RequestInvalid,
			"The client request token parameter must be between 33 and 126 characters."},
		{"a client token of 33", func(a *A) { a.ClientToken = strings.Repeat("x", 33) }, "", ""},
		{"a client token of 126", func(a *A) { a.ClientToken = strings.Repeat("x", 126) }, "", ""},
		{"a client token of 127", func(a *A) { a.ClientToken = strings.Repeat("x", 127) }, problem.RequestInvalid, "between 33 and 126"},
		{"50 tags", func(a *A) { a.Tags = tags(50) }, "", ""},
		{"51 tags", func(a *A) { a.Tags = tags(51) }, problem.TagLimit, "51 tags"},
		{"tag characters", func(a *A) { a.Tags = map[string]string{"Größe +-=._:/@": "日本 1"} }, "", ""},
		{"a tag key of 128", func(a *A) { a.Tags = map[string]string{strings.Repeat("ä", 128): strings.Repeat("ä", 256)} }, "", ""},
		{"a tag key of 129", func(a *A) { a.Tags = map[string]string{strings.Repeat("ä", 129): ""} }, problem.AssociationInvalid, "more than 128"},
		{"a tag value of 257", func(a *A) { a.Tags = map[string]string{"k": strings.Repeat("ä", 257)} }, problem.AssociationInvalid, "more than 256"},
		{"an empty tag key", func(a *A) { a.Tags = map[string]string{"": "v"} }, problem.AssociationInvalid, "empty key"},
		{"a reserved tag key", func(a *A) { a.Tags = map[string]string{"aWs:x": ""} }, problem.AssociationInvalid, "reserved"},
		{"a tag key that only begins alike", func(a *A) { a.Tags = map[string]string{"awsome": ""} }, "", ""},
		{"a forbidden tag character", func(a *A) { a.Tags = map[string]string{"k<": ""} }, problem.AssociationInvalid, "k<"},
		{"a forbidden value character", func(a *A) { a.Tags = map[string]string{"k": "a\x00"} }, problem.AssociationInvalid, "value of tag"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := A{Namespace: "shop", ServiceAccount: "cart", Role: "arn:aws:iam::111122223333:role/reader"}
			test.change(&a)
			switch err := association.Validate(a); {
			case test.code == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.code != "" && (!problem.Is(err, test.code) || !strings.Contains(problem.Of(err).Message(), test.says)):
				t.Errorf("error %v, want %s that says %q", err, test.code, test.says)
			}
		})
	}
}

func tags(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprint("key-", i)] = "value"
	}
	return m
}

func FuzzParseCursor(f *testing.F) {
	f.Add("")
	f.Add(association.Cursor{Namespace: "shop", ServiceAccount: "cart.v2"}.String())
	f.Add(association.Cursor{Namespace: strings.Repeat("n", 63), ServiceAccount: strings.Repeat("s", 253)}.String())
	f.Add("MS8v")
	f.Add("MS80Yy80\n")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := association.ParseCursor(s)
		if err == nil && c.String() != s {
			t.Errorf("%q and %q are the same cursor", s, c.String())
		}
	})
}

func TestTheLongestNamesMakeACursor(t *testing.T) {
	want := association.Cursor{Namespace: strings.Repeat("n", 63), ServiceAccount: strings.Repeat("s", 253)}
	if got, err := association.ParseCursor(want.String()); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzValidate(f *testing.F) {
	f.Add("shop", "cart", "arn:aws:iam::111122223333:role/reader", "", allow, "team", "a", strings.Repeat("x", 36))
	f.Add("", "", "", "", "", "", "", "")
	f.Add("\xff", "a..", "arn:aws:iam::1:role/", "\x00", "{", "aws", "\xff", "ä")
	f.Fuzz(func(t *testing.T, namespace, account, role, target, policy, key, value, token string) {
		a := podid.Association{Namespace: namespace, ServiceAccount: account, Role: podid.RoleARN(role), Target: podid.RoleARN(target),
			Policy: policy, DisableSessionTags: true, Tags: map[string]string{key: value}, ClientToken: token}
		err := association.Validate(a)
		if err != nil && problem.Of(err).Code == problem.Internal {
			t.Errorf("not a problem: %v", err)
		}
		if err == nil && (a.Namespace == "" || a.ServiceAccount == "" || a.Role == "") {
			t.Errorf("valid: %+v", a)
		}
	})
}
