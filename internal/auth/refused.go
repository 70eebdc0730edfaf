package auth

import "github.com/openpodidentity/podid/problem"

// report tells of a refusal, if it is one of the pod that the token speaks for: its token was
// verified, it is alive and on the caller's node, and the answer stays no until somebody
// changes something. Whoever proved less could have pods told what they like.
func (h *Handler) report(g *Grant, p *problem.Problem) {
	w := g.Token.Workload
	if h.Refused == nil || p == nil || w.PodUID == "" || p.Code == problem.NodeMismatch || problem.Lookup(p.Code).Kind != problem.Refused {
		return
	}
	h.Refused(w, p)
}
