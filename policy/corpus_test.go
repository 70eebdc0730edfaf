package policy_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/policy"
)

// decisions is a file of the corpus in testdata/decisions: questions with the
// answer that AWS's page gives.
type decisions struct {
	Source string
	Cases  []decision
}

// decision is one question. Policies are lists of statements; a policy that is
// left out is not there, an empty list is a policy that says nothing.
type decision struct {
	Name, Rule string
	Principal  string // of principals; user if empty
	Action     string // s3:GetObject if empty
	Resource   string `json:"resource-arn"` // arn:aws:s3:::b/k, or the role of a trust policy, if empty
	Account    string `json:"resource-account"`
	Keys       policy.Keys
	Version    string // 2012-10-17 if empty

	// Condition is short for an identity policy that allows everything under it.
	Condition json.RawMessage

	Identity       json.RawMessage
	Trust          json.RawMessage
	ResourcePolicy json.RawMessage `json:"resource"`
	Boundary       json.RawMessage
	Session        json.RawMessage
	SCP            json.RawMessage
	RCP            json.RawMessage

	// Want is "allow", "no", or AWS's clause for the denial.
	Want string
}

const account = "111122223333"

var principals = map[string]policy.Principal{
	"user":      {Kind: policy.User, Account: account, ARN: "arn:aws:iam::111122223333:user/alice"},
	"root":      {Kind: policy.Root, Account: account, ARN: "arn:aws:iam::111122223333:root"},
	"session":   {Kind: policy.AssumedRole, Account: account, ARN: "arn:aws:sts::111122223333:assumed-role/app/s1", RoleARN: "arn:aws:iam::111122223333:role/app"},
	"service":   {Kind: policy.Service, ARN: "pods.eks.amazonaws.com"},
	"federated": {Kind: policy.Federated, ARN: "arn:aws:iam::111122223333:oidc-provider/oidc.example.com"},
	"anonymous": {Kind: policy.Anonymous},
}

// names are what the policies of the corpus are called.
var names = map[policy.Type]string{
	policy.Identity:        "inline policy access of role app",
	policy.Trust:           "trust policy of role target",
	policy.Resource:        "bucket policy of b",
	policy.Boundary:        "arn:aws:iam::111122223333:policy/boundary",
	policy.Session:         "session policy",
	policy.ServiceControl:  "service control policy guardrails",
	policy.ResourceControl: "resource control policy perimeter",
}

// question turns a decision into what Evaluate takes.
func (d *decision) question(t *testing.T) (policy.Request, policy.Set) {
	t.Helper()
	or := func(s, other string) string {
		if s == "" {
			return other
		}
		return s
	}
	principal, ok := principals[or(d.Principal, "user")]
	if !ok {
		t.Fatalf("no principal %q", d.Principal)
	}
	req := policy.Request{
		Principal: principal, Action: or(d.Action, "s3:GetObject"),
		Resource: d.Resource, ResourceAccount: d.Account, Keys: d.Keys,
	}
	if req.Resource == "" {
		req.Resource = "arn:aws:s3:::b/k"
		if d.Trust != nil {
			req.Resource = "arn:aws:iam::" + or(d.Account, account) + ":role/target"
		}
	}
	if d.Condition != nil {
		if d.Identity != nil {
			t.Fatal("both condition and identity")
		}
		d.Identity = json.RawMessage(`[{"Effect":"Allow","Action":"*","Resource":"*","Condition":` + string(d.Condition) + `}]`)
	}
	compile := func(kind policy.Type, statements json.RawMessage) []*policy.Policy {
		if statements == nil {
			return nil
		}
		return []*policy.Policy{mustParse(t, kind, names[kind], `{"Version":"`+or(d.Version, "2012-10-17")+`","Statement":`+string(statements)+`}`)}
	}
	return req, policy.Set{
		Identity:        compile(policy.Identity, d.Identity),
		Resource:        slices.Concat(compile(policy.Trust, d.Trust), compile(policy.Resource, d.ResourcePolicy)),
		Boundary:        compile(policy.Boundary, d.Boundary),
		Session:         compile(policy.Session, d.Session),
		ServiceControl:  level(compile(policy.ServiceControl, d.SCP)),
		ResourceControl: compile(policy.ResourceControl, d.RCP),
	}
}

// level makes one level of an organization of service control policies.
func level(p []*policy.Policy) [][]*policy.Policy {
	if p == nil {
		return nil
	}
	return [][]*policy.Policy{p}
}

func readCorpus(t testing.TB) map[string]decisions {
	t.Helper()
	files, err := filepath.Glob("testdata/decisions/*.json")
	if err != nil {
		t.Fatal(err)
	}
	corpus := make(map[string]decisions)
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		decoder := json.NewDecoder(strings.NewReader(string(data)))
		decoder.DisallowUnknownFields()
		var d decisions
		if err := decoder.Decode(&d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		corpus[strings.TrimSuffix(filepath.Base(name), ".json")] = d
	}
	return corpus
}

func TestDecisionsAreAWSs(t *testing.T) {
	for file, d := range readCorpus(t) {
		t.Run(file, func(t *testing.T) {
			for _, c := range d.Cases {
				t.Run(c.Name, func(t *testing.T) {
					if c.Rule == "" || d.Source == "" {
						t.Error("the case does not cite its rule")
					}
					req, set := c.question(t)
					got := policy.Evaluate(req, set)
					answer := "allow"
					if !got.Allowed {
						answer = got.Because(req)
					}
					if answer == c.Want || c.Want == "no" && !got.Allowed && !got.Explicit {
						return
					}
					t.Errorf("got %q, want %q (%s)\n%s", answer, c.Want, c.Rule, got.Explain())
				})
			}
		})
	}
}

// TestTheCorpusCoversTheLanguage counts that no operator, qualifier, type of
// policy or kind of principal is without a decision.
func TestTheCorpusCoversTheLanguage(t *testing.T) {
	corpus := readCorpus(t)
	total := 0
	var text strings.Builder
	seen := make(map[string]bool)
	for _, d := range corpus {
		total += len(d.Cases)
		for _, c := range d.Cases {
			for part, statements := range map[string]json.RawMessage{
				"identity": c.Identity, "trust": c.Trust, "resource": c.ResourcePolicy, "boundary": c.Boundary,
				"session": c.Session, "scp": c.SCP, "rcp": c.RCP, "condition": c.Condition,
			} {
				seen[part] = seen[part] || statements != nil
				text.Write(statements)
			}
			seen["principal "+c.Principal] = true
		}
	}
	for _, part := range []string{"identity", "trust", "resource", "boundary", "session", "scp", "rcp"} {
		if !seen[part] {
			t.Errorf("no decision has a policy of type %s", part)
		}
	}
	for name := range principals {
		if !seen["principal "+name] && name != "user" {
			t.Errorf("no decision is about principal %s", name)
		}
	}
	for _, word := range slices.Concat(policy.Operators(), []string{
		"ForAllValues:", "ForAnyValue:", "IfExists", "NotPrincipal", "NotAction", "NotResource",
		"Service", "Federated", "CanonicalUser", "${",
	}) {
		if !strings.Contains(text.String(), word) {
			t.Errorf("no decision has %s", word)
		}
	}
	if total < 200 {
		t.Errorf("the corpus has %d decisions", total)
	}
	t.Logf("%d decisions", total)
}
