package policy_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/openpodidentity/podid/policy"
)

// documents are the seeds of FuzzParse: every document in testdata.
func documents(f *testing.F) (all [][]byte) {
	f.Helper()
	for _, name := range []string{"testdata/syntax.txtar", "testdata/trust.txtar"} {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			all = append(all, file.Data)
		}
	}
	for _, d := range readCorpus(f) {
		for _, c := range d.Cases {
			for _, s := range []json.RawMessage{c.Identity, c.Trust, c.ResourcePolicy} {
				if s != nil {
					all = append(all, []byte(`{"Version":"2012-10-17","Statement":`+string(s)+`}`))
				}
			}
		}
	}
	return all
}

func FuzzParse(f *testing.F) {
	for i, d := range documents(f) {
		f.Add(uint8(i), d)
	}
	f.Add(uint8(0), []byte(podIdentityTrust))
	f.Fuzz(func(t *testing.T, kind uint8, document []byte) {
		p, err := policy.Parse(policy.Type(kind%7), "fuzzed", document)
		if err != nil {
			e, ok := err.(*policy.SyntaxError)
			if !ok || e.Line < 1 || e.Column < 1 || e.Path == "" || e.Problem == "" {
				t.Fatalf("%#v", err)
			}
			return
		}
		if !json.Valid(document) {
			t.Fatal("accepted what is not JSON")
		}
		// What was accepted can be written and read, asked and explained.
		same := rewritten(t, p)
		req := podIdentityRequest()
		consistent(t, req, policy.Set{Resource: []*policy.Policy{p}})
		alike(t, req, policy.Set{Resource: []*policy.Policy{p}}, policy.Set{Resource: []*policy.Policy{same}})
		consistent(t, policy.Request{Principal: principals["session"], Action: "s3:GetObject", Resource: "arn:aws:s3:::b/é😀", Keys: req.Keys},
			policy.Set{Identity: []*policy.Policy{p}, Boundary: []*policy.Policy{p}})
		if p.Type != policy.Trust {
			return
		}
		verdict := policy.ExplainTrust(p, req, req.Action)
		if policy.Evaluate(req, policy.Set{Resource: []*policy.Policy{p}}).Allowed != (verdict.Outcome == policy.TrustAllowed) {
			t.Fatalf("%+v", verdict)
		}
		merged, err := trustStatements["service"].Merge(document)
		if err != nil {
			return // the merged document may be too large
		}
		again, err := trustStatements["service"].Merge(merged)
		if err != nil || string(again) != string(merged) {
			t.Fatalf("merged twice: %v\n%s\n%s", err, merged, again)
		}
	})
}

// FuzzEvaluate draws a question from the bytes and adds a raw key and value,
// as pattern and as value.
func FuzzEvaluate(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), "aws:RequestTag/team", "bl*e?", "blue")
	f.Add([]byte{}, "aws:SourceIp", "10.0.0.0/8", "::ffff:10.0.0.1")
	f.Add([]byte{9, 9, 9, 9}, "s3:prefix", "${aws:username, 'x'}${*}", "alice*")
	f.Add([]byte{1, 2, 3}, "aws:CurrentTime", "2026-05-01T00:00:00Z", "1777593600")
	f.Add([]byte{7}, "k:n", "1e99", "-1e-99")
	if data, err := os.ReadFile("testdata/syntax.txtar"); err == nil {
		f.Add(data, "aws:SourceArn", "arn:aws:s3:::?😀", "arn:aws:s3:::é😀")
	}
	f.Fuzz(func(t *testing.T, choices []byte, key, pattern, value string) {
		next := 0
		d := func(n int, _ string) int {
			if next >= len(choices) {
				return 0
			}
			next++
			return int(choices[next-1]) % n
		}
		req, o := genQuestion(d)
		set := o.set(t)
		req.Keys[key] = append(req.Keys[key], value)
		for _, operator := range policy.Operators() {
			quoted, _ := json.Marshal(map[string]string{key: pattern})
			document := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{` + operator + `:` + string(quoted) + `}}}`
			if p, err := policy.Parse(policy.Identity, "fuzzed", []byte(document)); err == nil {
				set.Identity = append(set.Identity, p)
			}
		}
		consistent(t, req, set)
	})
}
