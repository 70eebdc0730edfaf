package awswire

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Response headers that name a request: of S3, and of every other service.
const (
	headerRequestID   = "X-Amzn-Requestid"
	headerS3RequestID = "X-Amz-Request-Id"
	headerS3HostID    = "X-Amz-Id-2"
	headerErrorType   = "X-Amzn-Errortype"
)

// RequestID returns a new request ID in AWS's form (a UUID).
func RequestID() string { return uuid.NewString() }

// ISO is t as XML documents carry it, to the second: 2015-08-30T12:36:00Z.
func ISO(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// ISOMillis is t as S3's documents carry it: 2015-08-30T12:36:00.000Z.
func ISOMillis(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// Epoch is t as REST-JSON documents carry it: seconds since 1970 with
// milliseconds as the fraction.
func Epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// ServeQuery answers one call of the query protocol with what do makes of it. A
// fault of the server's own goes to the log with its cause.
func ServeQuery(w http.ResponseWriter, r *http.Request, namespace string, log *slog.Logger, do func(Query) (any, error)) {
	id := RequestID()
	q, err := ParseQuery(r)
	var result any
	if err == nil {
		result, err = do(q)
	}
	if err != nil {
		if e := AsError(err); e.Status >= http.StatusInternalServerError && e.Err != nil {
			log.ErrorContext(r.Context(), "call failed", "namespace", namespace, "action", q.Action, "requestId", id, "error", e.Err)
		}
		WriteQueryError(w, namespace, id, err)
		return
	}
	WriteQuery(w, namespace, q.Action, id, result)
}

// WriteQuery answers a query-protocol call: <ActionResponse
// xmlns=namespace><ActionResult>…</ActionResult><ResponseMetadata>. result is
// encoded with encoding/xml; nil for operations without a result.
func WriteQuery(w http.ResponseWriter, namespace, action, requestID string, result any) {
	var b bytes.Buffer
	b.WriteString("<" + action + "Response xmlns=\"")
	_ = xml.EscapeText(&b, []byte(namespace)) // a Buffer takes everything
	b.WriteString("\">")
	if result != nil {
		start := xml.StartElement{Name: xml.Name{Local: action + "Result"}}
		if err := xml.NewEncoder(&b).EncodeElement(result, start); err != nil {
			WriteQueryError(w, namespace, requestID, err)
			return
		}
	}
	b.WriteString("<ResponseMetadata>")
	element(&b, "RequestId", requestID)
	b.WriteString("</ResponseMetadata></" + action + "Response>\n")
	w.Header().Set(headerRequestID, requestID)
	write(w, http.StatusOK, "text/xml", b.Bytes())
}

// WriteQueryError answers <ErrorResponse><Error><Type><Code><Message>.
func WriteQueryError(w http.ResponseWriter, namespace, requestID string, err error) {
	e := AsError(err)
	fault := "Sender"
	if e.status() >= 500 {
		fault = "Receiver"
	}
	var b bytes.Buffer
	b.WriteString("<ErrorResponse xmlns=\"")
	_ = xml.EscapeText(&b, []byte(namespace)) // a Buffer takes everything
	b.WriteString("\"><Error>")
	element(&b, "Type", fault)
	element(&b, "Code", e.Code)
	element(&b, "Message", e.Message)
	for _, name := range slices.Sorted(maps.Keys(e.Extra)) {
		element(&b, name, e.Extra[name])
	}
	b.WriteString("</Error>")
	element(&b, "RequestId", requestID)
	b.WriteString("</ErrorResponse>\n")
	w.Header().Set(headerRequestID, requestID)
	write(w, e.status(), "text/xml", b.Bytes())
}

// WriteXML answers a REST-XML document (S3). It makes a request ID unless
// x-amz-request-id is set already.
func WriteXML(w http.ResponseWriter, status int, document any) {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	if err := xml.NewEncoder(&b).Encode(document); err != nil {
		WriteXMLError(w, nil, "", err)
		return
	}
	setS3RequestID(w, "")
	write(w, status, "application/xml", b.Bytes())
}

// WriteXMLError answers S3's <Error>; no body for HEAD and for 304. r may be nil.
func WriteXMLError(w http.ResponseWriter, r *http.Request, requestID string, err error) {
	e := AsError(err)
	requestID = setS3RequestID(w, requestID)
	if e.status() == http.StatusNotModified || r != nil && r.Method == http.MethodHead {
		w.WriteHeader(e.status())
		return
	}
	var b bytes.Buffer
	b.WriteString(xml.Header + "<Error>")
	element(&b, "Code", e.Code)
	element(&b, "Message", e.Message)
	for _, name := range slices.Sorted(maps.Keys(e.Extra)) {
		element(&b, name, e.Extra[name])
	}
	if e.Resource != "" {
		element(&b, "Resource", e.Resource)
	}
	element(&b, "RequestId", requestID)
	element(&b, "HostId", w.Header().Get(headerS3HostID))
	b.WriteString("</Error>")
	write(w, e.status(), "application/xml", b.Bytes())
}

// WriteJSON answers a REST-JSON document. It makes a request ID unless
// x-amzn-requestid is set already.
func WriteJSON(w http.ResponseWriter, status int, document any) {
	body, err := marshal(document)
	if err != nil {
		WriteJSONError(w, "", err)
		return
	}
	setRequestID(w, "")
	write(w, status, "application/json", body)
}

// WriteJSONError answers {"message"} and the fields of Extra, with the
// exception's name in x-amzn-errortype.
func WriteJSONError(w http.ResponseWriter, requestID string, err error) {
	e := AsError(err)
	fields := make(map[string]string, len(e.Extra)+1)
	maps.Copy(fields, e.Extra)
	fields["message"] = e.Message
	body, _ := marshal(fields) // a map of strings cannot fail
	setRequestID(w, requestID)
	w.Header().Set(headerErrorType, e.Code)
	write(w, e.status(), "application/json", body)
}

// SetRequestID names the request in the headers of every protocol, for answers
// that this package does not write (an object's content).
func SetRequestID(w http.ResponseWriter, requestID string) {
	setRequestID(w, requestID)
	setS3RequestID(w, requestID)
}

func setRequestID(w http.ResponseWriter, id string) {
	switch {
	case id != "":
		w.Header().Set(headerRequestID, id)
	case w.Header().Get(headerRequestID) == "":
		w.Header().Set(headerRequestID, RequestID())
	}
}

func setS3RequestID(w http.ResponseWriter, id string) string {
	h := w.Header()
	switch {
	case id != "":
		h.Set(headerS3RequestID, id)
	case h.Get(headerS3RequestID) == "":
		h.Set(headerS3RequestID, RequestID())
	}
	if h.Get(headerS3HostID) == "" {
		h.Set(headerS3HostID, "podid")
	}
	return h.Get(headerS3RequestID)
}

// marshal leaves <, > and & as they are: policies and messages are read by people.
func marshal(document any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(document)
	return b.Bytes(), err
}

func element(b *bytes.Buffer, name, text string) {
	b.WriteString("<" + name + ">")
	_ = xml.EscapeText(b, []byte(text)) // a Buffer takes everything
	b.WriteString("</" + name + ">")
}

// write sends the answer whole; an error means that the caller has gone.
func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
