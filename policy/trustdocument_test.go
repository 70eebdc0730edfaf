package policy_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/openpodidentity/podid/policy"
)

// Statements by the name that testdata/trust.txtar calls them.
var trustStatements = map[string]policy.TrustStatement{
	"service": {Service: "pods.eks.amazonaws.com"},
	"service-narrowed": {
		Service: "pods.eks.amazonaws.com", SourceARN: "arn:aws:eks:eu-central-1:111122223333:cluster/prod", SourceAccount: "111122223333",
		Tags: map[string]string{"kubernetes-namespace": "test-namespace", "kubernetes-service-account": "test-*"},
	},
	"broker": {
		AWS:  "arn:aws:iam::111122223333:role/podid-broker",
		Tags: map[string]string{"eks-cluster-arn": "arn:aws:eks:eu-central-1:111122223333:cluster/prod"},
	},
}

// Every page is NAME.STATEMENT.json, the existing document (empty: none), and the
// wanted one.
func TestTrustPoliciesAreWrittenAndMerged(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/trust.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(archive.Files); i += 2 {
		existing, want := archive.Files[i], archive.Files[i+1]
		name := strings.TrimSuffix(existing.Name, ".json")
		if want.Name != name+".want" {
			t.Fatalf("%s is followed by %s", existing.Name, want.Name)
		}
		t.Run(name, func(t *testing.T) {
			_, statement, _ := strings.Cut(name, ".")
			s, ok := trustStatements[statement]
			if !ok {
				t.Fatalf("no statement %q", statement)
			}
			write := s.Document
			if len(existing.Data) > 0 {
				write = func() ([]byte, error) { return s.Merge(existing.Data) }
			}
			got, err := write()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want.Data), string(got)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			again, err := s.Merge(got)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again, got) {
				t.Errorf("merging twice changes the document:\n%s", again)
			}
		})
	}
}

