package agent

import (
	"cmp"
	"fmt"

	"github.com/openpodidentity/podid/problem"
)

// Upstream is who is asked for credentials, as messages name it: podid-auth if empty.
type Upstream string

// EKSAuth is AWS's, which is asked on EKS.
const EKSAuth Upstream = "EKS Auth"

func (u Upstream) String() string { return cmp.Or(string(u), "podid-auth") }

// unavailable is the problem that credentials cannot be had of u. The catalogue speaks of podid-auth.
func (u Upstream) unavailable(format string, args ...any) *problem.Problem {
	p := problem.New(problem.AuthUnavailable, format, args...)
	if u == EKSAuth {
		p.Because("the agent could not reach AWS's EKS Auth, or got an answer it cannot use").
			Fixed("look at the way from the node to EKS Auth (VPC endpoint, proxy, DNS); the agent goes on by itself")
	}
	return p
}

func (u Upstream) unusable(format string, args ...any) *problem.Problem {
	return u.unavailable("%s's answer cannot be used: %s", u, fmt.Sprintf(format, args...))
}
