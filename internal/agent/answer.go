package agent

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// answer is what SDKs are sent, encoded once.
type answer struct {
	body   []byte
	length [1]string // Content-Length
	// association is the version they were issued under.
	association stream.Version
	received    instant
	// refreshAt is when to ask for new ones.
	refreshAt, expires instant
	// asked says whether anybody was served these; if not they are not refreshed.
	asked atomic.Bool
}

// newAnswer encodes what was received now. ahead says that nobody has asked for it yet.
func newAnswer(reply Reply, now time.Time, ahead bool) (*answer, error) {
	c := reply.Credentials
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
	a := &answer{
		body: body, association: reply.Association,
		received: at(now), expires: at(c.Expires),
	}
	a.asked.Store(!ahead)
	a.plan()
	return a, nil
}

// plan sets what follows from the rest. Renewal begins with between three and four
// eighths of their life left, so that a third is left when it is done though many are
// due; jitter spreads the pods that started together.
func (a *answer) plan() {
	life := max(a.life(), 0)
	a.length[0] = strconv.Itoa(len(a.body))
	a.refreshAt = a.expires - instant(life*3/8+rand.N(life/8+1))
}

// renewWithin has it renewed with a quarter of d left since it came, at the latest: where
// nobody tells what has changed, it is not served for longer than d.
func (a *answer) renewWithin(d time.Duration) {
	a.refreshAt = min(a.refreshAt, a.received+instant(d*3/4-rand.N(d/8+1)))
}

// until is when to stop serving these: what would expire on its way to AWS is of no use.
func (a *answer) until() time.Time {
	return a.expires.time().Add(-min(time.Second, a.life()/10))
}

func (a *answer) life() time.Duration { return time.Duration(a.expires - a.received) }

// instant is a time in a third of the room, in nanoseconds since 1970.
type instant int64

func at(t time.Time) instant      { return instant(t.UnixNano()) }
func (i instant) time() time.Time { return time.Unix(0, int64(i)).UTC() }

var contentType = []string{"application/json"} // exactly this: SDKs compare it

func (a *answer) write(w http.ResponseWriter) {
	h := w.Header()
	h["Content-Type"] = contentType
	h["Content-Length"] = a.length[:]
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(a.body) // the client has gone: nobody to tell
}

// refusal is a problem with what its answer needs beside it.
type refusal struct {
	status int            // 0: that of the table
	after  time.Duration  // for Retry-After
	silent bool           // it was logged not long ago
	of     podid.Workload // whose token was refused, if that is proved
	error
}

func (r refusal) Unwrap() error { return r.error }

// writeError answers {"code","message"}, which SDKs print, and returns the code.
func writeError(w http.ResponseWriter, err error) problem.Code {
	p := problem.Of(err)
	told, _ := errors.AsType[refusal](err)
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
		h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(told.after.Seconds())))))
	}
	w.WriteHeader(cmp.Or(told.status, status(p.Code)))
	_, _ = w.Write(body)
	return p.Code
}
