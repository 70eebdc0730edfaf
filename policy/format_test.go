package policy_test

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/openpodidentity/podid/policy"
)

func TestPoliciesAreWrittenInAWSsLayout(t *testing.T) {
	for name, c := range map[string]struct {
		kind           policy.Type
		document, want string
	}{
		"the order of elements": {
			policy.Resource,
			`{"Statement":{"Condition":{"Bool":{"aws:SecureTransport":true}},"Resource":["arn:aws:s3:::b"],"Action":["s3:GetObject"],"Principal":{"AWS":["111122223333"]},"Effect":"Allow","Sid":"A b"},"Id":"x","Version":"2012-10-17"}`,
			`{"Version":"2012-10-17","Id":"x","Statement":[{"Sid":"A b","Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b","Condition":{"Bool":{"aws:SecureTransport":"true"}}}]}`,
		},
		"the old language":  {policy.Identity, `{"Statement":[]}`, `{"Version":"2008-10-17","Statement":[]}`},
		"what says nothing": {policy.Identity, `{"Id":"","Statement":[{"Sid":"","Effect":"Deny","NotAction":["iam:*","S3:*"],"NotResource":["*"],"Condition":{"StringEquals":{}}}]}`, `{"Version":"2008-10-17","Statement":[{"Effect":"Deny","NotAction":["iam:*","S3:*"],"NotResource":"*"}]}`},
		"everyone":          {policy.Resource, `{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*"}}`, `{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*"}]}`},
		"everyone of AWS":   {policy.Trust, `{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}}`, `{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}`},
		"principals of several kinds": {
			policy.Resource,
			`{"Statement":{"Effect":"Deny","NotPrincipal":{"Service":["a.amazonaws.com","b.amazonaws.com"],"CanonicalUser":[],"AWS":"*"},"Action":"s3:*"}}`,
			`{"Version":"2008-10-17","Statement":[{"Effect":"Deny","NotPrincipal":{"Service":["a.amazonaws.com","b.amazonaws.com"],"AWS":"*"},"Action":"s3:*"}]}`,
		},
		"operators in any case": {
			policy.Identity,
			`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"foranyvalue:STRINGLIKEIFEXISTS":{"aws:TagKeys":["<&>"]},"StringEquals":{"a:A":"1"},"stringequals":{"a:B":[2,"x"]},"NumericLessThan":{"a:c":1.50e1},"Null":{"a:d":[]}}}}`,
			`{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAnyValue:StringLikeIfExists":{"aws:TagKeys":"<&>"},"StringEquals":{"a:A":"1","a:B":["2","x"]},"NumericLessThan":{"a:c":"1.50e1"},"Null":{"a:d":[]}}}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mustParse(t, c.kind, "", c.document).MarshalJSON()
			if err != nil || string(got) != c.want {
				t.Errorf("%v, got\n%s\nwant\n%s", err, got, c.want)
			}
		})
	}
}

// rewritten is the policy after it was written and read; writing it again gives
// the same bytes.
func rewritten(t interface{ Fatalf(string, ...any) }, p *policy.Policy) *policy.Policy {
	text, err := p.MarshalJSON()
	if err != nil {
		t.Fatalf("%v", err)
	}
	if len(text) > policy.MaxWithoutSpace {
		return p // escapes and a Version may make it longer
	}
	again, err := policy.Parse(p.Type, p.Name, text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if twice, err := again.MarshalJSON(); err != nil || string(twice) != string(text) {
		t.Fatalf("%v: written again\n%s\nafter\n%s", err, twice, text)
	}
	if again.Version() != p.Version() {
		t.Fatalf("%s became %s", p.Version(), again.Version())
	}
	return again
}

// alike fails unless both sets decide the same, for the same reasons.
func alike(t interface{ Fatalf(string, ...any) }, req policy.Request, one, other policy.Set) {
	a, b := policy.Evaluate(req, one), policy.Evaluate(req, other)
	if a.Allowed != b.Allowed || a.Explicit != b.Explicit || a.Because(req) != b.Because(req) || len(a.Reasons()) != len(b.Reasons()) {
		t.Fatalf("%s\nthen\n%s", a.Explain(), b.Explain())
	}
	for i, r := range a.Reasons() {
		if s := b.Reasons()[i]; r.Applied != s.Applied || r.Effect != s.Effect || r.Sid != s.Sid {
			t.Fatalf("%+v\nthen\n%+v", r, s)
		}
	}
}

func TestWhatIsWrittenAndReadDecidesAlike(t *testing.T) {
	questions(t, func(rt *rapid.T, _ draw, req policy.Request, o organization) {
		set := o.set(t)
		other := o.set(t)
		lists := append([][]*policy.Policy{other.Identity, other.Resource, other.Boundary, other.Session, other.ResourceControl}, other.ServiceControl...)
		for _, list := range lists {
			for i := range list {
				list[i] = rewritten(rt, list[i])
			}
		}
		alike(rt, req, set, other)
	})
}

func TestTheCorpusIsWrittenAndReadAlike(t *testing.T) {
	for file, d := range readCorpus(t) {
		for _, c := range d.Cases {
			req, set := c.question(t)
			_, other := c.question(t)
			for _, list := range append([][]*policy.Policy{other.Identity, other.Resource, other.Boundary, other.Session, other.ResourceControl}, other.ServiceControl...) {
				for i := range list {
					list[i] = rewritten(t, list[i])
				}
			}
			t.Run(file+"/"+c.Name, func(t *testing.T) { alike(t, req, set, other) })
		}
	}
}

func TestAPolicyInsideAnotherDocumentIsWrittenToo(t *testing.T) {
	p := mustParse(t, policy.Identity, "", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`)
	got, err := json.Marshal(map[string]any{"policy": p})
	if want := `{"policy":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}}`; err != nil || string(got) != want {
		t.Errorf("%v %s", err, got)
	}
}
