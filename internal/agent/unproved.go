package agent

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"
)

// Unproved takes each token for a pod of its own, by its hash: for a cluster whose keys
// the agent is not told. AWS's EKS Auth proves it, once for each token.
// Nothing that the token says of itself is believed but when it ends; the names are for the log.
type Unproved struct{}

// Verify implements Tokens.
func (Unproved) Verify(_ context.Context, raw string) (token.Token, error) {
	parts := strings.Split(raw, ".")
	var claims struct {
		Expires    int64 `json:"exp"`
		Kubernetes struct {
			Namespace      string
			ServiceAccount struct{ Name string }
			Pod            struct{ Name string }
		} `json:"kubernetes.io"`
	}
	if len(parts) != 3 {
		return token.Token{}, problem.New(problem.TokenMalformed, "the token has the wrong number of parts: %d, not 3", len(parts))
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}
	if err != nil {
		return token.Token{}, problem.New(problem.TokenMalformed, "the token's claims are not those of a service-account token")
	}
	expires := time.Unix(claims.Expires, 0).UTC()
	sum := sha256.Sum256([]byte(raw))
	k := claims.Kubernetes
	w := podid.Workload{PodUID: "token-" + hex.EncodeToString(sum[:]),
		Namespace: name(k.Namespace), ServiceAccount: name(k.ServiceAccount.Name), Pod: name(k.Pod.Name)}
	if ago := time.Since(expires); ago >= 0 {
		return token.Token{Workload: w}, problem.New(problem.TokenExpired, "the token expired %s ago", ago.Round(time.Second))
	}
	return token.Token{Workload: w, Audience: podid.AudiencePods, Expires: expires}, nil
}

// name is a name in Kubernetes, or as much of what is none as would fit into one.
func name(s string) string { return clean(s[:min(len(s), 253)]) }

// owe keeps what source has paid for p, whose token was just verified: gives it back, unless the token
// is still to be proved, by EKS Auth. Tokens that anybody can make up would be free of cost otherwise.
func (s *Server) owe(p *pod, source *bucket) {
	if _, unproved := s.Tokens.(Unproved); !unproved {
		source.giveBack(sourceLimit)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.answer.Load() != nil {
		source.giveBack(sourceLimit) // it was proved by then
		return
	}
	p.owes = source
}

// repay takes in what EKS Auth said of p's token, if nothing had proved it: one that it refuses is
// as unknown as before, and whoever sends it again pays again. mu is held.
func (s *Server) repay(p *pod, err error) {
	switch {
	case p.owes == nil:
	case err == nil:
		p.owes.giveBack(sourceLimit)
		p.owes = nil
	case !passing(err):
		s.shed(p)
	}
}

// crowded reports whether as many calls for unproved tokens of source wait as may. mu is held.
func (s *Server) crowded(source *bucket) bool {
	n := 0
	for _, f := range s.misses {
		if f.source == source {
			n++
		}
	}
	return source != nil && n >= s.Limits.unproved()
}

// mayStart reports whether the call leaves room for those of other addresses. mu is held.
func (s *Server) mayStart(f *flight) bool {
	return f.source == nil || f.source.running < s.Limits.atOnce()
}
