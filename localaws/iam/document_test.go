package iam

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestPrincipalsAreFoundWhereverTheyStand(t *testing.T) {
	const bob = "arn:aws:iam::111122223333:user/bob"
	for _, test := range []struct {
		document string
		want     []string
	}{
		{`{"Statement":{"Principal":{"AWS":"B"}}}`, []string{bob}},
		{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":["x.amazonaws.com"],"AWS":["B", "111122223333"]}},{"NotPrincipal":{"AWS":"B"}}]}`, []string{bob, "111122223333", bob}},
		{`{"Statement":[{"Principal":{"Federated":"B"},"Condition":{"ArnEquals":{"aws:PrincipalArn":["B"]},"X":{"AWS":"B"}}}]}`, nil},
		{`{"Statement":[{"Sid":"B","Principal":"*"}]}`, nil},
		{`{"Principal":{"AWS":"B"}}`, nil},
		{`{"Statement":[{"Principal":{"A\u0057S":"B"}}]}`, []string{bob}},
	} {
		document := strings.ReplaceAll(test.document, `"B"`, `"`+bob+`"`)
		var got []string
		for _, p := range principals(document) {
			got = append(got, p.value)
			if raw := document[p.start:p.end]; raw != `"`+p.value+`"` {
				t.Errorf("%s: the span is %s", document, raw)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v", document, got)
		}
		changed := replacePrincipal(document, bob, "AIDAEXAMPLE")
		if !json.Valid([]byte(changed)) || strings.Count(changed, "AIDAEXAMPLE") != len(slices.DeleteFunc(got, func(s string) bool { return s != bob })) {
			t.Errorf("changed to %s", changed)
		}
	}
}

// FuzzReplacePrincipal: a document stays a document, and what is replaced is gone.
func FuzzReplacePrincipal(f *testing.F) {
	f.Add(`{"Statement":[{"Principal":{"AWS":["a","b"]},"Action":"x"}]}`, "a")
	f.Add(`{"Statement":{"NotPrincipal":{"AWS":"\u0061"}}}`, "a")
	f.Add(`{"Statement":[[{"Principal":{"AWS":[["a"]]}}]]} trailing`, "a")
	f.Add(`{"Statement":`, "")
	f.Fuzz(func(t *testing.T, document, old string) {
		changed := replacePrincipal(document, old, "AIDAEXAMPLE")
		if json.Valid([]byte(document)) && !json.Valid([]byte(changed)) {
			t.Errorf("%s became %s", document, changed)
		}
		for _, p := range principals(changed) {
			if p.value == old && old != "AIDAEXAMPLE" {
				t.Errorf("%s still names %s", changed, old)
			}
		}
	})
}

func TestDocumentsAreEncodedAsRFC3986HasIt(t *testing.T) {
	if got, want := encoded("{\"a b\":\"~-._+/é\"}"), "%7B%22a%20b%22%3A%22~-._%2B%2F%C3%A9%22%7D"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestWhiteSpaceDoesNotCount(t *testing.T) {
	if n := (Document{Text: " {\n\t\"a\" : \"é\" }\r\n"}).size(); n != 9 {
		t.Errorf("size %d", n)
	}
}
