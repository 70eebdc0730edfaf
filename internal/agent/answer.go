package agent

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"
)

// answer is what SDKs are sent, encoded once.
type answer struct {
	body      []byte
	length    []string // Content-Length
	accessKey string
	expires   time.Time
	// refreshAt is when to ask for new ones, until when to stop serving these.
	refreshAt, until time.Time
	// asked says whether anybody was served these; if not they are not refreshed.
	asked atomic.Bool
}

// newAnswer encodes c, received now. ahead says that nobody has asked for it yet.
func newAnswer(c podid.Credentials, now time.Time, ahead bool) (*answer, error) {
	body, err := json.Marshal(struct {
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		Token           string
		AccountID       string `json:"AccountId"`
		Expiration      string
	}{c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Account, c.Expires.UTC().Format(time.RFC3339)})
	if err != nil {
		return nil, fmt.Errorf("encode credentials: %w", err)
	}
	// A third of its life before the end, SDKs that ask again within the last
	// quarter of an hour (botocore) find new ones. Jitter spreads the pods that
	// started together.
	life := c.Expires.Sub(now)
	a := &answer{
		body: body, length: []string{strconv.Itoa(len(body))},
		accessKey: c.AccessKeyID, expires: c.Expires,
		refreshAt: c.Expires.Add(-life/3 - rand.N(life/12+1)),
		until:     c.Expires.Add(-min(10*time.Second, life/10)),
	}
	a.asked.Store(!ahead)
	return a, nil
}

var contentType = []string{"application/json"} // exactly this: SDKs compare it

func (a *answer) write(w http.ResponseWriter) {
	h := w.Header()
	h["Content-Type"] = contentType
	h["Content-Length"] = a.length
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(a.body) // the client has gone: nobody to tell
}

// writeProblem answers {"code","message"}, which SDKs print.
func writeProblem(w http.ResponseWriter, status int, p *problem.Problem) {
	body, err := json.Marshal(struct {
		Code    problem.Code `json:"code"`
		Message string       `json:"message"`
	}{p.Code, p.Message()})
	if err != nil {
		body = []byte(`{"code":"internal","message":"podid could not answer."}`)
	}
	h := w.Header()
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	if problem.Lookup(p.Code).Kind == problem.Transient {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// status is the HTTP status of a code that is in the table, 500 otherwise.
func status(c problem.Code) int {
	if s, ok := statuses[c]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// statuses has a row for every code, also for those that do not come up here.
// There is no 404 among them: the SDK for Java replaces the text of one by its own.
var statuses = map[problem.Code]int{
	problem.TokenMissing:         http.StatusBadRequest,
	problem.TokenMalformed:       http.StatusBadRequest,
	problem.TokenUnsigned:        http.StatusBadRequest,
	problem.TokenAlgorithm:       http.StatusBadRequest,
	problem.TokenKeyUnknown:      http.StatusBadRequest,
	problem.TokenForged:          http.StatusBadRequest,
	problem.TokenIssuer:          http.StatusBadRequest,
	problem.TokenAudience:        http.StatusBadRequest,
	problem.TokenExpired:         http.StatusBadRequest,
	problem.TokenNotYetValid:     http.StatusBadRequest,
	problem.TokenUnbound:         http.StatusBadRequest,
	problem.PodGone:              http.StatusForbidden,
	problem.PodFinished:          http.StatusForbidden,
	problem.ServiceAccountGone:   http.StatusForbidden,
	problem.ClusterUnavailable:   http.StatusServiceUnavailable,
	problem.CallerUnproven:       http.StatusForbidden,
	problem.SigV4AgentsOff:       http.StatusForbidden,
	problem.NodeMismatch:         http.StatusForbidden,
	problem.ClusterUnknown:       http.StatusForbidden,
	problem.RequestInvalid:       http.StatusBadRequest,
	problem.AssociationMissing:   http.StatusForbidden,
	problem.AssociationNotFound:  http.StatusForbidden,
	problem.AssociationExists:    http.StatusForbidden,
	problem.AssociationInvalid:   http.StatusForbidden,
	problem.AssociationLimit:     http.StatusForbidden,
	problem.TagLimit:             http.StatusForbidden,
	problem.RoleMissing:          http.StatusForbidden,
	problem.TrustInvalid:         http.StatusForbidden,
	problem.TrustDenied:          http.StatusForbidden,
	problem.TrustPrincipal:       http.StatusForbidden,
	problem.TrustTagSession:      http.StatusForbidden,
	problem.TrustCondition:       http.StatusForbidden,
	problem.TargetRoleDenied:     http.StatusForbidden,
	problem.SessionTagsTooLarge:  http.StatusForbidden,
	problem.SessionPolicyInvalid: http.StatusForbidden,
	problem.PolicyInvalid:        http.StatusForbidden,
	problem.DurationTooLong:      http.StatusForbidden,
	problem.STSThrottled:         http.StatusTooManyRequests,
	problem.STSUnavailable:       http.StatusServiceUnavailable,
	problem.BaseCredentials:      http.StatusInternalServerError,
	problem.PermissionDenied:     http.StatusForbidden,
	problem.AuthUnavailable:      http.StatusServiceUnavailable,
	problem.TooManyRequests:      http.StatusTooManyRequests,
	problem.ReplicaBehind:        http.StatusServiceUnavailable,
	problem.ConfigurationMissing: http.StatusInternalServerError,
	problem.ConfigurationInvalid: http.StatusInternalServerError,
	problem.PassPolicyMissing:    http.StatusForbidden,
	problem.ConsentMissing:       http.StatusForbidden,
	problem.AssociationShadowed:  http.StatusForbidden,
	problem.PodNotInjected:       http.StatusForbidden,
	problem.CredentialsShadowed:  http.StatusForbidden,
	problem.CertificateMissing:   http.StatusServiceUnavailable,
	problem.CertificateInvalid:   http.StatusInternalServerError,
	problem.AddressUnavailable:   http.StatusInternalServerError,
	problem.ClusterUnreachable:   http.StatusForbidden,
	problem.InstallIncomplete:    http.StatusForbidden,
	problem.NotImplemented:       http.StatusForbidden,
	problem.WorldNotRunning:      http.StatusForbidden,
	problem.DataDamaged:          http.StatusInternalServerError,
	problem.DataLocked:           http.StatusForbidden,
	problem.DataUnwritable:       http.StatusInternalServerError,
	problem.Usage:                http.StatusForbidden,
	problem.Internal:             http.StatusInternalServerError,
}
