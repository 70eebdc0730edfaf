// Package policy is the IAM policy language: it parses documents, evaluates a
// request against them, and explains the decision. It is pure: no I/O, no
// clock, no cluster.
package policy

// Type says what a document is attached to; it decides which elements the
// grammar demands (Principal in Trust and Resource, never in the others).
type Type int

// The types of policies.
const (
	Identity       Type = iota // attached to a user or a role
	Trust                      // a role's assume-role policy: a resource policy without Resource
	Resource                   // attached to a resource
	Boundary                   // permissions boundary
	Session                    // passed with AssumeRole
	ServiceControl             // of an organization
	ResourceControl
)

// Policy is one parsed and compiled document. It is immutable and may be shared.
type Policy struct {
	// Name is what reasons call the policy: an ARN, or "inline policy NAME of role NAME".
	Name string
	Type Type
}

// Parse reads a document. A mistake is a *SyntaxError with its position.
func Parse(t Type, name string, document []byte) (*Policy, error) { panic("skeleton") }

// PrincipalKind is the kind of a principal that makes a request.
type PrincipalKind int

// The kinds of principals.
const (
	Anonymous PrincipalKind = iota
	Root
	User
	AssumedRole
	Service
	Federated
)

// Principal is who makes the request.
type Principal struct {
	Kind PrincipalKind
	// Account is the 12-digit account, empty for a service.
	Account string
	// ARN is the principal's own ARN: of the user, of the root, of the role
	// *session* for AssumedRole (arn:aws:sts::A:assumed-role/R/S); the service's
	// name for Service (pods.eks.amazonaws.com).
	ARN string
	// RoleARN is the ARN of the role behind an AssumedRole session.
	RoleARN string
}

// Keys is the condition context: values by key. Lookups ignore the case of the
// key. A key that is absent is not in the request.
type Keys map[string][]string

// Request is one question: may Principal do Action to Resource, with Keys?
type Request struct {
	Principal Principal
	Action    string // "s3:ListBucket"
	Resource  string // ARN; for Trust the role's ARN
	// ResourceAccount is the account that owns the resource; empty means the principal's.
	ResourceAccount string
	Keys            Keys
}

// Set is every policy that applies to a request. Boundary and Session are
// absent when nil; a non-nil empty one allows nothing.
type Set struct {
	Identity        []*Policy
	Resource        []*Policy // resource policies, or the trust policy
	Boundary        []*Policy
	Session         []*Policy
	ServiceControl  []*Policy
	ResourceControl []*Policy
}

// Decision is the answer with its reasons.
type Decision struct {
	Allowed bool
	// Explicit is set when a Deny statement decided.
	Explicit bool
	// Reasons: every deciding statement, and for each statement that did not
	// apply the first clause that failed.
	Reasons []Reason
}

// Reason is what one statement contributed.
type Reason struct {
	Policy    string // Policy.Name
	Type      Type
	Sid       string
	Index     int    // of the statement, from 0
	Effect    string // "Allow" or "Deny"
	Applied   bool
	Clause    string // the clause that failed: "Action", "Principal", "Resource", "Condition"
	Operator  string // of a failed condition
	Key       string // of a failed condition
	Wanted    []string
	Found     []string
	Line, Col int
}

// Evaluate decides. It has no error: what it does not know denies, with a
// reason that names it.
func Evaluate(req Request, set Set) Decision { panic("skeleton") }

// Because is AWS's own clause for a denial: "no identity-based policy allows the
// s3:ListBucket action", "with an explicit deny in a permissions boundary", …
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html).
func (d Decision) Because(req Request) string { panic("skeleton") }
