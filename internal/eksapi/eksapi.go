// Package eksapi is the EKS REST API for pod identity associations, over any
// association store: what `aws eks` and Terraform speak.
//
// It is the door through which associations are written; the exchange reads them
// from the same store. docs/components/eksapi.md says what differs from EKS.
//
// Source: https://docs.aws.amazon.com/eks/latest/APIReference/API_Operations_Amazon_Elastic_Kubernetes_Service.html
package eksapi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/awswire"
)

// Access proves who sent r (replacing r.Body by the verified payload) and that
// they may perform the EKS action on resource. Errors are *awswire.Error.
type Access func(r *http.Request, action, resource string) error

// PassRole decides whether the sender of r (already proved) may hand out role.
type PassRole func(r *http.Request, role podid.RoleARN) error

// RoleCheck says whether a role exists and its trust policy admits pod identity.
type RoleCheck func(ctx context.Context, role podid.RoleARN) error

// Handler serves the API of one cluster. Without Access or PassRole it refuses
// what they guard; without Check any role will do.
type Handler struct {
	Cluster  podid.Cluster
	About    About
	Store    association.Store
	Access   Access
	PassRole PassRole
	Check    RoleCheck
	// Caller names who sent a request, for the log; "" while that is not proved.
	Caller func(*http.Request) string
	Log    *slog.Logger
}

// maxBody bounds a request's body; an association of 50 tags of the greatest
// length in any script of the Basic Multilingual Plane fits.
const maxBody = 64 << 10

// call is one request on its way.
type call struct {
	*Handler
	r    *http.Request
	args []string // the path's wildcards, unescaped
	body []byte
}

// ServeHTTP answers one request, and logs it in one line.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	id := awswire.RequestID()
	w.Header().Set("X-Amzn-Requestid", id)
	name, reply, err := h.serve(w, r)
	status := http.StatusOK
	if err == nil {
		awswire.WriteJSON(w, status, reply)
	} else {
		e := exception(name, err)
		status = e.Status
		awswire.WriteJSONError(w, id, e)
	}
	if h.Log == nil {
		return
	}
	attrs := []slog.Attr{slog.String("operation", name), slog.Int("status", status),
		slog.String("requestId", id), slog.Duration("took", time.Since(start))}
	if h.Caller != nil {
		attrs = append(attrs, slog.String("caller", h.Caller(r)))
	}
	level := slog.LevelInfo
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
		if status >= 500 && status != http.StatusNotImplemented {
			level = slog.LevelError
		}
	}
	h.Log.LogAttrs(r.Context(), level, "eks request", attrs...)
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) (name string, reply any, err error) {
	op, args, err := route(r.Method, r.URL.EscapedPath())
	if err != nil {
		return op.name, nil, err
	}
	if op.do == nil {
		return op.name, nil, awswire.NotImplemented("EKS", op.name)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	reply, err = op.do(&call{Handler: h, r: r, args: args})
	return op.name, reply, err
}

// route finds the operation. A path that EKS does not have is refused like an
// operation that is not implemented.
func route(method, path string) (operation, []string, error) {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for _, op := range operations {
		if op.method != method {
			continue
		}
		if args, ok := op.match(segments); ok {
			for i, arg := range args {
				decoded, err := url.PathUnescape(arg)
				if err != nil || strings.ContainsFunc(decoded, isControl) {
					return op, nil, invalid("the path has a badly encoded segment").Fixed("percent-encode it")
				}
				args[i] = decoded
			}
			return op, args, nil
		}
	}
	return operation{}, nil, awswire.NotImplemented("EKS", method+" "+printable(path))
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f || c == '\uFFFD' }

// printable cuts what a caller sent to what an error message may hold.
func printable(s string) string {
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return strings.Map(func(c rune) rune {
		if isControl(c) {
			return '?'
		}
		return c
	}, s)
}

// allow proves the sender and their permission, then reads the verified body.
func (c *call) allow(action, resource string) error {
	if c.Access == nil {
		return awswire.Errorf(http.StatusForbidden, "AccessDeniedException", "Nobody may call this API: no access is configured.")
	}
	if err := c.Access(c.r, action, resource); err != nil {
		return bodyError(err)
	}
	body, err := io.ReadAll(c.r.Body)
	if err != nil {
		return bodyError(err)
	}
	c.body = body
	return nil
}

// bodyError names the limit that a body exceeds; other errors keep their own
// place on the wire.
func bodyError(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return invalid("the request body is larger than %d bytes", maxBody).
			Fixed("send less").From(err)
	}
	return err
}
