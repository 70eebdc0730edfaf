package sts

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/localaws/iam"
)

func newState(t testing.TB) *State {
	t.Helper()
	identities, err := iam.Open("111122223333", "aws", nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(identities, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokenHoldsTheWholeSession(t *testing.T) {
	s := newState(t)
	in := session{
		Kind: iam.Role, Identity: "AROAEXAMPLE", Name: "role", SessionName: "session", Tags: []podid.Tag{{Key: "a", Value: "b"}},
		Transitive: []string{"a"}, SourceIdentity: "alice", Policy: "{}", PolicyARNs: []string{"arn"},
	}
	c := s.issue(in, time.Hour)
	out, err := s.unseal(c.SessionToken)
	if err != nil {
		t.Fatal(err)
	}
	in.AccessKeyID, in.Issued, in.Expires = c.AccessKeyID, out.Issued, c.Expires
	if diff := cmp.Diff(in, out); diff != "" {
		t.Error(diff)
	}
	if len(c.SecretAccessKey) != 40 || !strings.HasPrefix(c.AccessKeyID, "ASIA") || len(c.AccessKeyID) != 20 || out.Expires.Sub(out.Issued) != time.Hour {
		t.Errorf("%s expires %s", c.AccessKeyID, out.Expires)
	}
	if c.SecretAccessKey != s.secret(c.AccessKeyID) || c.SecretAccessKey == s.secret("ASIAOTHER") || c.SecretAccessKey == newState(t).secret(c.AccessKeyID) {
		t.Error("the secret does not follow from the key and the access key ID")
	}
	if strings.Contains(c.SessionToken, "alice") {
		t.Error("the token can be read")
	}
}

// FuzzUnseal: only what was sealed opens.
func FuzzUnseal(f *testing.F) {
	s := newState(f)
	good := s.issue(session{Kind: iam.Role, Name: "role"}, time.Hour).SessionToken
	f.Add(good)
	f.Add(good[:len(good)-4])
	f.Add("")
	f.Add("AQ==")
	f.Add("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	f.Add(strings.Repeat("A", maxToken+4))
	f.Fuzz(func(t *testing.T, token string) {
		_, err := s.unseal(token)
		// Base64 has several spellings of one token (line breaks): they may open.
		same := strings.NewReplacer("\n", "", "\r", "").Replace(token) == good
		if (err == nil) != same || err != nil && !errors.Is(err, ErrToken) {
			t.Errorf("%q: %v", token, err)
		}
	})
}

func BenchmarkCaller(b *testing.B) {
	s := newState(b)
	role, err := s.iam.CreateRole(iam.Identity{Name: "role", Trust: iam.Document{Text: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}`}})
	if err != nil {
		b.Fatal(err)
	}
	c := s.issue(session{Kind: iam.Role, Identity: role.ID, Name: role.Name, SessionName: "session", Tags: make([]podid.Tag, 6)}, time.Hour)
	for b.Loop() {
		if _, _, err := s.Caller(c.AccessKeyID, c.SessionToken); err != nil {
			b.Fatal(err)
		}
	}
}
