// Package awswire is the server side of AWS's wire protocols: the query
// protocol of IAM and STS, REST-XML of S3, REST-JSON of EKS and EKS Auth, and
// their error documents. A request comes in here when its signature is proved
// (query parameters are decoded) and goes out here (every document and error).
//
// Source: https://smithy.io/2.0/aws/protocols/index.html
package awswire

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is an AWS service exception. Everything but Err is sent to the caller.
type Error struct {
	Status  int    // HTTP status, 300–599
	Code    string // "NoSuchEntity", "AccessDenied", "ResourceNotFoundException"
	Message string
	// Resource is S3's <Resource>; Extra are further elements (REST-XML) or
	// fields (JSON), such as BucketName. Keys are names of XML elements.
	Resource string
	Extra    map[string]string
	Err      error // for logs only
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Unwrap gives the underlying error.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error.
func Errorf(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// NotImplemented refuses an operation by name: 501 NotImplemented.
func NotImplemented(service, operation string) *Error {
	return Errorf(http.StatusNotImplemented, "NotImplemented",
		"%s of %s is not implemented here; podid answers what it implements and never guesses.", operation, service)
}

// exception is an error of another package that knows its own place on AWS's
// wire, such as *sigv4.Error.
type exception interface {
	error
	Exception() (status int, code, message string)
}

// AsError finds in err the *Error, or an error with a method
// Exception() (status int, code, message string), as *sigv4.Error has; any
// other error becomes InternalFailure (500) with its text stripped and kept in
// Err. It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[exception](err); ok {
		status, code, message := e.Exception()
		return &Error{Status: status, Code: code, Message: message, Err: err}
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &Error{Status: http.StatusBadRequest, Code: "EntityTooLarge", Err: err,
			Message: fmt.Sprintf("The request body is larger than %d bytes.", e.Limit)}
	}
	return &Error{Status: http.StatusInternalServerError, Code: "InternalFailure", Err: err,
		Message: "The request processing has failed because of an unknown error, exception or failure."}
}

// status keeps an Error made by hand from making net/http panic.
func (e *Error) status() int {
	if e.Status < 300 || e.Status > 599 {
		return http.StatusInternalServerError
	}
	return e.Status
}
