package auth_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"
)

func TestAPodThatWasProvedIsToldWhyItIsRefusedAndNobodyElseIs(t *testing.T) {
	for name, c := range map[string]struct {
		bound   bool
		prepare func(*testing.T, *world)
		body    string
		change  func(*http.Request)
		told    problem.Code
	}{
		"no association":    {told: problem.AssociationMissing},
		"trust":             {bound: true, prepare: failing(problem.New(problem.TrustTagSession, "the role R lacks it").From(errors.New("secret/place"))), told: problem.TrustTagSession},
		"role missing":      {bound: true, prepare: failing(problem.New(problem.RoleMissing, "no role R")), told: problem.RoleMissing},
		"target role":       {bound: true, prepare: failing(problem.New(problem.TargetRoleDenied, "no")), told: problem.TargetRoleDenied},
		"tags too large":    {bound: true, prepare: failing(problem.New(problem.SessionTagsTooLarge, "no")), told: problem.SessionTagsTooLarge},
		"session policy":    {bound: true, prepare: failing(problem.New(problem.SessionPolicyInvalid, "no")), told: problem.SessionPolicyInvalid},
		"all is well":       {bound: true},
		"STS throttles":     {bound: true, prepare: failing(problem.New(problem.STSThrottled, "wait"))},
		"STS is away":       {bound: true, prepare: failing(problem.New(problem.STSUnavailable, "wait"))},
		"podid's own fault": {bound: true, prepare: failing(problem.New(problem.BaseCredentials, "expired"))},
		"a fault inside":    {bound: true, prepare: failing(errors.New("nil map"))},
		"pod gone":          {prepare: func(_ *testing.T, w *world) { delete(w.pods, "test-namespace/reader") }},
		"pod finished": {prepare: func(_ *testing.T, w *world) {
			p := w.pods["test-namespace/reader"]
			p.Finished = true
			w.pods["test-namespace/reader"] = p
		}},
		"pod of another node":  {prepare: func(_ *testing.T, w *world) { w.move("test-namespace/reader", "node-2") }},
		"forged token":         {body: tokenBody("a.b.c")},
		"no token":             {body: `{}`},
		"another cluster":      {change: path("/clusters/other/assume-role-for-pod-identity")},
		"nobody asks":          {change: func(r *http.Request) { r.Header.Del("Authorization") }},
		"an agent without pod": {prepare: func(_ *testing.T, w *world) { delete(w.pods, "podid-system/podid-agent-1") }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.bound {
				w.associate(t)
			}
			if c.prepare != nil {
				c.prepare(t, w)
			}
			var told []*problem.Problem
			w.handler.Refused = func(of podid.Workload, p *problem.Problem) {
				if of != reader {
					t.Errorf("%v is told", of)
				}
				told = append(told, p)
			}
			if c.body == "" {
				c.body = w.body(t)
			}
			if c.change == nil {
				c.change = func(*http.Request) {}
			}
			answer := decode(t, w.ask(t, c.body, c.change))
			switch {
			case c.told == "" && len(told) != 0:
				t.Errorf("told %v", told)
			case c.told != "" && (len(told) != 1 || told[0].Code != c.told || told[0].Message() != answer["message"]):
				t.Errorf("told %v, and the answer is %v", told, answer)
			}
		})
	}
}
