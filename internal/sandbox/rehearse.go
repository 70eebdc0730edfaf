package sandbox

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"time"

	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/localaws"
)

// rehearsed assumes roles as w.Roles does, and leaves no trace in IAM.
func (w *World) rehearsed() *roles.Assumer {
	a := &roles.Assumer{Cluster: w.Roles.Cluster, Principal: w.Roles.Principal, AWS: w.Roles.AWS, Duration: w.Roles.Duration, Trust: w.Roles.Trust}
	a.Timeout = 4 * time.Second // whoever asks waits five, and no SDK waits behind
	a.AWS.HTTPClient = &http.Client{Transport: inProcess{w.AWS}}
	if _, reads := a.Trust.(roles.IAM); reads {
		a.Trust = roles.IAM{AWS: a.AWS}
	}
	return a
}

// inProcess hands requests to the local AWS as rehearsals, without a connection.
type inProcess struct{ to http.Handler }

// RoundTrip implements http.RoundTripper.
func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	served := r.Clone(localaws.Rehearsal(r.Context()))
	served.RequestURI = r.URL.RequestURI()
	served.Host = cmp.Or(r.Host, r.URL.Host)
	served.RemoteAddr = "127.0.0.1:0"
	if served.Body == nil {
		served.Body = http.NoBody
	}
	reply := &recorder{header: http.Header{}}
	p.to.ServeHTTP(reply, served)
	if r.Body != nil {
		_ = r.Body.Close() // a RoundTripper must; nothing is lost if it fails
	}
	return reply.response(r), nil
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (rec *recorder) Header() http.Header  { return rec.header }
func (rec *recorder) WriteHeader(code int) { rec.status = cmp.Or(rec.status, code) }
func (rec *recorder) Write(b []byte) (int, error) {
	rec.WriteHeader(http.StatusOK)
	return rec.body.Write(b)
}

func (rec *recorder) response(to *http.Request) *http.Response {
	return &http.Response{
		StatusCode: cmp.Or(rec.status, http.StatusOK), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: rec.header, Body: io.NopCloser(&rec.body), ContentLength: int64(rec.body.Len()), Request: to,
	}
}
