package podid

import (
	"log/slog"
	"time"
)

// Credentials are what an STS hands out for a role session. They print as their
// access key ID alone.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expires         time.Time // UTC
	// Account is the 12-digit account of the session.
	Account string
}

// LogValue keeps secrets out of logs.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String keeps secrets out of %v.
func (c Credentials) String() string { return "credentials " + c.AccessKeyID }

// GoString keeps secrets out of %#v.
func (c Credentials) GoString() string { return c.String() }

// AssumedRole is the principal the credentials speak for.
type AssumedRole struct {
	// ARN is arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION.
	ARN string
	// ID is ROLEID:SESSION.
	ID string
}
