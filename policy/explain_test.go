package policy_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/openpodidentity/podid/policy"
)

var update = flag.Bool("update", false, "rewrite the wanted texts")

// Every page of testdata/explain.txtar is a question in the form of the corpus,
// NAME.json, followed by the text that answers it, NAME.txt, and for some of them
// the report, NAME.report.
func TestDecisionsAreExplainedInWords(t *testing.T) {
	const file = "testdata/explain.txtar"
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var question policy.Decision
	for i := range archive.Files {
		page := &archive.Files[i]
		name, kind, _ := strings.Cut(page.Name, ".")
		if kind == "json" {
			var d decision
			if err := json.Unmarshal(page.Data, &d); err != nil {
				t.Fatalf("%s: %v", page.Name, err)
			}
			req, set := d.question(t)
			question = policy.Evaluate(req, set)
			if next := i + 1; next == len(archive.Files) || archive.Files[next].Name != name+".txt" {
				t.Fatalf("%s is not followed by its text", page.Name)
			}
			continue
		}
		t.Run(page.Name, func(t *testing.T) {
			got := question.Explain() + "\n"
			if kind == "report" {
				got = report(t, question)
			}
			if *update {
				page.Data = []byte(got)
			} else if got != string(page.Data) {
				t.Errorf("got\n%s\nwant\n%s", got, page.Data)
			}
		})
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// report is the decision's JSON, which is the Report's.
func report(t *testing.T, d policy.Decision) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		t.Fatal(err)
	}
	whole, err := json.Marshal(d.Report())
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, b.Bytes()); err != nil {
		t.Fatal(err)
	}
	var x, y any
	if json.Unmarshal(whole, &x) != nil || json.Unmarshal(compact.Bytes(), &y) != nil || !reflect.DeepEqual(x, y) {
		t.Errorf("the decision is not its report: %s", whole)
	}
	return b.String()
}

