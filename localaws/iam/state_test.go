package iam

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"
)

func openState(t *testing.T, dir string) (*State, *journal.Journal) {
	t.Helper()
	j, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open("111122223333", "aws", j, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return s, j
}

const listBuckets = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListAllMyBuckets","Resource":"*"}]}`

// must ends the test at the first error of the making of a state.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestEverythingAcknowledgedIsThereAgain(t *testing.T) {
	dir := t.TempDir()
	s, j := openState(t, dir)
	identity, managed := must[*Identity](t), must[*ManagedPolicy](t)
	gone := identity(s.CreateUser(Identity{Name: "gone"}))
	identity(s.CreateUser(Identity{Name: "bob", Path: "/team/", Tags: []podid.Tag{{Key: "a", Value: "b"}}}))
	p := managed(s.CreatePolicy(ManagedPolicy{Name: "list", Document: Document{Text: listBuckets}}))
	identity(s.CreateRole(Identity{Name: "Role", Description: "d", MaxSession: 7200, Boundary: p.ARN, Trust: Document{
		Text: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + gone.ARN + `","arn:aws:iam::111122223333:user/team/bob"]},"Action":"sts:AssumeRole"}]}`}}))
	for _, err := range []error{
		s.PutInline(Role, "Role", "inline", listBuckets),
		s.Attach(Role, "Role", p.ARN),
		s.TagPolicy(p.ARN, []podid.Tag{{Key: "x", Value: "y"}}),
		s.Delete(User, "gone"),
		s.RenameUser("bob", "robert", "/"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	k := must[*AccessKey](t)(s.CreateAccessKey("robert"))
	if err := s.SetKeyActive("robert", k.ID, false); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	again, j := openState(t, dir)
	defer j.Close()
	ignore := cmp.Options{cmpopts.IgnoreUnexported(Document{}, ManagedPolicy{}), cmpopts.EquateEmpty()}
	for _, kind := range []Kind{Role, User} {
		if diff := cmp.Diff(s.Identities(kind, "/"), again.Identities(kind, "/"), ignore); diff != "" {
			t.Error(diff)
		}
	}
	if diff := cmp.Diff(s.ManagedPolicies(), again.ManagedPolicies(), ignore); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(s.AccessKeys("robert"), again.AccessKeys("robert")); diff != "" || again.AccessKey(k.ID).Active {
		t.Error(diff)
	}
	role := identity(again.Identity(Role, "Role"))
	if !strings.Contains(role.Trust.Text, gone.ID) || !strings.Contains(role.Trust.Text, "user/robert") {
		t.Errorf("the trust policy is %s", role.Trust.Text)
	}
	// What was parsed anew decides as before.
	caller := &Caller{Principal: policy.Principal{Kind: policy.AssumedRole, Account: "111122223333", ARN: "arn:aws:sts::111122223333:assumed-role/Role/s", RoleARN: role.ARN}, Identity: role, Session: &Session{}}
	if err := again.Authorize(&Request{Caller: caller}, Question{Action: "s3:ListAllMyBuckets", Resource: "*"}); err != nil {
		t.Error(err)
	}
}

func TestUnreadableRecordIsDamage(t *testing.T) {
	for _, op := range []journal.Op{
		journal.Put(identityPrefix+"role/r", "no object"),
		journal.Put(identityPrefix+"role/r", &Identity{Kind: Role, Name: "r", Trust: Document{Text: "{"}}),
		journal.Put(policyPrefix+"p", &ManagedPolicy{Name: "p", Document: Document{Text: ""}}),
		journal.Put(keyPrefix+"k", 1),
	} {
		j, err := journal.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Commit(op); err != nil {
			t.Fatal(err)
		}
		if _, err := Open("111122223333", "aws", j, time.Now); !problem.Is(err, problem.DataDamaged) {
			t.Errorf("%s: %v", op.Value, err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestQuotasOfTheAccount(t *testing.T) {
	s, err := Open("111122223333", "aws", nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for i := range MaxRoles {
		if _, err := s.CreateRole(Identity{Name: fmt.Sprintf("r%d", i), Trust: Document{Text: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}`}}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = s.CreateRole(Identity{Name: "one-more", Trust: Document{Text: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}`}})
	if err == nil || err.Error() != "LimitExceeded: Cannot exceed quota for RolesPerAccount: 1000" {
		t.Errorf("error is %v", err)
	}
}

func TestKeysDoNotPrintTheirSecret(t *testing.T) {
	k := AccessKey{ID: "AKIAEXAMPLE", Secret: "wJalrXUtnFEMI"}
	for _, text := range []string{fmt.Sprint(k), fmt.Sprintf("%+v", &k), fmt.Sprintf("%#v", k), k.LogValue().String()} {
		if strings.Contains(text, k.Secret) || !strings.Contains(text, k.ID) {
			t.Error(text)
		}
	}
}

// Without a caller, or for an identity whose boundary is gone, the answer is no.
func TestAuthorizeFailsClosed(t *testing.T) {
	s, err := Open("111122223333", "aws", nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	question := Question{Action: "s3:ListAllMyBuckets", Resource: "*"}
	if s.Authorize(nil, question) == nil || s.Authorize(&Request{}, question) == nil {
		t.Error("nobody may")
	}
	admin := "arn:aws:iam::aws:policy/AdministratorAccess"
	user := Identity{Kind: User, Name: "u", ARN: "arn:aws:iam::111122223333:user/u", Attached: []string{admin}}
	ask := func() error {
		return s.Authorize(&Request{Caller: &Caller{Principal: policy.Principal{Kind: policy.User, Account: "111122223333", ARN: user.ARN}, Identity: &user}}, question)
	}
	if err := ask(); err != nil {
		t.Error(err)
	}
	question.Trust = &Identity{Kind: Role, Name: "r", Trust: Document{Text: listBuckets}}
	if ask() == nil {
		t.Error("a trust policy that is not parsed allows")
	}
	question.Trust = nil
	user.Boundary = "arn:aws:iam::111122223333:policy/gone"
	if ask() == nil {
		t.Error("a boundary that is gone allows")
	}
	user.Boundary, user.Attached = "", []string{"arn:aws:iam::111122223333:policy/gone"}
	if ask() == nil {
		t.Error("a policy that is gone allows")
	}
}

// What cannot be kept does not happen: the state in memory is as it was.
func TestAFailedCommitChangesNothing(t *testing.T) {
	s, j := openState(t, t.TempDir())
	identity, managed, key := must[*Identity](t), must[*ManagedPolicy](t), must[*AccessKey](t)
	identity(s.CreateUser(Identity{Name: "bob"}))
	k := key(s.CreateAccessKey("bob"))
	p := managed(s.CreatePolicy(ManagedPolicy{Name: "list", Document: Document{Text: listBuckets}}))
	spare := managed(s.CreatePolicy(ManagedPolicy{Name: "spare", Document: Document{Text: listBuckets}}))
	identity(s.CreateRole(Identity{Name: "role", Boundary: p.ARN, Tags: []podid.Tag{{Key: "a", Value: "b"}},
		Trust: Document{Text: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/bob"},"Action":"sts:AssumeRole"}]}`}}))
	for _, err := range []error{s.PutInline(Role, "role", "inline", listBuckets), s.Attach(Role, "role", p.ARN)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	was := func() []any {
		return []any{s.Identities(Role, "/"), s.Identities(User, "/"), s.ManagedPolicies(), s.AccessKeys("bob")}
	}
	before := deep(was())
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	changes := map[string]func() error{
		"create user": func() error { _, err := s.CreateUser(Identity{Name: "eve"}); return err },
		"create role": func() error {
			_, err := s.CreateRole(Identity{Name: "other", Trust: Document{Text: `{"Statement":[]}`}})
			return err
		},
		"create policy": func() error {
			_, err := s.CreatePolicy(ManagedPolicy{Name: "other", Document: Document{Text: listBuckets}})
			return err
		},
		"create key": func() error { _, err := s.CreateAccessKey("bob"); return err },
		"rename":     func() error { return s.RenameUser("bob", "robert", "/") },
		"tag":        func() error { return s.Tag(Role, "role", []podid.Tag{{Key: "A", Value: "c"}}) },
		"untag":      func() error { return s.Untag(Role, "role", []string{"a"}) },
		"tag policy": func() error { return s.TagPolicy(p.ARN, []podid.Tag{{Key: "a", Value: "c"}}) },
		"inline": func() error {
			return s.PutInline(Role, "role", "inline", strings.Replace(listBuckets, "Allow", "Deny", 1))
		},
		"delete inline": func() error { return s.DeleteInline(Role, "role", "inline") },
		"detach":        func() error { return s.Detach(Role, "role", p.ARN) },
		"boundary":      func() error { return s.SetBoundary(Role, "role", "") },
		"trust":         func() error { return s.UpdateTrust("role", `{"Statement":[]}`) },
		"update":        func() error { _, err := s.UpdateRole("role", new("d"), new(7200)); return err },
		"switch key":    func() error { return s.SetKeyActive("bob", k.ID, false) },
		"delete key":    func() error { return s.DeleteAccessKey("bob", k.ID) },
		"delete policy": func() error { return s.DeletePolicy(spare.ARN) },
	}
	for name, change := range changes {
		if err := change(); err == nil {
			t.Errorf("%s: acknowledged", name)
		}
		if after := deep(was()); after != before {
			t.Errorf("%s changed the state:\n%s\nto\n%s", name, before, after)
		}
	}
}

// deep is v as JSON: what pointers point to.
func deep(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// However its ARN is spelled in JSON, and even by itself, what is deleted is
// trusted no more when another of its name is made.
func TestTheDeletedAreTrustedNowhere(t *testing.T) {
	dir := t.TempDir()
	s, j := openState(t, dir)
	identity := must[*Identity](t)
	bob := identity(s.CreateUser(Identity{Name: "bob"}))
	trust := func(arn string) Document {
		return Document{Text: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + arn + `"},"Action":"sts:AssumeRole"}]}`}
	}
	identity(s.CreateRole(Identity{Name: "escaped", Trust: trust(`arn:aws:iam::111122223333:user\/bob`)}))
	self := identity(s.CreateRole(Identity{Name: "self", Trust: trust(bob.ARN)}))
	if err := s.UpdateTrust("self", trust(self.ARN).Text); err != nil {
		t.Fatal(err)
	}
	for kind, name := range map[Kind]string{User: "bob", Role: "self"} {
		if err := s.Delete(kind, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again, j := openState(t, dir)
	defer j.Close()
	for _, s := range []*State{s, again} {
		if role := identity(s.Identity(Role, "escaped")); !strings.Contains(role.Trust.Text, bob.ID) {
			t.Errorf("the trust policy is %s", role.Trust.Text)
		}
		if _, err := s.Identity(Role, "self"); err == nil {
			t.Error("a role that trusts itself is not deleted")
		}
	}
}
