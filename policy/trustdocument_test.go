package policy_test

import (
	"bytes"
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