func TestReasonsNameEveryStatement(t *testing.T) {
	p := mustParse(t, policy.Identity, "inline policy x of role app", `{
  "Version": "2012-10-17",
  "Statement": [
    {"Sid": "A", "Effect": "Allow", "Action": "ec2:*", "Resource": "*"},
    {"Sid": "B", "Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b"},
    {"Sid": "C", "Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}},
    {"Sid": "D", "Effect": "Allow", "Action": "s3:*", "Resource": "*"},
    {"Sid": "E", "Effect": "Deny", "Action": "s3:*", "Resource": "*"}
  ]
}`)
	d := policy.Evaluate(policy.Request{Principal: principals["session"], Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k"},
		policy.Set{Identity: []*policy.Policy{p}})
	if d.Allowed || !d.Explicit {
		t.Fatalf("%+v", d)
	}
	var got []string
	for _, r := range d.Reasons() {
		got = append(got, strings.Join([]string{r.Sid, r.Effect, r.Clause, r.Key, strings.Join(r.Wanted, ","), strings.Join(r.Found, ",")}, "|"))
	}
	want := []string{
		"A|Allow|Action||ec2:*|s3:GetObject",
		"B|Allow|Resource||arn:aws:s3:::b|arn:aws:s3:::b/k",
		"C|Allow|Condition|aws:SecureTransport|true|",
		"D|Allow||||",
		"E|Deny||||",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if r := d.Reasons()[1]; r.Line != 5 || r.Column != 5 || r.Policy != "inline policy x of role app" {
		t.Errorf("%+v", r)
	}
}

// Nobody can edit AWS's own policies: the fix is a statement elsewhere.
func TestTheFixIsNeverToEditAPolicyOfAWS(t *testing.T) {
	const managed = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
	parse := func(kind policy.Type, name, statement string) []*policy.Policy {
		return []*policy.Policy{mustParse(t, kind, name, `{"Version":"2012-10-17","Statement":[`+statement+`]}`)}
	}
	const (
		read      = `{"Effect":"Allow","Action":["s3:Get*","s3:List*"],"Resource":"*"}`
		all       = `{"Effect":"Allow","Action":"*","Resource":"*"}`
		deny      = `{"Effect":"Deny","Action":"*","Resource":"*"}`
		role      = "arn:aws:iam::111122223333:role/app"
		statement = `add a statement such as {"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/k"} to `
	)
	own := parse(policy.Identity, "inline policy access of role app", all)
	for _, test := range []struct {
		name string
		set  policy.Set
		want string
	}{
		{"attached", policy.Set{Identity: parse(policy.Identity, managed, read)}, statement + "a policy of " + role},
		{"attached, in China", policy.Set{Identity: parse(policy.Identity, "arn:aws-cn:iam::aws:policy/AmazonS3ReadOnlyAccess", read)}, statement + "a policy of " + role},
		{"a boundary", policy.Set{Identity: own, Boundary: parse(policy.Boundary, managed, read)}, statement + "a permissions boundary of your own, in place of " + managed},
		{"a boundary that is far", policy.Set{Identity: own, Boundary: parse(policy.Boundary, managed, `{"Effect":"Allow","Action":"ec2:*","Resource":"*"}`)}, statement + "a permissions boundary of your own, in place of " + managed},
		{"a session policy", policy.Set{Identity: own, Session: parse(policy.Session, managed, read)}, statement + "a session policy of your own"},
		{"a denial", policy.Set{Identity: append(parse(policy.Identity, "arn:aws:iam::aws:policy/AWSDenyAll", deny), own...)}, "detach arn:aws:iam::aws:policy/AWSDenyAll from " + role},
		{"a boundary's denial", policy.Set{Identity: own, Boundary: parse(policy.Boundary, managed, deny)}, "use a permissions boundary of your own, in place of " + managed + "; and " + statement + "a permissions boundary of your own, in place of " + managed},
		{"a session policy's denial", policy.Set{Identity: own, Session: parse(policy.Session, managed, deny)}, "leave " + managed + " out of the session's policies; and " + statement + "a session policy of your own"},
	} {
		d := policy.Evaluate(policy.Request{Principal: principals["session"], Action: "s3:PutObject", Resource: "arn:aws:s3:::b/k"}, test.set)
		if got := d.Fix(); got != test.want {
			t.Errorf("%s: %s\nwant %s", test.name, got, test.want)
		}
		for _, ch := range d.Changes() {
			if ch.Do != policy.RemoveStatement && ch.Policy == managed || !strings.Contains(strings.ToLower(d.Explain()), strings.ToLower(ch.Text)) {
				t.Errorf("%s: %+v in %s", test.name, ch, d.Explain())
			}
		}
	}
}

// A default for the tag, or a statement without it, would let every tenant in.
func TestTheFixForAMissingTagIsTheTag(t *testing.T) {
	statement := func(resource, condition string) string {
		return `{"Effect":"Allow","Action":"s3:GetObject","Resource":"` + resource + `","Condition":{` + condition + `}}`
	}
	const tag = "aws:PrincipalTag/kubernetes-namespace"
	for _, test := range []struct{ statement, missed string }{
		{statement("arn:aws:s3:::b/${"+tag+"}/*", ""), "its Resource is \"arn:aws:s3:::b/${" + tag + "}/*\", and the caller has no tag kubernetes-namespace"},
		{statement("*", `"StringEquals":{"`+tag+`":"prod"}`), "its condition StringEquals on " + tag + " wants \"prod\", and the caller has no tag kubernetes-namespace"},
		{statement("*", `"StringEquals":{"s3:prefix":"${`+tag+`}"}`), "its condition StringEquals on s3:prefix wants \"${" + tag + "}\", and the caller has no tag kubernetes-namespace"},
	} {
		p := mustParse(t, policy.Identity, "inline policy x of role app", `{"Version":"2012-10-17","Statement":[`+test.statement+`]}`)
		for who, want := range map[string]string{
			"session": "tag the session: it has no tag kubernetes-namespace (an association with disableSessionTags gives none)",
			"user":    "tag the user: it has no tag kubernetes-namespace",
		} {
			d := policy.Evaluate(policy.Request{
				Principal: principals[who], Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k", Keys: policy.Keys{"s3:prefix": {"a"}},
			}, policy.Set{Identity: []*policy.Policy{p}})
			if got := d.Changes(); got[0].Text != want || slices.ContainsFunc(got, func(ch policy.Change) bool { return ch.Type != "" }) {
				t.Errorf("%s: %+v\nwant %s", who, got, want)
			}
			if !strings.Contains(d.Explain(), test.missed) {
				t.Errorf("%s\nwant %s", d.Explain(), test.missed)
			}
		}
	}
}
