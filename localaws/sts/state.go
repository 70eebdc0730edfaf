package sts

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/localaws/iam"
	"github.com/openpodidentity/podid/policy"
	"github.com/openpodidentity/podid/problem"
)

// State makes and opens sessions. It is safe for concurrent use.
type State struct {
	iam  *iam.State
	now  func() time.Time
	aead cipher.AEAD
	// secrets is the key that secret access keys are derived with.
	secrets []byte
}

const (
	journalKey = "sts/key"
	// maxToken bounds the session tokens that are looked at, in characters, as
	// package sigv4 does. What goes into one (tags, policies, names) is bounded far
	// below it.
	maxToken = 16 << 10
	// tokenVersion is the first byte of a token, and authenticated with it.
	tokenVersion = 1
)

// ErrToken is what Open returns for a token that this STS did not seal for this
// access key ID, or whose identity is gone. It says no more.
var ErrToken = errors.New("the security token is not valid")

// Open loads the sealing key from j, or mints it.
func Open(identities *iam.State, j *journal.Journal, now func() time.Time) (*State, error) {
	var key []byte
	err := j.Load(journalKey, func(_ string, value json.RawMessage) error { return json.Unmarshal(value, &key) })
	if err != nil || key != nil && len(key) != 32 {
		return nil, problem.New(problem.DataDamaged, "the journal's record %s cannot be read", journalKey).From(err)
	}
	if key == nil {
		key = make([]byte, 32)
		rand.Read(key) // never fails
		if err := j.Commit(journal.Put(journalKey, key)); err != nil {
			return nil, fmt.Errorf("keep STS key: %w", err)
		}
	}
	block, err := aes.NewCipher(derive(key, "seal"))
	if err != nil {
		return nil, fmt.Errorf("make session token cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make session token cipher: %w", err)
	}
	return &State{iam: identities, now: now, aead: aead, secrets: derive(key, "secret access keys")}, nil
}

func derive(key []byte, label string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(label))
	return mac.Sum(nil)
}

// session is what a token holds.
type session struct {
	AccessKeyID    string
	Kind           iam.Kind // of the identity behind it
	Identity       string   // its unique ID
	Name           string   // its name
	SessionName    string   `json:",omitempty"` // of role sessions
	Issued         time.Time
	Expires        time.Time
	Tags           []podid.Tag `json:",omitempty"`
	Transitive     []string    `json:",omitempty"`
	SourceIdentity string      `json:",omitempty"`
	Policy         string      `json:",omitempty"` // session policy
	PolicyARNs     []string    `json:",omitempty"`
}

// issue seals a session and returns its credentials.
func (s *State) issue(session session, lasts time.Duration) podid.Credentials {
	session.AccessKeyID = iam.NewID("ASIA", 16)
	session.Issued = s.now().UTC().Truncate(time.Second)
	session.Expires = session.Issued.Add(lasts)
	return podid.Credentials{
		AccessKeyID:     session.AccessKeyID,
		SecretAccessKey: s.secret(session.AccessKeyID),
		SessionToken:    s.seal(session),
		Expires:         session.Expires,
		Account:         s.iam.Account,
	}
}

func (s *State) seal(session session) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // six bytes for one would make a token too long
	_ = e.Encode(session)  // strings, times and slices of them always encode
	plain := b.Bytes()
	token := make([]byte, 1+s.aead.NonceSize(), 1+s.aead.NonceSize()+len(plain)+s.aead.Overhead())
	token[0] = tokenVersion
	nonce := token[1:]
	rand.Read(nonce) // never fails
	token = s.aead.Seal(token, nonce, plain, token[:1])
	return base64.StdEncoding.EncodeToString(token)
}

// secret is the secret access key of a session's access key ID: 40 characters.
func (s *State) secret(accessKeyID string) string {
	return base64.StdEncoding.EncodeToString(derive(s.secrets, accessKeyID))[:40]
}

// unseal opens a token. The error is ErrToken.
func (s *State) unseal(token string) (session, error) {
	if len(token) > maxToken {
		return session{}, ErrToken
	}
	sealed, err := base64.StdEncoding.Strict().DecodeString(token)
	head := 1 + s.aead.NonceSize()
	if err != nil || len(sealed) < head || sealed[0] != tokenVersion {
		return session{}, ErrToken
	}
	plain, err := s.aead.Open(nil, sealed[1:head], sealed[head:], sealed[:1])
	if err != nil {
		return session{}, ErrToken
	}
	var opened session
	if err := json.Unmarshal(plain, &opened); err != nil {
		return session{}, ErrToken
	}
	return opened, nil
}

// identity is the session's role or user as it is now; nil if it was deleted,
// even if another of the same name was made since.
func (s *State) identity(opened session) *iam.Identity {
	i, err := s.iam.Identity(opened.Kind, opened.Name)
	if err == nil && i.ID == opened.Identity {
		return i
	}
	if opened.Kind == iam.User { // users can be renamed
		for _, u := range s.iam.Identities(iam.User, "/") {
			if u.ID == opened.Identity {
				return u
			}
		}
	}
	return nil
}

// Caller is who a session speaks for, and the secret access key that proves it:
// until a signature is verified with the secret, and the time with
// Session.Expires, nothing is proved. The error is ErrToken.
func (s *State) Caller(accessKeyID, token string) (c *iam.Caller, secret string, err error) {
	opened, err := s.unseal(token)
	if err != nil {
		return nil, "", err
	}
	identity := s.identity(opened)
	if opened.AccessKeyID != accessKeyID || identity == nil {
		return nil, "", ErrToken
	}
	c = &iam.Caller{
		Principal:   policy.Principal{Kind: policy.User, Account: s.iam.Account, ARN: identity.ARN},
		Identity:    identity,
		UserID:      identity.ID,
		AccessKeyID: accessKeyID,
		Session: &iam.Session{
			Issued: opened.Issued, Expires: opened.Expires, Tags: opened.Tags, Transitive: opened.Transitive,
			SourceIdentity: opened.SourceIdentity, PolicyARNs: opened.PolicyARNs,
		},
	}
	if opened.Kind == iam.Role {
		c.Kind, c.RoleARN = policy.AssumedRole, identity.ARN
		c.ARN = s.sessionARN(identity.Name, opened.SessionName)
		c.UserID += ":" + opened.SessionName
	}
	if opened.Policy != "" {
		d, err := iam.Parse(policy.Session, sessionPolicyName(opened.SessionName), opened.Policy)
		if err != nil {
			return nil, "", ErrToken // it was parsed when the token was sealed
		}
		c.Session.Policies = []*policy.Policy{d.Policy()}
	}
	return c, s.secret(accessKeyID), nil
}

func (s *State) sessionARN(role, name string) string {
	return "arn:" + s.iam.Partition + ":sts::" + s.iam.Account + ":assumed-role/" + role + "/" + name
}

func sessionPolicyName(session string) string { return "the session policy of session " + session }
