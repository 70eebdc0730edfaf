// Package token proves which workload a token speaks for: first the signature
// and the claims, offline, with the cluster's keys; then the live facts.
package token

import (
	"context"
	"time"

	"github.com/openpodidentity/podid"

	"github.com/go-jose/go-jose/v4"
)

// Token is a verified token.
type Token struct {
	Workload podid.Workload
	Audience string
	Expires  time.Time
	KeyID    string
}

// Verifier verifies signature and claims. It reads no live facts.
type Verifier struct {
	// Issuer is pinned; it is never read from the token.
	Issuer   string
	Audience string
	// Keys finds the issuer's key by its ID; ok is false when there is none.
	Keys func(ctx context.Context, keyID string) (key jose.JSONWebKey, ok bool, err error)
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Verify returns the token's facts. Errors are problems token-…
func (v *Verifier) Verify(ctx context.Context, raw string) (Token, error) { panic("skeleton") }

// Pod is what the cluster knows of a pod.
type Pod struct {
	Namespace, Name, UID              string
	ServiceAccount, ServiceAccountUID string
	Node                              string
	Finished                          bool // Succeeded or Failed
}

// Pods finds live pods: ok is false when there is none of this name; an error
// means that nobody knows (cluster-unavailable), never that there is none.
type Pods interface {
	Pod(ctx context.Context, namespace, name string) (pod Pod, ok bool, err error)
}

// Live proves a token against the running cluster: the pod exists with that UID,
// has not finished, and its service account is the one of the token. It returns
// the workload with the pod's live node.
type Live struct {
	Verifier *Verifier
	Pods     Pods
}

// Verify is Verifier.Verify and the live facts: pod-gone, pod-finished,
// service-account-gone, cluster-unavailable.
func (l *Live) Verify(ctx context.Context, raw string) (Token, error) { panic("skeleton") }
