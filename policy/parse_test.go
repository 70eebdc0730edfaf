package policy_test

import (
	"encoding/json"
	"errors"
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/openpodidentity/podid/policy"
)

var types = map[string]policy.Type{
	"identity": policy.Identity, "trust": policy.Trust, "resource": policy.Resource, "boundary": policy.Boundary,
	"session": policy.Session, "scp": policy.ServiceControl, "rcp": policy.ResourceControl,
}

func TestMistakesAreNamedWithTheirPlace(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/syntax.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(archive.Files); i += 2 {
		document, want := archive.Files[i], archive.Files[i+1]
		name := strings.TrimSuffix(document.Name, ".json")
		if want.Name != name+".err" {
			t.Fatalf("%s is followed by %s", document.Name, want.Name)
		}
		t.Run(name, func(t *testing.T) {
			kind, ok := types[path.Dir(name)]
			if !ok {
				t.Fatalf("no type of policy %q", path.Dir(name))
			}
			_, err := policy.Parse(kind, "", document.Data)
			if err == nil {
				t.Fatal("no mistake found")
			}
			if _, ok := errors.AsType[*policy.SyntaxError](err); !ok {
				t.Fatalf("%T is not a *SyntaxError", err)
			}
			if got := err.Error(); got != strings.TrimSpace(string(want.Data)) {
				t.Errorf("got  %s\nwant %s", got, want.Data)
			}
		})
	}
}

func TestDocumentsAreBounded(t *testing.T) {
	for name, document := range map[string]string{
		"size":   `{"Statement":[]}` + strings.Repeat(" ", policy.MaxDocument),
		"dense":  `{"Statement":[],"Id":"` + strings.Repeat(" ", policy.MaxWithoutSpace) + `"}`,
		"values": `{"Statement":{"Effect":"Allow","Resource":"*","Action":[` + strings.Repeat(`"*",`, 5000) + `"*"]}}`,
		"utf-8":  "{\"Statement\":[],\"Id\":\"\xff\"}",
	} {
		if _, err := policy.Parse(policy.Identity, name, []byte(document)); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			t.Log(err)
		}
	}
}

// White space between tokens has a bound of its own: IAM does not count it.
func TestWhiteSpaceBetweenTokensHasABoundOfItsOwn(t *testing.T) {
	document := func(without, all int) []byte {
		const head, tail = `{"Id":"\\\" `, ` \\","Statement":[]}`
		dense := head + strings.Repeat("a ", (without-len(head)-len(tail))/2) + tail
		return []byte("{\t\r\n" + strings.Repeat(" ", all-len(dense)-len("\t\r\n")) + dense[1:])
	}
	for _, c := range []struct {
		without, all int
		want         string
	}{
		{policy.MaxWithoutSpace, policy.MaxWithoutSpace + 3, ""},
		{policy.MaxWithoutSpace, policy.MaxDocument, ""},
		{1000, policy.MaxDocument, ""},
		{policy.MaxWithoutSpace + 2, policy.MaxDocument, "line 1, column 1 ($): the document has 32770 bytes without the white space between tokens; expected at most 32768"},
		{1000, policy.MaxDocument + 1, "line 1, column 1 ($): the document has 131073 bytes; expected at most 131072"},
	} {
		text := document(c.without, c.all)
		if len(text) != c.all || !json.Valid(text) {
			t.Fatalf("%d bytes, want %d; valid: %v", len(text), c.all, json.Valid(text))
		}
		got := ""
		if _, err := policy.Parse(policy.Identity, "", text); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%d of %d bytes: %q, want %q", c.without, c.all, got, c.want)
		}
	}
}

// What an author wrote is quoted in part: errors go to logs and over wires.
func TestMistakesAreShort(t *testing.T) {
	long := strings.Repeat("é", 4000)
	for _, document := range []string{
		`{"` + long + `":1}`,
		`{"Version":"` + long + `","Statement":[]}`,
		`{"Statement":{"` + long + `":1}}`,
		`{"Statement":{"Effect":"` + long + `","Action":"*","Principal":{"AWS":"*"}}}`,
		`{"Statement":{"Effect":"Deny","Action":"` + long + `","Principal":{"AWS":"*"}}}`,
		`{"Statement":{"Effect":"Deny","Action":"*","Principal":"` + long + `"}}`,
		`{"Statement":{"Effect":"Deny","Action":"*","Principal":{"` + long + `":1}}}`,
		`{"Statement":{"Effect":"Deny","Action":"*","Principal":{"AWS":"` + long + `"}}}`,
		`{"Statement":{"Effect":"Deny","Action":"*","Principal":{"AWS":"*"},"Sid":"` + long + `"}}`,
		`{"Statement":{"Effect":"Deny","Action":"*","Principal":{"AWS":"*"},"Condition":{"` + long + `":{}}}}`,
		`{"Statement":{"Effect":"Deny","Action":"*","Principal":{"AWS":"*"},"Condition":{"Bool":{"` + long + `":true}}}}`,
		`{"Statement":{"Effect":"Deny","Action":"*","Principal":{"AWS":"*"},"Condition":{"Bool":{"a:` + long + `":"` + long + `"}}}}`,
		`{"` + long + `":1,"` + long + `":1}`,
		`{"Statement":{"` + long + `":{"` + long + `":[{"` + long + `":x`,
	} {
		_, err := policy.Parse(policy.Trust, "", []byte(document))
		e, ok := errors.AsType[*policy.SyntaxError](err)
		if !ok || len(err.Error()) > 600 || !utf8.ValidString(err.Error()) || !strings.Contains(e.Problem+e.Path, "é…") {
			t.Errorf("%.40s: %d bytes: %.400v", document, len(err.Error()), err)
		}
	}
}