func TestTheTrustPolicyThatIsWrittenAdmitsTheSession(t *testing.T) {
	broker := policy.Principal{Kind: policy.AssumedRole, Account: account, ARN: "arn:aws:sts::111122223333:assumed-role/podid-broker/x", RoleARN: "arn:aws:iam::111122223333:role/podid-broker"}
	for name, s := range trustStatements {
		document, err := s.Document()
		if err != nil {
			t.Fatal(err)
		}
		p := mustParse(t, policy.Trust, name, string(document))
		req := podIdentityRequest()
		if s.AWS != "" {
			req.Principal = broker
			delete(req.Keys, "aws:SourceArn")
			delete(req.Keys, "aws:SourceAccount")
		}
		if v := policy.ExplainTrust(p, req, "sts:AssumeRole", "sts:TagSession"); v.Outcome != policy.TrustAllowed {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestTrustStatementsThatCannotWorkAreRefused(t *testing.T) {
	for name, s := range map[string]policy.TrustStatement{
		"nobody":                          {},
		"service and broker":              {Service: "pods.eks.amazonaws.com", AWS: "111122223333"},
		"aws:SourceArn for a broker":      {AWS: "111122223333", SourceARN: "arn:aws:eks:eu-central-1:111122223333:cluster/prod"},
		"aws:SourceAccount for a broker":  {AWS: "111122223333", SourceAccount: "111122223333"},
		"a principal that is not one":     {AWS: "podid"},
		"a variable that is not complete": {Service: "pods.eks.amazonaws.com", Tags: map[string]string{"kubernetes-namespace": "${x"}},
	} {
		if document, err := s.Document(); err == nil {
			t.Errorf("%s: %s", name, document)
		}
	}
	if _, err := trustStatements["service"].Merge([]byte(`{"Statement":`)); err == nil {
		t.Error("a broken document was merged into")
	}
}

func TestMergeKeepsTheDocumentsLayout(t *testing.T) {
	const statement = `{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}`
	for name, document := range map[string]string{
		"CRLF":                     "{\r\n  \"Version\": \"2012-10-17\",\r\n  \"Statement\": [\r\n    " + statement + "\r\n  ]\r\n}\r\n",
		"CRLF and an object":       "{\r\n\t\"Statement\": " + statement + "\r\n}\r\n",
		"tabs":                     "{\n\t\"Statement\": [\n\t\t" + statement + "\n\t]\n}\n",
		"spaces where nobody does": " {  \"Statement\" :[\n\n " + statement + " \n ,\n" + strings.Replace(statement, "ec2", "lambda", 1) + "\t]  } \n\n",
		"one line":                 `{"Statement":[` + statement + `]}`,
		"an object":                `{"Id":"x","Statement":` + statement + `,"Version":"2012-10-17"}`,
		"escapes":                  `{"Statement":[{"Sid":"\u0041","Effect":"Allow","Principal":{"AWS":"\u002a"},"Action":"sts:AssumeRole"}]}`,
		"empty":                    "{\r\n \"Statement\": []\r\n}",
	} {
		t.Run(name, func(t *testing.T) {
			for kind, s := range trustStatements {
				merged, err := s.Merge([]byte(document))
				if err != nil {
					t.Fatal(err)
				}
				mergedWell(t, s, []byte(document), merged)
				if strings.Contains(document, "\r\n") != strings.Contains(string(merged), "\r\n") ||
					strings.Count(document, "\r\n") == strings.Count(document, "\n") && strings.Count(string(merged), "\r\n") != strings.Count(string(merged), "\n") {
					t.Errorf("%s: the lines end differently: %q", kind, merged)
				}
			}
		})
	}
}

// mergedWell checks the promises of Merge: the statement is there, every other
// one is as it was, and so is what stands around them; merging again does nothing.
func mergedWell(t *testing.T, s policy.TrustStatement, document, merged []byte) {
	t.Helper()
	again, err := s.Merge(merged)
	if err != nil || !bytes.Equal(again, merged) {
		t.Fatalf("merging twice: %v\n%s\n%s", err, merged, again)
	}
	whole, err := s.Document()
	if err != nil {
		t.Fatal(err)
	}
	wanted := rawStatements(t, whole)[0]
	var before []any
	for _, one := range rawStatements(t, document) {
		if sid, _ := decoded(t, one).(map[string]any)["Sid"].(string); sid != policy.TrustSid {
			before = append(before, string(one))
		}
	}
	var after []any
	found := 0
	for _, one := range rawStatements(t, merged) {
		if reflect.DeepEqual(decoded(t, one), decoded(t, wanted)) {
			found++
			continue
		}
		after = append(after, string(one))
	}
	if found != 1 || !reflect.DeepEqual(before, after) {
		t.Fatalf("%d statements of ours, and others:\n%v\nbefore\n%v", found, after, before)
	}
	var x, y map[string]json.RawMessage
	if json.Unmarshal(document, &x) != nil || json.Unmarshal(merged, &y) != nil {
		t.Fatalf("not JSON: %s", merged)
	}
	delete(x, "Statement")
	delete(y, "Statement")
	if !reflect.DeepEqual(x, y) {
		t.Fatalf("%v\nbefore\n%v", y, x)
	}
}

// rawStatements are the statements of a document, byte for byte.
func rawStatements(t *testing.T, document []byte) (list []json.RawMessage) {
	t.Helper()
	var d struct{ Statement json.RawMessage }
	if err := json.Unmarshal(document, &d); err != nil {
		t.Fatalf("%v: %s", err, document)
	}
	if json.Unmarshal(d.Statement, &list) != nil {
		list = []json.RawMessage{d.Statement}
	}
	return list
}

func decoded(t *testing.T, text json.RawMessage) (v any) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

func FuzzMerge(f *testing.F) {
	archive, err := txtar.ParseFile("testdata/trust.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for i, file := range archive.Files {
		f.Add(uint8(i), file.Data)
		f.Add(uint8(i), bytes.ReplaceAll(file.Data, []byte("\n"), []byte("\r\n")))
	}
	f.Add(uint8(0), []byte("{\"Statement\":\r{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"*\"}\n\n}"))
	kinds := slices.Sorted(maps.Keys(trustStatements))
	f.Fuzz(func(t *testing.T, kind uint8, document []byte) {
		s := trustStatements[kinds[int(kind)%len(kinds)]]
		merged, err := s.Merge(document)
		if err != nil {
			return // no trust policy, or one that would become too large
		}
		if _, err := policy.Parse(policy.Trust, "merged", merged); err != nil {
			t.Fatal(err)
		}
		if len(merged)+1024 > policy.MaxWithoutSpace {
			return
		}
		mergedWell(t, s, document, merged)
	})
}
