// Package policy is the IAM policy language: it parses documents, evaluates a
// request against them, and explains the decision. It is pure: no I/O, no
// clock, no cluster.
//
// In a request it stands wherever a permission is asked: the local AWS evaluates
// every call with it, package roles explains refused sessions with it, and the
// command line answers "would AWS allow this" with it. A document is parsed and
// compiled once ([Parse]); one question ([Request]) against every policy that
// applies ([Set]) gives a [Decision], which knows its reasons.
package policy

// Type says what a document is attached to; it decides which elements the
// grammar demands (Principal in Trust, Resource and ResourceControl, never in
// the others).
type Type int

// The types of policies.
const (
	Identity        Type = iota // attached to a user, a group or a role
	Trust                       // a role's assume-role policy: a resource policy without Resource
	Resource                    // attached to a resource
	Boundary                    // permissions boundary
	Session                     // passed with AssumeRole
	ServiceControl              // of an organization, limits its principals
	ResourceControl             // of an organization, limits its resources
)

// String is the name AWS's error messages use: "identity-based policy".
func (t Type) String() string {
	switch t {
	case Identity:
		return "identity-based policy"
	case Trust:
		return "role trust policy"
	case Resource:
		return "resource-based policy"
	case Boundary:
		return "permissions boundary"
	case Session:
		return "session policy"
	case ServiceControl:
		return "service control policy"
	case ResourceControl:
		return "resource control policy"
	}
	return "policy"
}

// Policy is one parsed and compiled document. It is immutable and may be shared.
type Policy struct {
	// Name is what reasons call the policy: an ARN, or "inline policy NAME of role NAME".
	Name string
	Type Type

	version    string
	id         string
	statements []statement
}

// Version is the version of the policy language that the document speaks:
// 2012-10-17, or 2008-10-17, also if it names none.
func (p *Policy) Version() string { return p.version }

// Empty reports whether the policy has no statements. The language's grammar has at
// least one, and IAM takes no other policy; here an empty one is what tools start from.
func (p *Policy) Empty() bool { return len(p.statements) == 0 }

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
	FederatedUser // of sts:GetFederationToken
)

// Principal is who makes the request.
type Principal struct {
	Kind PrincipalKind
	// Account is the 12-digit account, empty for a service.
	Account string
	// ARN is the principal's own ARN: of the user, of the root, of the role
	// *session* for AssumedRole (arn:aws:sts::A:assumed-role/R/S) and FederatedUser
	// (arn:aws:sts::A:federated-user/NAME); the service's
	// name for Service (pods.eks.amazonaws.com); the identity provider for
	// Federated, as trust policies name it.
	ARN string
	// RoleARN is the ARN of the role behind an AssumedRole session.
	RoleARN string
	// UserARN is the ARN of the user behind a FederatedUser session.
	UserARN string
	// CanonicalID is the canonical user ID of the account, 64 hexadecimal digits;
	// if it is empty, no CanonicalUser principal names the caller.
	CanonicalID string
}

// Keys is the condition context: values by key. Lookups ignore the case of the
// key. A key that is absent, or has no values, is not in the request.
//
// The keys that follow from the rest of a Request need not be given:
// aws:PrincipalArn, aws:PrincipalAccount, aws:PrincipalType, aws:username,
// aws:userid (but for users and roles), aws:PrincipalIsAWSService,
// aws:PrincipalServiceName, aws:FederatedProvider at the door and
// aws:ResourceAccount; aws:TagKeys from aws:RequestTag/…, and aws:ViaAWSService,
// aws:CalledViaFirst and aws:CalledViaLast from aws:CalledVia. What Keys says
// about them wins.
type Keys map[string][]string

// Request is one question: may Principal do Action to Resource, with Keys?
type Request struct {
	Principal Principal
	Action    string // "s3:ListBucket"
	Resource  string // ARN; for Trust the role's ARN
	// ResourceAccount is the account that owns the resource; empty means the one in
	// Resource, or if there is none, as in S3's ARNs, the principal's.
	ResourceAccount string
	Keys            Keys
}

// Set is every policy that applies to a request. Boundary, Session and
// ServiceControl are absent when nil; a non-nil empty one allows nothing. (A
// FederatedUser without Session has only what a resource policy gives the session.)
type Set struct {
	Identity []*Policy // of a FederatedUser those of its user
	Resource []*Policy // resource policies, or the trust policy
	Boundary []*Policy
	Session  []*Policy
	// ServiceControl has the policies of each level of the organization, from the
	// root to the account: every level must allow.
	ServiceControl [][]*Policy
	// ResourceControl only denies: RCPFullAWSAccess, which allows everything, is
	// attached at every level and cannot be detached.
	ResourceControl []*Policy
}

// Decision is the answer. It keeps the request and the policies, so that
// [Decision.Reasons] costs nothing until it is asked; do not change the
// request's Keys while a Decision is in use.
type Decision struct {
	Allowed bool
	// Explicit is set when a Deny statement decided.
	Explicit bool

	req      Request
	set      Set
	findings findings
}

// Reason is what one statement contributed.
type Reason struct {
	Policy string `json:"policy"` // Policy.Name
	Type   Type   `json:"type"`
	// Level is the organization's level that a service control policy is attached
	// to, from 1, the root; 0 for other policies.
	Level  int    `json:"level,omitempty"`
	Number int    `json:"statement"` // of the statement in its policy, from 1
	Sid    string `json:"sid,omitempty"`
	// Line and Column are where the statement begins in its document, from 1.
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Effect  string `json:"effect"` // "Allow" or "Deny"
	Applied bool   `json:"applied"`
	// Decides is set for what decided: a Deny that applied in an explicit denial,
	// the Allow that granted and those that had to agree in an allowed request.
	Decides bool `json:"decides,omitempty"`
	// Nearest is set for the Allow of an implicit denial that came nearest to applying.
	Nearest bool `json:"nearest,omitempty"`
	// Clause is the first clause that failed: "Principal", "Action", "Resource"
	// or "Condition"; empty if the statement applied.
	Clause   string `json:"clause,omitempty"`
	Operator string `json:"operator,omitempty"` // of a failed condition
	// Key is the condition key of a failed condition, or the key of the policy
	// variable that the request has no value for.
	Key string `json:"key,omitempty"`
	// Variable is the key of a policy variable, in the clause that failed, that the
	// request has no single value for; empty if there is none.
	Variable string   `json:"variable,omitempty"`
	Wanted   []string `json:"wanted,omitempty"` // what the clause asks for
	Found    []string `json:"found,omitempty"`  // what the request has; nil if it has nothing
}
