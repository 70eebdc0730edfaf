// Package awswire is the server side of AWS's wire protocols: the query
// protocol of IAM and STS, REST-XML of S3, REST-JSON of EKS and EKS Auth, and
// their error documents.
package awswire

import (
	"net/http"
)

// Error is an AWS service exception.
type Error struct {
	Status  int    // HTTP status
	Code    string // "NoSuchEntity", "AccessDenied", "ResourceNotFoundException"
	Message string
	// Resource is S3's <Resource>; Extra are further elements (REST-XML) or
	// fields (JSON), such as BucketName.
	Resource string
	Extra    map[string]string
	Err      error // for logs only
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Unwrap gives the underlying error.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error.
func Errorf(status int, code, format string, args ...any) *Error { panic("skeleton") }

// NotImplemented refuses an operation by name: 501 NotImplemented.
func NotImplemented(service, operation string) *Error { panic("skeleton") }

// RequestID returns a new request ID in AWS's form (a UUID).
func RequestID() string { panic("skeleton") }

// WriteQuery answers a query-protocol call: <ActionResponse
// xmlns=namespace><ActionResult>…</ActionResult><ResponseMetadata>. result is
// encoded with encoding/xml; nil for operations without a result.
func WriteQuery(w http.ResponseWriter, namespace, action, requestID string, result any) {
	panic("skeleton")
}

// WriteQueryError answers <ErrorResponse><Error><Type><Code><Message>.
func WriteQueryError(w http.ResponseWriter, namespace, requestID string, err error) {
	panic("skeleton")
}

// WriteXML answers a REST-XML document (S3).
func WriteXML(w http.ResponseWriter, status int, document any) { panic("skeleton") }

// WriteXMLError answers S3's <Error>; no body for HEAD.
func WriteXMLError(w http.ResponseWriter, r *http.Request, requestID string, err error) {
	panic("skeleton")
}

// WriteJSON answers a REST-JSON document.
func WriteJSON(w http.ResponseWriter, status int, document any) { panic("skeleton") }

// WriteJSONError answers {"message"} with the exception's name in x-amzn-errortype.
func WriteJSONError(w http.ResponseWriter, requestID string, err error) { panic("skeleton") }

// AsError finds the *Error in err; any other error becomes InternalFailure (500)
// with its text stripped and kept in Err.
func AsError(err error) *Error { panic("skeleton") }
