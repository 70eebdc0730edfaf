// Package localaws is a small AWS in one http.Handler: IAM, STS and S3, with
// real Signature Version 4, real policy evaluation and real error documents; EKS
// and EKS Auth are handlers given to it. It can be imported by anyone's tests.
package localaws

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/journal"
)

// Config is what an AWS starts from; the zero value is a fresh in-memory
// account 111122223333 in us-east-1.
type Config struct {
	Account string
	Region  string
	// Journal keeps everything; nil keeps nothing.
	Journal *journal.Journal
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	Log *slog.Logger
	// EKS and EKSAuth are the production handlers; nil answers 501 by name. They
	// verify signatures themselves, through Keys and Authorize.
	EKS, EKSAuth http.Handler
}

// AWS is a running local AWS.
type AWS struct{}

// New loads or makes the account. The administrator (user "admin",
// AdministratorAccess) and the service credential are minted at random the first time.
func New(c Config) (*AWS, error) { panic("skeleton") }

// ServeHTTP routes by signing scope, host and path.
func (a *AWS) ServeHTTP(w http.ResponseWriter, r *http.Request) { panic("skeleton") }

// Admin is the administrator's access key.
func (a *AWS) Admin() podid.Credentials { panic("skeleton") }

// Service is the one credential whose requests are the principal
// pods.eks.amazonaws.com and may carry a source ARN and account.
func (a *AWS) Service() podid.Credentials { panic("skeleton") }

// Caller is a proved caller.
type Caller struct {
	ARN     string
	Account string
}

// Authorize verifies r's signature (replacing r.Body by the verified payload) and
// evaluates whether its caller may perform every one of actions on resource.
// Errors are *awswire.Error. It is how the EKS handlers are guarded here.
func (a *AWS) Authorize(r *http.Request, resource string, actions ...string) (Caller, error) {
	panic("skeleton")
}

// TrustPolicy returns a role's trust policy document; role-missing.
func (a *AWS) TrustPolicy(ctx context.Context, role podid.RoleARN) (string, error) {
	panic("skeleton")
}
