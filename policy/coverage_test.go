package policy_test

import (
	"cmp"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/policy"
)

// minDecisions is what the corpus must not fall below.
const minDecisions = 320

// issueKeys are the condition keys that pod identity's trust policies live on.
var issueKeys = []string{
	"aws:RequestTag/", "aws:TagKeys", "sts:TransitiveTagKeys", "sts:ExternalId", "sts:RoleSessionName", "sts:SourceIdentity",
	"aws:SourceArn", "aws:SourceAccount", "aws:PrincipalTag/", "aws:PrincipalArn", "aws:PrincipalOrgID",
}

// coverage counts what the decisions are about.
type coverage map[string]int

// TestTheCorpusCoversTheLanguage fails for every part of the language, type of
// policy and kind of principal that no decision is about.
func TestTheCorpusCoversTheLanguage(t *testing.T) {
	seen := make(coverage)
	names := make(map[string]string)
	total := 0
	for file, d := range readCorpus(t) {
		for _, c := range d.Cases {
			total++
			if other, twice := names[c.Name]; twice {
				t.Errorf("%s and %s both have a case %q", file, other, c.Name)
			}
			names[c.Name] = file
			seen.decision(t, &c)
		}
	}
	if total < minDecisions {
		t.Errorf("the corpus has %d decisions, and should have %d", total, minDecisions)
	}
	for _, need := range needs() {
		if seen[need] == 0 {
			t.Errorf("no decision has %s", need)
		}
	}
	t.Logf("%d decisions cover %d parts", total, len(needs()))
}

// needs is all that decisions must be about.
func needs() (list []string) {
	for _, part := range []string{"identity", "trust", "resource", "boundary", "session", "scp", "rcp", "several levels of scp"} {
		list = append(list, "policy "+part, "deny in "+part)
	}
	list = append(list, "version 2008-10-17", "version 2012-10-17", "another account", "element NotAction", "element NotResource", "element NotPrincipal")
	for name := range maps.Keys(principals) {
		list = append(list, "principal "+name)
	}
	for _, kind := range principalElements {
		list = append(list, "Principal "+kind.name)
	}
	for _, quoted := range policy.Operators() {
		name := strings.Trim(quoted, `"`)
		list = append(list, "operator "+name)
		if name != "Null" {
			list = append(list, "operator "+name+"IfExists", "operator ForAllValues:"+name, "operator ForAnyValue:"+name)
		}
	}
	for _, key := range slices.Concat(issueKeys, policy.GlobalKeys()) {
		list = append(list, "key "+key+" that matches", "key "+key+" that does not")
	}
	for _, action := range []string{"AssumeRole", "AssumeRoleWithWebIdentity", "AssumeRoleWithSAML", "TagSession", "SetSourceIdentity"} {
		list = append(list, "sts:"+action+" allowed", "sts:"+action+" denied")
	}
	list = append(list, "a variable", "a default value", "${*}", "${?}", "${$}")
	slices.Sort(list)
	return slices.Compact(list)
}

// principalElements are the values that a Principal element may have.
var principalElements = []struct {
	name  string
	value *regexp.Regexp
}{
	{"*", regexp.MustCompile(`^\*$`)},
	{"AWS: *", regexp.MustCompile(`^AWS:\*$`)},
	{"account ID", regexp.MustCompile(`^AWS:[0-9]{12}$`)},
	{"root ARN", regexp.MustCompile(`^AWS:arn:aws:iam::[0-9]{12}:root$`)},
	{"user", regexp.MustCompile(`^AWS:arn:aws:iam::[0-9]{12}:user/`)},
	{"role", regexp.MustCompile(`^AWS:arn:aws:iam::[0-9]{12}:role/`)},
	{"session", regexp.MustCompile(`^AWS:arn:aws:sts::[0-9]{12}:assumed-role/`)},
	{"federated user", regexp.MustCompile(`^AWS:arn:aws:sts::[0-9]{12}:federated-user/`)},
	{"unique ID", regexp.MustCompile(`^AWS:A[A-Z0-9]{15,}$`)},
	{"Service", regexp.MustCompile(`^Service:`)},
	{"OIDC provider", regexp.MustCompile(`^Federated:arn:aws:iam::[0-9]{12}:oidc-provider/`)},
	{"SAML provider", regexp.MustCompile(`^Federated:arn:aws:iam::[0-9]{12}:saml-provider/`)},
	{"provider's domain", regexp.MustCompile(`^Federated:[a-z.-]+$`)},
	{"CanonicalUser", regexp.MustCompile(`^CanonicalUser:`)},
}

