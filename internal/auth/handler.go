package auth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/internal/sigv4"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/internal/token"
	"github.com/openpodidentity/podid/problem"
)

// MaxBody bounds a request's body in bytes.
const MaxBody = 32 << 10

// defaultTimeout leaves the agent, which waits 900 ms, time to say why.
const defaultTimeout = 800 * time.Millisecond

// Headers beside AWS's own.
const (
	// HeaderAssociation is UID/VERSION of the association behind the answer; of a
	// request, the newest that the caller has heard of.
	HeaderAssociation = "X-Podid-Association"
	HeaderRequestID   = "X-Request-Id"
)

// Handler is the EKS Auth edge: POST /clusters/{name}/assume-role-for-pod-identity
// (https://docs.aws.amazon.com/eks/latest/APIReference/API_auth_AssumeRoleForPodIdentity.html),
// and the agents' stream beside it.
type Handler struct {
	Service *Service
	// Ready says what keeps this replica from answering anybody truly, such as news of
	// the cluster that are too old; nil is nothing.
	Ready func() error
	// Age is how old the news of the cluster are that this replica goes by; nil is not old.
	Age func() time.Duration
	// Nodes feeds the stream; nil has none.
	Nodes *Nodes
	// Agents proves agents by their own token (audience auth.podid.dev), and finds the
	// node that the agent's pod really runs on.
	Agents *token.Live
	// AgentSubject is the only sub accepted: system:serviceaccount:podid-system:podid-agent.
	AgentSubject string
	// SigV4 admits callers that sign with a known access key; nil does not.
	SigV4 *sigv4.Verifier
	// Permit says whether the signer of r, already proved, may call
	// eks-auth:AssumeRoleForPodIdentity; nil lets every known key. Where sessions
	// of pods are known keys it must refuse them: a signature passes node scope.
	Permit func(r *http.Request) error
	// Timeout bounds an exchange; 800 ms if zero.
	Timeout time.Duration
	// Gate limits those who send forged tokens; nil does not.
	Gate *Gate
	// Refused has a pod that was proved told why it is refused. It must not wait, and may be nil.
	Refused func(w podid.Workload, p *problem.Problem)
	// Audit and Metrics are told of every decision, and may be nil.
	Audit   *Audit
	Metrics *Metrics
	Log     *slog.Logger
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := requestID(r)
	w.Header().Set(HeaderRequestID, id)

	if r.URL.Path == stream.Path {
		h.serveStream(w, r, id)
		return
	}
	cluster, ok := route(r.URL.Path)
	switch {
	case !ok:
		awswire.WriteJSONError(w, id, awswire.Errorf(http.StatusNotFound, "UnknownOperationException",
			"There is no such operation; EKS Auth has POST /clusters/NAME/assume-role-for-pod-identity."))
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		awswire.WriteJSONError(w, id, awswire.Errorf(http.StatusMethodNotAllowed, "UnknownOperationException",
			"AssumeRoleForPodIdentity takes POST."))
		return
	}

	timeout := h.timeout()
	ctx, cancel := context.WithTimeoutCause(r.Context(), timeout, tooSlow(timeout))
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeout)) // of the body; where there is none, none can be slow

	start := time.Now()
	g, err := h.answer(r, cluster)
	p := problem.Of(err)
	h.Metrics.exchanged(p, time.Since(start))
	h.audit(ctx, newRecord("exchange", id, r.RemoteAddr, g, p))
	h.log(ctx, id, g, p)
	h.report(g, p)
	if p != nil {
		awswire.WriteJSONError(w, id, wireError(p, id))
		return
	}
	w.Header().Set("X-Amzn-Requestid", id)
	w.Header().Set(HeaderAssociation, association.VersionOf(g.Association).String())
	awswire.WriteJSON(w, http.StatusOK, reply(h.Service.Cluster, g))
}

func (h *Handler) timeout() time.Duration { return cmp.Or(h.Timeout, defaultTimeout) }

func (h *Handler) ready() error {
	if h.Ready == nil {
		return nil
	}
	return h.Ready()
}

// tooSlow is why an exchange was ended.
type tooSlow time.Duration

func (t tooSlow) Error() string {
	return "an exchange takes at most " + time.Duration(t).String()
}

// answer always returns a Grant, for the log.
func (h *Handler) answer(r *http.Request, cluster string) (*Grant, error) {
	caller, err := h.admit(r, h.caller)
	if err != nil {
		return &Grant{}, err
	}
	if cluster != h.Service.Cluster.Name {
		return &Grant{Caller: caller}, problem.New(problem.ClusterUnknown, "No cluster found for name: %.100s.", cluster)
	}
	if caller.Heard, err = stream.ParseVersion(r.Header.Get(HeaderAssociation)); err != nil {
		return &Grant{Caller: caller}, problem.New(problem.RequestInvalid, "the header %s is %v", HeaderAssociation, err)
	}
	raw, err := readToken(r.Body)
	if err != nil {
		return &Grant{Caller: caller}, err
	}
	g, err := h.Service.Exchange(r.Context(), caller, raw)
	h.Gate.refused(r.RemoteAddr, err)
	return g, err
}

// admit proves the caller, if this replica can tell and wants to.
func (h *Handler) admit(r *http.Request, prove func(*http.Request) (Caller, error)) (Caller, error) {
	if err := h.ready(); err != nil {
		return Caller{}, err
	}
	proved, err := h.Gate.admit(r.RemoteAddr, r.Header.Get("Authorization"))
	if err != nil {
		return Caller{}, err
	}
	caller, err := prove(r)
	proved(err)
	return caller, err
}

// audit writes a line. The decision stands without it; who reads the log sees the gap.
func (h *Handler) audit(ctx context.Context, r record) {
	if err := h.Audit.write(r, time.Now()); err != nil && h.Log != nil {
		h.Log.ErrorContext(ctx, "no audit record", "request", r.Request, "cause", err)
	}
}

// route finds the cluster's name in the path.
func route(path string) (cluster string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/clusters/")
	if !ok {
		return "", false
	}
	cluster, ok = strings.CutSuffix(rest, "/assume-role-for-pod-identity")
	return cluster, ok && cluster != "" && !strings.Contains(cluster, "/")
}

// readToken decodes the body. Fields that are not known are let pass, as AWS's
// services do: newer callers send more.
func readToken(body io.Reader) (string, error) {
	text, err := io.ReadAll(body)
	if err != nil {
		if _, is := errors.AsType[*http.MaxBytesError](err); is {
			return "", tooLarge()
		}
		return "", problem.New(problem.RequestInvalid, "the request's body could not be read").From(err)
	}
	var request struct {
		Token       string `json:"token"`
		EKSNodeName string `json:"eksNodeName"`
		InstanceID  string `json:"instanceId"`
		Zone        string `json:"zone"`
	}
	if err := json.Unmarshal(text, &request); err != nil {
		if e, is := errors.AsType[*json.UnmarshalTypeError](err); is && e.Field != "" {
			return "", problem.New(problem.RequestInvalid, "the field %s of the request is of the wrong type", e.Field).From(err)
		}
		return "", problem.New(problem.RequestInvalid, "the request's body is not a JSON object").From(err)
	}
	return request.Token, nil
}

func tooLarge() *problem.Problem {
	return problem.New(problem.RequestInvalid, "the request's body is larger than %d bytes", MaxBody)
}

// requestID is the caller's, if it is fit for a header and a log, or a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get(HeaderRequestID)
	odd := func(c rune) bool {
		return c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}
	if id == "" || len(id) > 64 || strings.ContainsFunc(id, odd) {
		return awswire.RequestID()
	}
	return id
}
