package kube_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	store "github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/problem"
)

func olderThanTheSchema(t *testing.T, c *associations) {
	c.clear(t)
	const path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
	c.kubectl(t, "patch", "crd", "podidentityassociations.podid.dev", "--type=json", "-p",
		`[{"op":"replace","path":"`+path+`","value":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}]`)
	eventually(t, "the schema takes anything", func(context.Context) error {
		if out, err := c.tryApply(t, manifest("shop", "cart", "roleARN: arn:aws:iam::111122223333:user/jane", "region: mars")); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	c.kubectl(t, "apply", "-f", "../../deploy/crds")
	s := c.open(t, c.Config())
	_, err := s.Find(t.Context(), "shop", "cart")
	wantsCode(t, err, problem.AssociationInvalid, "user/jane")
	page, _, err := s.List(t.Context(), association.Filter{}, "", 10)
	if err != nil || len(page) != 1 {
		t.Fatal(page, err)
	}
	_, err = s.Update(t.Context(), page[0].ID(), func(a *podid.Association) error { a.Tags = map[string]string{"team": "a"}; return nil })
	wantsCode(t, err, problem.AssociationInvalid, "user/jane")
	must(t)(s.Update(t.Context(), page[0].ID(), func(a *podid.Association) error { a.Role = reader; return nil }))
	must(t)(s.Find(t.Context(), "shop", "cart"))
	must(t)(s.Delete(t.Context(), page[0].ID()))
	eventually(t, "the schema is strict again", func(context.Context) error {
		if _, err := c.tryApply(t, manifest("shop", "cart", "roleARN: arn:aws:iam::111122223333:user/jane")); err == nil {
			return errors.New("taken")
		}
		return nil
	})
}

// schemaAgreesOnAnything asks both about specs that are valid, nearly valid and neither.
func schemaAgreesOnAnything(t *testing.T, c *associations) {
	arn := rapid.OneOf(
		rapid.StringMatching(`arn:aws[a-z-]{0,5}:iam::[0-9]{12}:role/([!-.0-~]{1,9}/){0,3}[0-9A-Za-z_+=,.@-]{1,64}`),
		rapid.StringMatching(`arn:aw[sz]:(iam|sts):[a-z]?:[0-9]{11,13}:(role|user|assumed-role)/([ -~ä]{0,9}/){0,2}[ -~ä]{0,9}`),
		rapid.StringN(1, 20, -1))
	tagText := rapid.OneOf(rapid.StringMatching(`[\pL\pZ\pN_.:/=+@-]{0,9}`), rapid.StringMatching(`[aA][wW][sS]:?[a-z]{0,3}`), rapid.StringN(0, 9, -1))
	policies := rapid.OneOf(
		rapid.SampledFrom([]string{allow, " " + allow, "[" + allow + "]", "{}", strings.Replace(allow, "*", "arn:aws:s3:::ÿ", 1)}),
		rapid.StringMatching("[\t\n ]{0,2}[{]?[ -~ÿā]{0,20}[}]?"))
	rapid.Check(t, func(t *rapid.T) {
		a := podid.Association{
			Namespace: "shop", ServiceAccount: "agrees", Role: podid.RoleARN(arn.Draw(t, "role")),
			DisableSessionTags: rapid.Bool().Draw(t, "disable"), Tags: rapid.MapOfN(tagText, tagText, 0, 3).Draw(t, "tags"),
		}
		if rapid.Bool().Draw(t, "valid role") {
			a.Role = reader
		}
		if rapid.IntRange(0, 3).Draw(t, "has target") == 0 {
			a.Target = podid.RoleARN(arn.Draw(t, "target"))
		}
		if rapid.IntRange(0, 3).Draw(t, "has policy") == 0 {
			a.Policy = policies.Draw(t, "policy")
		}
		rules := association.Validate(a)
		schema := c.admin.Create(context.Background(), store.Object(a), client.DryRunAll)
		if schema != nil && !apierrors.IsInvalid(schema) {
			t.Fatalf("the API server fails: %v", schema)
		}
		if rules == nil && schema != nil {
			t.Fatalf("the rules take what the schema refuses: %v", schema)
		}
		if rules != nil && schema == nil {
			// The rules' own: what is within the braces of a policy, and the characters of tag keys.
			if a.Policy != "" {
				a.Policy = allow
			}
			values := map[string]string{}
			for _, value := range a.Tags {
				values[fmt.Sprint("key-", len(values))] = value
			}
			a.Tags = values
			if err := association.Validate(a); err != nil {
				t.Fatalf("the schema takes what the rules refuse: %v", err)
			}
		}
	})
}

// schemaAgrees asks the API server and association.Validate about the same specs. What the
// rules take the schema takes too; what the schema takes and the rules do not is named.
func schemaAgrees(t *testing.T, c *associations) {
	type A = podid.Association
	tags := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint("key-", i)] = "value"
		}
		return m
	}
	tag := func(key, value string) func(*A) { return func(a *A) { a.Tags = map[string]string{key: value} } }
	role := func(arn podid.RoleARN) func(*A) { return func(a *A) { a.Role = arn } }
	onResource := func(path string) string { return strings.Replace(allow, `"*"`, `"arn:aws:s3:::bucket/`+path+`"`, 1) }
	policy := func(text string) func(*A) { return func(a *A) { a.Policy, a.DisableSessionTags = text, true } }
	for _, test := range []struct {
		name   string
		change func(*A)
		// rulesOnly: no schema can hold this rule.
		rulesOnly bool
	}{
		{"as it is", func(*A) {}, false},
		{"a path", role("arn:aws:iam::111122223333:role/a/b/!-~/reader"), false},
		{"a role of China", role("arn:aws-cn:iam::111122223333:role/reader"), false},
		{"a name of 64", role(podid.RoleARN("arn:aws:iam::111122223333:role/" + strings.Repeat("n", 64))), false},
		{"a name of 65", role(podid.RoleARN("arn:aws:iam::111122223333:role/" + strings.Repeat("n", 65))), false},
		{"640 characters", role(podid.RoleARN("arn:aws:iam::111122223333:role/" + strings.Repeat("p/", 304) + "n")), false},
		{"641 characters", role(podid.RoleARN("arn:aws:iam::111122223333:role/" + strings.Repeat("p/", 304) + "nn")), false},
		{"all characters of a name", role("arn:aws:iam::111122223333:role/aZ09_+=,.@-"), false},
		{"a space", role("arn:aws:iam::111122223333:role/a b"), false},
		{"a space in the path", role("arn:aws:iam::111122223333:role/a b/c"), false},
		{"an umlaut", role("arn:aws:iam::111122223333:role/ä"), false},
		{"a line break", role("arn:aws:iam::111122223333:role/reader\n"), false},
		{"no name", role("arn:aws:iam::111122223333:role/"), false},
		{"an empty path", role("arn:aws:iam::111122223333:role//n"), false},
		{"eleven digits", role("arn:aws:iam::11112222333:role/reader"), false},
		{"a user", role("arn:aws:iam::111122223333:user/x"), false},
		{"a session", role("arn:aws:sts::111122223333:assumed-role/x/y"), false},
		{"a session in a path", role("arn:aws:iam::111122223333:role/a:assumed-role/n"), false},
		{"a wildcard", role("arn:aws:iam::111122223333:role/*"), false},
		{"another partition's name", role("arn:awz:iam::111122223333:role/reader"), false},
		{"no role", role(""), false},
		{"a target", func(a *A) { a.Target = target }, false},
		{"a target that is no role", func(a *A) { a.Target = "x" }, false},
		{"tags disabled", func(a *A) { a.DisableSessionTags = true }, false},
		{"a policy with session tags", func(a *A) { a.Policy = allow }, false},
		{"a policy", policy(allow), false},
		{"a policy that begins with a line break", policy("\r\n\t " + allow), false},
		{"a policy with all that STS takes", policy(onResource("ÿ¡~")), false},
		{"a policy STS does not take", policy(strings.Replace(allow, "GetObject", "Get→", 1)), false},
		{"a policy with a control character", policy(strings.Replace(allow, "GetObject", "Get\u0001", 1)), false},
		{"a policy of 2,048", policy(allow + strings.Repeat(" ", 2048-len(allow))), false},
		{"a policy of 2,049", policy(allow + strings.Repeat(" ", 2049-len(allow))), false},
		{"a policy of 2,048 two-byte characters", policy(onResource(strings.Repeat("ä", 2048-len(onResource(""))))), false},
		{"a policy of 2,049 two-byte characters", policy(onResource(strings.Repeat("ä", 2049-len(onResource(""))))), false},
		{"a policy that is a list", policy("[]"), false},
		{"a policy that is null", policy("null"), false},
		{"a policy that is blank", policy("  "), false},
		{"a policy that is cut off", policy(allow[:30]), true},
		{"a policy of another grammar", policy(`{"a":1}`), true},
		{"50 tags", func(a *A) { a.Tags = tags(50) }, false},
		{"51 tags", func(a *A) { a.Tags = tags(51) }, false},
		{"tag characters", tag("Größe +-=._:/@", "日本 1 +-=._:/@"), false},
		{"a tag key of 128", tag(strings.Repeat("ä", 128), strings.Repeat("ä", 256)), false},
		{"a tag key of 129", tag(strings.Repeat("ä", 129), ""), false},
		{"a tag value of 257", tag("k", strings.Repeat("ä", 257)), false},
		{"an empty tag key", tag("", "v"), false},
		{"an empty tag value", tag("k", ""), false},
		{"reserved", tag("aws:x", ""), false},
		{"reserved in capitals", tag("AWS:", ""), false},
		{"reserved in both", tag("aWs:x", ""), false},
		{"a reserved value", tag("k", "Aws:x"), false},
		{"a key that only begins alike", tag("awsome", "aws"), false},
		{"a long s", tag("awſ:x", "awſ:x"), false},
		{"a value character", tag("k", "<"), false},
		{"a value with a control character", tag("k", "a\u0001"), false},
		{"a line separator", tag("k", "a\u2028"), false},
		{"a key character", tag("k<", ""), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := A{Namespace: "shop", ServiceAccount: "agrees", Role: reader}
			test.change(&a)
			rules := association.Validate(a)
			schema := c.admin.Create(t.Context(), store.Object(a), client.DryRunAll)
			switch {
			case schema != nil && !apierrors.IsInvalid(schema):
				t.Errorf("the API server fails: %v", schema)
			case test.rulesOnly && (rules == nil || schema != nil):
				t.Errorf("rules: %v; schema: %v; want the rules alone to refuse it", rules, schema)
			case !test.rulesOnly && (rules == nil) != (schema == nil):
				t.Errorf("rules: %v; schema: %v", rules, schema)
			}
		})
	}
}
