package upstream

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Fault is a way to fail.
type Fault struct {
	Name string
	// Stream says that the stream fails so, too.
	Stream bool
	// Answers, if not nil, answers instead.
	Answers http.HandlerFunc
	// Delay comes before anything else.
	Delay time.Duration
	// Handshake, if not nil, is what new connections find in place of the server's certificate; what was open is closed.
	Handshake func(*tls.ClientHelloInfo) (*tls.Config, error)
	// Ahead is how far the clock that sets the expiration is ahead; negative, behind.
	Ahead time.Duration
}

// write fails; true says that a good answer is to follow.
func (f *Fault) write(w http.ResponseWriter, r *http.Request) bool {
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done(): // the agent has given up
			return false
		}
	}
	if f.Answers == nil {
		return true
	}
	f.Answers(w, r)
	return false
}

// Slow answers well, d later.
func Slow(d time.Duration) *Fault { return &Fault{Name: "slow: " + d.String(), Delay: d} }

// Faults are those that no answer survives.
func Faults() []*Fault {
	body := func(name, text string) *Fault {
		return &Fault{Name: name, Answers: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }}
	}
	exception := func(name string, status int, exception, code, what string) *Fault {
		return &Fault{Name: name, Answers: func(w http.ResponseWriter, _ *http.Request) { refuse(w, status, exception, code, what) }}
	}
	good := func(change func(map[string]any)) string {
		var m map[string]any
		if err := json.Unmarshal(reply(1, "cart", time.Now().Add(time.Hour)), &m); err != nil {
			panic(err)
		}
		change(m)
		text, err := json.Marshal(m)
		if err != nil {
			panic(err)
		}
		return string(text)
	}
	set := func(key string, value any) string {
		return good(func(m map[string]any) { m["credentials"].(map[string]any)[key] = value })
	}
	return []*Fault{
		{Name: "hangs", Delay: time.Minute},
		{Name: "reset", Answers: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{Name: "reset within the body", Answers: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"subject":`))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
		{Name: "hangs within the body", Answers: func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(`{"subject":`))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}},
		exception("429", http.StatusTooManyRequests, "ThrottlingException", "sts-throttled", "STS is throttling (Throttling)"),
		exception("500", http.StatusInternalServerError, "InternalServerException", "internal", "podid could not answer (request ID 0f8fad5b-d9cb-469f-a165-70867728950e)"),
		exception("503", http.StatusServiceUnavailable, "ServiceUnavailableException", "sts-unavailable", "STS could not be reached"),
		{Name: "502 of a proxy", Answers: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write([]byte("<html><h1>502 Bad Gateway</h1></html>"))
		}},
		body("no JSON", "<html>"),
		body("an empty body", ""),
		body("an array", "[]"),
		body("JSON cut off", good(func(map[string]any) {})[:200]),
		body("a field missing", good(func(m map[string]any) { delete(m["credentials"].(map[string]any), "secretAccessKey") })),
		body("a wrong type", set("expiration", []int{1})),
		body("no credentials", good(func(m map[string]any) { delete(m, "credentials") })),
		body("10 MB", strings.Repeat(" ", 10<<20)),
		body("expired credentials", set("expiration", time.Now().Add(-time.Hour).Unix())),
		body("a clock far ahead", set("expiration", 1e12)),
	}
}

// Ahead answers well, by a clock that is ahead of this one; behind if d is negative.
func Ahead(d time.Duration) *Fault { return &Fault{Name: "clock ahead by " + d.String(), Ahead: d} }

func refuse(w http.ResponseWriter, status int, exception, code, what string) {
	w.Header().Set("X-Amzn-Errortype", exception)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": what, "code": code, "what": what})
}

// sessionToken is as long as those of STS with six session tags.
var sessionToken = strings.Repeat("IQoJb3JpZ2luX2VjEXAMPLE", 44)[:900]

// reply is the n-th good answer, for a service account. The session token says whose it is.
func reply(n int64, account string, expires time.Time) []byte {
	return fmt.Appendf(nil, `{"subject":{"namespace":"shop","serviceAccount":"cart"},"audience":"pods.eks.amazonaws.com",`+
		`"podIdentityAssociation":{"associationArn":"arn:aws:eks:eu-central-1:111122223333:podidentityassociation/bench/a-1","associationId":"a-1"},`+
		`"assumedRoleUser":{"arn":"arn:aws:sts::111122223333:assumed-role/cart/eks-bench-cart-0","assumeRoleId":"AROAEXAMPLE:eks-bench-cart-0"},`+
		`"credentials":{"sessionToken":%q,"secretAccessKey":"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY","accessKeyId":"ASIAEXAMPLE%09d","expiration":%d}}`,
		(account + "/" + sessionToken)[:len(sessionToken)], n, expires.Unix()) // all are of one length
}

// who is what a token says, unproved.
type who struct{ account, pod string }

func subject(raw string) who {
	var claims struct {
		Kubernetes struct {
			ServiceAccount struct{ Name string }
			Pod            struct{ UID string }
		} `json:"kubernetes.io"`
	}
	if parts := strings.Split(raw, "."); len(parts) == 3 {
		text, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(text, &claims) // what is no token is nobody's
	}
	return who{claims.Kubernetes.ServiceAccount.Name, claims.Kubernetes.Pod.UID}
}
