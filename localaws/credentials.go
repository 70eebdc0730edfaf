package localaws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/internal/sigv4"
	"github.com/openpodidentity/podid/localaws/iam"
	"github.com/openpodidentity/podid/localaws/sts"
	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"
)

const (
	adminName  = "admin"
	serviceKey = "iam/service" // of the journal
)

// mint makes sure of the administrator and of the service credential. Whoever
// owns the data directory owns the account, so an administrator that was
// deleted, or has no active key, is made anew by a start.
func (a *AWS) mint(j *journal.Journal) error {
	first := false
	var service iam.AccessKey
	err := j.Load(serviceKey, func(_ string, value json.RawMessage) error { return json.Unmarshal(value, &service) })
	if err != nil {
		return problem.New(problem.DataDamaged, "the journal's record %s cannot be read", serviceKey).From(err)
	}
	if service.ID == "" {
		first = true
		service = iam.AccessKey{ID: iam.NewID("AKIA", 16), Secret: iam.NewSecret(), Active: true, Created: a.now().UTC()}
	}
	if _, err := a.iam.Identity(iam.User, adminName); err != nil {
		first = true
		if _, err := a.iam.CreateUser(iam.Identity{Name: adminName}); err != nil {
			return fmt.Errorf("create user %s: %w", adminName, err)
		}
	}
	if first {
		if err := a.iam.Attach(iam.User, adminName, "arn:"+a.iam.Partition+":iam::aws:policy/AdministratorAccess"); err != nil {
			return fmt.Errorf("attach AdministratorAccess: %w", err)
		}
	}
	admin, err := a.adminKey()
	if err != nil {
		return err
	}
	// Last, so that a start that died before is taken for the first one again.
	if err := j.Commit(journal.Put(serviceKey, service)); err != nil {
		return fmt.Errorf("keep the service credential: %w", err)
	}
	a.admin = podid.Credentials{AccessKeyID: admin.ID, SecretAccessKey: admin.Secret, Account: a.account}
	a.service = podid.Credentials{AccessKeyID: service.ID, SecretAccessKey: service.Secret, Account: a.account}
	return nil
}

// adminKey is the administrator's oldest active key, or a new one.
func (a *AWS) adminKey() (*iam.AccessKey, error) {
	keys := a.iam.AccessKeys(adminName)
	if i := slices.IndexFunc(keys, func(k *iam.AccessKey) bool { return k.Active }); i >= 0 {
		return keys[i], nil
	}
	if len(keys) >= iam.MaxKeys {
		if err := a.iam.DeleteAccessKey(adminName, keys[0].ID); err != nil {
			return nil, fmt.Errorf("delete an inactive access key: %w", err)
		}
	}
	k, err := a.iam.CreateAccessKey(adminName)
	if err != nil {
		return nil, fmt.Errorf("create access key: %w", err)
	}
	return k, nil
}

// Lookup finds the key of an access key ID, for a sigv4.Verifier: long-term keys
// that are active, the sessions of STS whose role or user still exists, and the
// service credential.
func (a *AWS) Lookup(_ context.Context, accessKeyID, sessionToken string) (sigv4.Key, error) {
	key, _, err := a.find(accessKeyID, sessionToken)
	return key, err
}

// find finds the key of an access key ID, and who it is that has it.
func (a *AWS) find(accessKeyID, sessionToken string) (sigv4.Key, *iam.Caller, error) {
	switch {
	case accessKeyID == a.service.AccessKeyID:
		return sigv4.Key{Secret: a.service.SecretAccessKey}, &iam.Caller{
			Principal:   policy.Principal{Kind: policy.Service, ARN: podid.ServicePrincipal},
			AccessKeyID: accessKeyID,
		}, nil
	case strings.HasPrefix(accessKeyID, "ASIA"):
		return a.findSession(accessKeyID, sessionToken)
	}
	k := a.iam.AccessKey(accessKeyID)
	if k == nil || !k.Active {
		return sigv4.Key{}, nil, sigv4.ErrUnknownKey
	}
	u, err := a.iam.Identity(iam.User, k.User)
	if err != nil {
		return sigv4.Key{}, nil, fmt.Errorf("user of the key is gone: %w", sigv4.ErrUnknownKey)
	}
	return sigv4.Key{Secret: k.Secret}, &iam.Caller{
		Principal: policy.Principal{Kind: policy.User, Account: a.account, ARN: u.ARN},
		Identity:  u, UserID: u.ID, AccessKeyID: k.ID,
	}, nil
}

func (a *AWS) findSession(accessKeyID, sessionToken string) (sigv4.Key, *iam.Caller, error) {
	if sessionToken == "" {
		return sigv4.Key{}, nil, fmt.Errorf("session key without its token: %w", sigv4.ErrUnknownKey)
	}
	caller, secret, err := a.sts.Caller(accessKeyID, sessionToken)
	if errors.Is(err, sts.ErrToken) {
		// Another token than the one sent: the verifier calls that InvalidToken.
		return sigv4.Key{Secret: "none", SessionToken: "not " + sessionToken}, nil, nil
	}
	if err != nil {
		return sigv4.Key{}, nil, err
	}
	return sigv4.Key{Secret: secret, SessionToken: sessionToken, Expires: caller.Session.Expires}, caller, nil
}
