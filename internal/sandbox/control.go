package sandbox

import (
	"crypto/subtle"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"
)

// The control API is how `podid local run` asks a running world for a pod. It
// stands where kubectl and the kubelet stand in a cluster:
//
//	POST   /v1/pods              {"namespace","serviceAccount","name","process"} → Pod
//	GET    /v1/pods              → [Pod]
//	POST   /v1/pods/{uid}/token  {"audience","seconds"} → {"token"}
//	DELETE /v1/pods/{uid}
//	POST   /v1/decisions         Question → Answer
//	GET    /v1/serviceaccounts   → ["NAMESPACE/NAME"], those with an association
//
// Every call carries the world's secret as a bearer token.

type podRequest struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	Name           string `json:"name,omitempty"`
	Process        int    `json:"process,omitempty"`
}

type tokenRequest struct {
	Audience string `json:"audience"`
	Seconds  int    `json:"seconds"`
}

type tokenReply struct {
	Token string `json:"token"`
}

func (w *World) serveControl(rw http.ResponseWriter, r *http.Request) {
	// A page in a browser can reach loopback by a name of its own (DNS rebinding),
	// but cannot make the browser say an address in Host.
	if host, _, err := net.SplitHostPort(r.Host); err != nil || net.ParseIP(host) == nil {
		http.Error(rw, "ask by address", http.StatusMisdirectedRequest)
		return
	}
	want := "Bearer " + w.Secret
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(want)) != 1 {
		http.Error(rw, "wrong secret", http.StatusUnauthorized)
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/pods", func(rw http.ResponseWriter, _ *http.Request) { reply(rw, w.Pods.List(), nil) })
	mux.HandleFunc("POST /v1/pods", func(rw http.ResponseWriter, r *http.Request) {
		var ask podRequest
		if !decode(rw, r, &ask) {
			return
		}
		pod, err := w.Pods.Start(ask.Namespace, ask.ServiceAccount, ask.Name, ask.Process)
		reply(rw, pod, err)
	})
	mux.HandleFunc("POST /v1/pods/{uid}/token", func(rw http.ResponseWriter, r *http.Request) {
		var ask tokenRequest
		if !decode(rw, r, &ask) {
			return
		}
		seconds := min(max(ask.Seconds, 0), int(tokenLifetime/time.Second))
		token, err := w.Pods.Token(r.PathValue("uid"), ask.Audience, time.Duration(seconds)*time.Second)
		reply(rw, tokenReply{token}, err)
	})
	mux.HandleFunc("DELETE /v1/pods/{uid}", func(rw http.ResponseWriter, r *http.Request) {
		reply(rw, struct{}{}, w.Pods.End(r.PathValue("uid")))
	})
	mux.HandleFunc("POST /v1/decisions", func(rw http.ResponseWriter, r *http.Request) {
		var ask Question
		if !decode(rw, r, &ask) {
			return
		}
		answer, err := w.Decide(r.Context(), ask)
		reply(rw, answer, err)
	})
	mux.HandleFunc("GET /v1/serviceaccounts", func(rw http.ResponseWriter, r *http.Request) {
		reply(rw, w.serviceAccounts(r.Context(), func(podid.Association) bool { return true }), nil)
	})
	mux.ServeHTTP(rw, r)
}

func decode(rw http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(rw, r.Body, 16<<10))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		reply(rw, nil, problem.New(problem.RequestInvalid, "the body is not what this call takes").Because("%v", err))
		return false
	}
	return true
}

// wireProblem is a problem on the control API.
type wireProblem struct {
	Code problem.Code `json:"code"`
	What string       `json:"what"`
	Why  string       `json:"why"`
	Fix  string       `json:"fix"`
}

func reply(rw http.ResponseWriter, value any, err error) {
	rw.Header().Set("Content-Type", "application/json")
	if err != nil {
		p := problem.Of(err)
		rw.WriteHeader(http.StatusBadRequest)
		value = wireProblem{p.Code, p.What, p.Why, p.Fix}
	}
	_ = json.NewEncoder(rw).Encode(value) // the client is gone if this fails
}

// problemOf reads a refusal of the control API.
func problemOf(status int, body io.Reader) error {
	var p wireProblem
	if json.NewDecoder(io.LimitReader(body, 64<<10)).Decode(&p) != nil || !problem.Known(p.Code) {
		return problem.New(problem.Internal, "the local world answered with status %d", status)
	}
	return &problem.Problem{Code: p.Code, What: p.What, Why: p.Why, Fix: p.Fix}
}
