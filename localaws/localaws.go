// Package localaws is a small AWS in one http.Handler: IAM, STS and S3, with
// real Signature Version 4, real policy evaluation and real error documents; EKS
// and EKS Auth are handlers given to it. It can be imported by anyone's tests.
//
// A request comes in at [AWS.ServeHTTP], is routed by the service it is signed
// for, has its signature verified, gets its caller and condition keys into its
// context, and is answered by its service, which asks IAM whether the caller
// may.
package localaws

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/journal"
	"github.com/openpodidentity/podid/localaws/iam"
	"github.com/openpodidentity/podid/localaws/s3"
	"github.com/openpodidentity/podid/localaws/sts"
	"github.com/openpodidentity/podid/problem"
)

// Config is what an AWS starts from; the zero value is a fresh in-memory
// account 111122223333 in us-east-1.
type Config struct {
	Account string
	Region  string
	// Journal keeps everything; nil keeps nothing.
	Journal *journal.Journal
	// Now is the clock, the only one; time.Now if nil.
	Now func() time.Time
	Log *slog.Logger
	// EKS and EKSAuth are the production handlers; nil answers 501 by name. They
	// get requests as they came and verify them themselves: EKS with Authorize
	// and PassRole, EKS Auth with a token or a sigv4.Verifier over Lookup. What
	// they need of this AWS may be set after New: they are called only once it serves.
	EKS, EKSAuth http.Handler
}

// AWS is a running local AWS. It is safe for concurrent use.
type AWS struct {
	account, region string
	now             func() time.Time
	log             *slog.Logger

	iam     *iam.State
	sts     *sts.State
	admin   podid.Credentials
	service podid.Credentials

	iamAPI, stsAPI, s3API http.Handler
	eks, eksAuth          http.Handler
}

var accountID = regexp.MustCompile(`^[0-9]{12}$`)

// New loads or makes the account. The administrator (user "admin",
// AdministratorAccess) and the service credential are minted at random the first time.
func New(c Config) (*AWS, error) {
	a := &AWS{
		account: cmp.Or(c.Account, "111122223333"),
		region:  cmp.Or(c.Region, "us-east-1"),
		now:     c.Now, log: c.Log, eks: c.EKS, eksAuth: c.EKSAuth,
	}
	if !accountID.MatchString(a.account) {
		return nil, problem.New(problem.Usage, "the account %q is not 12 digits", a.account)
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if a.iam, err = iam.Open(a.account, podid.Partition(a.region), c.Journal, a.now); err != nil {
		return nil, fmt.Errorf("open IAM: %w", err)
	}
	if a.sts, err = sts.Open(a.iam, c.Journal, a.now); err != nil {
		return nil, fmt.Errorf("open STS: %w", err)
	}
	store, err := s3.New(a.account, a.region, c.Journal, a.s3Access)
	if err != nil {
		return nil, fmt.Errorf("open S3: %w", err)
	}
	if h, ok := store.(*s3.Handler); ok {
		h.Log, h.Now = a.log, a.now
	}
	if err := a.mint(c.Journal); err != nil {
		return nil, fmt.Errorf("mint the first credentials: %w", err)
	}
	a.iamAPI = &iam.API{State: a.iam, Log: a.log}
	a.stsAPI = &sts.API{State: a.sts, Log: a.log}
	a.s3API = store
	return a, nil
}

// Admin is the administrator's access key.
func (a *AWS) Admin() podid.Credentials { return a.admin }

// Service is the one credential whose requests are the principal
// pods.eks.amazonaws.com and may carry a source ARN and account, in the signed
// headers x-amz-source-arn and x-amz-source-account. It may call
// sts:AssumeRole and sts:GetCallerIdentity, and nothing else.
func (a *AWS) Service() podid.Credentials { return a.service }

// TrustPolicy returns a role's trust policy document; role-missing.
func (a *AWS) TrustPolicy(_ context.Context, role podid.RoleARN) (string, error) {
	r, err := a.iam.Identity(iam.Role, role.Name())
	if err != nil || r.ARN != string(role) {
		return "", problem.New(problem.RoleMissing, "the role %s does not exist", role)
	}
	return r.Trust.Text, nil
}