func (seen coverage) decision(t *testing.T, c *decision) {
	t.Helper()
	seen["principal "+cmp.Or(c.Principal, "user")]++
	seen["version "+cmp.Or(c.Version, "2012-10-17")]++
	if c.Account != "" && c.Account != account {
		seen["another account"]++
	}
	if name, ok := strings.CutPrefix(c.Action, "sts:"); ok && c.Trust != nil {
		outcome := "denied"
		if c.Want == "allow" {
			outcome = "allowed"
		}
		seen["sts:"+name+" "+outcome]++
	}
	keys := make(map[string]bool)
	for part, statements := range map[string]json.RawMessage{
		"identity": c.Identity, "trust": c.Trust, "resource": c.ResourcePolicy, "boundary": c.Boundary, "session": c.Session, "rcp": c.RCP,
	} {
		seen.policy(t, part, statements, keys)
	}
	scp := levels(c.SCP)
	for _, level := range scp {
		seen.policy(t, "scp", level, keys)
		if len(scp) > 1 {
			seen.policy(t, "several levels of scp", level, keys)
		}
	}
	if c.Condition != nil {
		seen.policy(t, "identity", json.RawMessage(`[{"Effect":"Allow","Condition":`+string(c.Condition)+`}]`), keys)
	}
	outcome := " that does not"
	if c.Want == "allow" || strings.HasPrefix(c.Want, "with an explicit deny") {
		outcome = " that matches"
	}
	for key := range keys {
		seen["key "+key+outcome]++
	}
}

type statementOfCorpus struct {
	Effect                  string
	Principal, NotPrincipal json.RawMessage
	NotAction, NotResource  json.RawMessage
	Condition               map[string]map[string]json.RawMessage
}

// policy counts the parts of one policy and collects the keys of its conditions.
func (seen coverage) policy(t *testing.T, part string, text json.RawMessage, keys map[string]bool) {
	t.Helper()
	if text == nil {
		return
	}
	seen["policy "+part]++
	var statements []statementOfCorpus
	if err := json.Unmarshal(text, &statements); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for what, sign := range map[string]string{"a variable": "${aws:", "a default value": ", '", "${*}": "${*}", "${?}": "${?}", "${$}": "${$}"} {
		if strings.Contains(string(text), sign) {
			seen[what]++
		}
	}
	for _, s := range statements {
		if s.Effect == "Deny" {
			seen["deny in "+part]++
		}
		for name, element := range map[string]json.RawMessage{"NotAction": s.NotAction, "NotResource": s.NotResource, "NotPrincipal": s.NotPrincipal} {
			if element != nil {
				seen["element "+name]++
			}
		}
		seen.principals(t, s.Principal)
		for operator, conditions := range s.Condition {
			seen["operator "+policy.OperatorLabel(operator)]++
			for key := range conditions {
				keys[policy.FamilyOfKey(key)] = true
			}
		}
	}
}

func (seen coverage) principals(t *testing.T, element json.RawMessage) {
	t.Helper()
	if element == nil {
		return
	}
	var values []string
	var everyone string
	var kinds map[string]json.RawMessage
	switch {
	case json.Unmarshal(element, &everyone) == nil:
		values = []string{everyone}
	case json.Unmarshal(element, &kinds) == nil:
		for kind, value := range kinds {
			var list []string
			if json.Unmarshal(value, &everyone) == nil {
				list = []string{everyone}
			} else if err := json.Unmarshal(value, &list); err != nil {
				t.Fatal(err)
			}
			for _, one := range list {
				values = append(values, kind+":"+one)
			}
		}
	}
	for _, v := range values {
		for _, kind := range principalElements {
			if kind.value.MatchString(v) {
				seen["Principal "+kind.name]++
			}
		}
	}
}
