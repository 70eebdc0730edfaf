// Package token proves which workload a token speaks for: first the signature
// and the claims, offline, with the cluster's keys; then the live facts.
package token

import (
	"log/slog"
	"time"

	"github.com/openpodidentity/podid"
)

// Token is a verified token.
type Token struct {
	Workload podid.Workload
	Audience string
	Expires  time.Time // UTC; the claim itself, without leeway
	KeyID    string
}

// LogValue shows whom the token speaks for.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.Workload.String()) }