func TestTheNameOfThePolicyIsInTheError(t *testing.T) {
	_, err := policy.Parse(policy.Trust, "trust policy of role R", []byte(`{`))
	if err == nil || !strings.HasPrefix(err.Error(), "trust policy of role R: line 1") {
		t.Error(err)
	}
}

func TestADocumentWithoutAVersionSpeaksTheOldLanguage(t *testing.T) {
	for document, want := range map[string]string{
		`{"Statement":[]}`:                        "2008-10-17",
		`{"Version":"2008-10-17","Statement":[]}`: "2008-10-17",
		`{"Version":"2012-10-17","Statement":[]}`: "2012-10-17",
	} {
		if got := mustParse(t, policy.Identity, "", document).Version(); got != want {
			t.Errorf("%s speaks %s", document, got)
		}
	}
}

func TestColumnsCountCharacters(t *testing.T) {
	_, err := policy.Parse(policy.Resource, "", []byte(`{"Id": "ééé", "Statement": 1}`))
	if e, ok := errors.AsType[*policy.SyntaxError](err); !ok || e.Column != 28 {
		t.Errorf("%v", err)
	}
}

// Every form that AWS's grammar page allows.
func TestTheGrammarsFormsAreAccepted(t *testing.T) {
	for name, c := range map[string]struct {
		kind     policy.Type
		document string
	}{
		"one statement without a list":  {policy.Identity, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`},
		"blocks in any order":           {policy.Identity, `{"Statement":[{"Resource":["*"],"Action":["s3:*"],"Effect":"Deny","Sid":""}],"Version":"2008-10-17"}`},
		"no statement":                  {policy.Session, `{"Version":"2012-10-17","Statement":[]}`},
		"an Id":                         {policy.Trust, `{"Id":"some id","Statement":[]}`},
		"all kinds of principals":       {policy.Trust, `{"Statement":{"Effect":"Allow","Action":"sts:*","Principal":{"AWS":["*","111122223333","arn:aws-cn:iam::111122223333:root","arn:aws:iam::111122223333:user/a/b","arn:aws:iam::111122223333:role/aws-service-role/x/Y","arn:aws:sts::111122223333:assumed-role/R/S","arn:aws:sts::111122223333:federated-user/bob","AROAEXAMPLEID1234567"],"Service":"pods.eks.amazonaws.com","Federated":["accounts.google.com","arn:aws:iam::111122223333:saml-provider/p"],"CanonicalUser":[]}}}`},
		"an origin access identity":     {policy.Resource, `{"Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::cloudfront:user/CloudFront Origin Access Identity E1EXAMPLE"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}}`},
		"a resource policy's free Sids": {policy.Resource, `{"Statement":[{"Sid":"Allow all, please","Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b"},{"Sid":"Allow all, please","Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::c"}]}`},
		"a resource policy's resources": {policy.Resource, `{"Statement":[{"Effect":"Allow","Principal":"*","Action":"execute-api:Invoke","Resource":"execute-api:/prod/GET/*"},{"Effect":"Allow","Principal":"*","Action":"ecr:*"}]}`},
		"services of any name":          {policy.Resource, `{"Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"arn:aws:*:::b"}}`},
		"any partition":                 {policy.Identity, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":["arn:*:s3:::b","arn:aws*:s3:::b","arn:aws:sqs","arn:aws:sqs:*"]}}`},
		"an empty condition":            {policy.Identity, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{}}}`},
		"values of every JSON type":     {policy.Identity, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"a:b":[true,"false"]},"NumericEquals":{"a:b":[1,"2",3.5e1]}}}}`},
		"a service control policy":      {policy.ServiceControl, `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","NotAction":"iam:*","Resource":"*"}]}`},
		"RCPFullAWSAccess":              {policy.ResourceControl, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}`},
		"an SCP's full language":        {policy.ServiceControl, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":"iam:*","NotResource":"arn:aws:s3:::b","Condition":{"Bool":{"aws:SecureTransport":"true"}}},{"Effect":"Deny","Action":"s3:*Object*","Resource":"*"}]}`},
		"wildcards in a trust policy":   {policy.Trust, `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":["sts:*","sts:Assume*"]},{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"*"}]}`},
		"STS in another case":           {policy.Trust, `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":["STS:assumerole","sts:SetContext"]}}`},
		"a resource control policy":     {policy.ResourceControl, `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","NotResource":"arn:aws:s3:::b"}]}`},
	} {
		if _, err := policy.Parse(c.kind, name, []byte(c.document)); err != nil {
			t.Error(err)
		}
	}
}
