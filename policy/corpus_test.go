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
	Source string // the page that the cases draw from, but for those that name their own
	Cases  []decision
}

// decision is one question. Policies are lists of statements; a policy that is
// left out is not there, an empty list is a policy that says nothing.
type decision struct {
	Name, Rule string
	Source     string
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
	SCP            json.RawMessage // the statements of one level, or a list of them for each level from the root
	RCP            json.RawMessage

	// Want is "allow", "no", or AWS's clause for the denial.
	Want string
}

const (
	account     = "111122223333"
	canonicalID = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be" // of the account
)

var principals = map[string]policy.Principal{
	"user":    {Kind: policy.User, Account: account, ARN: "arn:aws:iam::111122223333:user/alice", CanonicalID: canonicalID},
	"root":    {Kind: policy.Root, Account: account, ARN: "arn:aws:iam::111122223333:root", CanonicalID: canonicalID},
	"session": {Kind: policy.AssumedRole, Account: account, ARN: "arn:aws:sts::111122223333:assumed-role/app/s1", RoleARN: "arn:aws:iam::111122223333:role/app", CanonicalID: canonicalID},
	"federated user": {
		Kind: policy.FederatedUser, Account: account, ARN: "arn:aws:sts::111122223333:federated-user/bob",
		UserARN: "arn:aws:iam::111122223333:user/alice", CanonicalID: canonicalID,
	},
	"federated root": {
		Kind: policy.FederatedUser, Account: account, ARN: "arn:aws:sts::111122223333:federated-user/bob",
		UserARN: "arn:aws:iam::111122223333:root", CanonicalID: canonicalID,
	},
	"service-linked role": {
		Kind: policy.AssumedRole, Account: account, ARN: "arn:aws:sts::111122223333:assumed-role/AWSServiceRoleForAmazonEKS/s1",
		RoleARN: "arn:aws:iam::111122223333:role/aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS",
	},
	"role with the path of a service-linked one": {
		Kind: policy.AssumedRole, Account: account, ARN: "arn:aws:sts::111122223333:assumed-role/app/s1",
		RoleARN: "arn:aws:iam::111122223333:role/x:role/aws-service-role/app",
	},
	"service":   {Kind: policy.Service, ARN: "pods.eks.amazonaws.com"},
	"federated": {Kind: policy.Federated, ARN: "arn:aws:iam::111122223333:oidc-provider/oidc.example.com"},
	"saml":      {Kind: policy.Federated, ARN: "arn:aws:iam::111122223333:saml-provider/corp"},
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
	identity := d.Identity
	if d.Condition != nil {
		if identity != nil {
			t.Fatal("both condition and identity")
		}
		identity = json.RawMessage(`[{"Effect":"Allow","Action":"*","Resource":"*","Condition":` + string(d.Condition) + `}]`)
	}
	compile := func(kind policy.Type, statements json.RawMessage) []*policy.Policy {
		if statements == nil {
			return nil
		}
		return []*policy.Policy{mustParse(t, kind, names[kind], `{"Version":"`+or(d.Version, "2012-10-17")+`","Statement":`+string(statements)+`}`)}
	}
	set := policy.Set{
		Identity:        compile(policy.Identity, identity),
		Resource:        slices.Concat(compile(policy.Trust, d.Trust), compile(policy.Resource, d.ResourcePolicy)),
		Boundary:        compile(policy.Boundary, d.Boundary),
		Session:         compile(policy.Session, d.Session),
		ResourceControl: compile(policy.ResourceControl, d.RCP),
	}
	for _, level := range levels(d.SCP) {
		set.ServiceControl = append(set.ServiceControl, compile(policy.ServiceControl, level))
	}
	return req, set
}

// levels are the statements of each level of an organization.
func levels(scp json.RawMessage) []json.RawMessage {
	var list []json.RawMessage
	if json.Unmarshal(scp, &list) == nil && len(list) > 0 && list[0][0] == '[' {
		return list
	}
	if scp == nil {
		return nil
	}
	return []json.RawMessage{scp}
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
					if c.Rule == "" || d.Source == "" && c.Source == "" {
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
