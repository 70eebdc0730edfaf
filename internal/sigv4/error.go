package sigv4

import "net/http"

// Error is a refused signature or payload in AWS's terms. It holds no secret and
// no signature.
type Error struct {
	// Status is the HTTP status, Code the name that the service in the request's
	// scope gives the error: S3's own names (InvalidAccessKeyId,
	// AuthorizationHeaderMalformed, …), those of EKS and EKS Auth
	// (UnrecognizedClientException, InvalidSignatureException, …), and for every
	// other service the common ones (InvalidClientTokenId, SignatureDoesNotMatch, …).
	Status  int
	Code    string
	Message string
	Err     error
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Unwrap gives the underlying error.
func (e *Error) Unwrap() error { return e.Err }

// Exception is the error's place on AWS's wire; awswire.AsError reads it.
func (e *Error) Exception() (status int, code, message string) { return e.Status, e.Code, e.Message }

// kind is a reason to refuse; each has a name in every family of services.
type kind int

const (
	missing        kind = iota // not signed at all
	malformed                  // the Authorization header cannot be read
	malformedQuery             // the presigned URL cannot be read
	notImplemented
	unknownKey
	invalidToken
	expiredToken
	mismatch
	stale          // the request's time is too old
	early          // or too far ahead
	presignStale   // a presigned URL has expired
	presignEarly   // or is not valid yet
	unsigned       // headers that must be signed are not
	payloadHash    // the payload is not what was signed
	badDigest      // a checksum does not hold
	invalidDigest  // a checksum is not one
	incompleteBody // the body ends early
	chunkSize      // a chunk is too small or too big
	malformedTrailer
	invalidRequest
	invalidArgument
	noLength
	tooLarge
	unavailable
)

// term is an error's name, and its text where AWS always gives the same.
type term struct {
	status  int
	code    string
	message string
}

const (
	textMismatch = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	textToken    = "The security token included in the request is invalid."
	textExpired  = "The security token included in the request is expired"
	textMissing  = "Request is missing Authentication Token"
)

// common are the errors of the query protocol.
//
// Source: https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
var common = [...]term{
	missing:          {http.StatusForbidden, "MissingAuthenticationToken", textMissing},
	malformed:        {http.StatusBadRequest, "IncompleteSignature", ""},
	malformedQuery:   {http.StatusBadRequest, "IncompleteSignature", ""},
	notImplemented:   {http.StatusNotImplemented, "NotImplemented", ""},
	unknownKey:       {http.StatusForbidden, "InvalidClientTokenId", textToken},
	invalidToken:     {http.StatusForbidden, "InvalidClientTokenId", textToken},
	expiredToken:     {http.StatusForbidden, "ExpiredToken", textExpired},
	mismatch:         {http.StatusForbidden, "SignatureDoesNotMatch", textMismatch},
	stale:            {http.StatusForbidden, "SignatureDoesNotMatch", ""},
	early:            {http.StatusForbidden, "SignatureDoesNotMatch", ""},
	presignStale:     {http.StatusBadRequest, "RequestExpired", "Request has expired."},
	presignEarly:     {http.StatusForbidden, "SignatureDoesNotMatch", ""},
	unsigned:         {http.StatusForbidden, "SignatureDoesNotMatch", ""},
	payloadHash:      {http.StatusForbidden, "SignatureDoesNotMatch", textMismatch},
	badDigest:        {http.StatusBadRequest, "BadDigest", ""},
	invalidDigest:    {http.StatusBadRequest, "InvalidDigest", ""},
	incompleteBody:   {http.StatusBadRequest, "MalformedHttpRequest", "The request body ends early."},
	chunkSize:        {http.StatusForbidden, "InvalidChunkSizeError", ""},
	malformedTrailer: {http.StatusBadRequest, "MalformedTrailerError", ""},
	invalidRequest:   {http.StatusBadRequest, "MalformedHttpRequest", ""},
	invalidArgument:  {http.StatusBadRequest, "MalformedHttpRequest", ""},
	noLength:         {http.StatusLengthRequired, "MissingContentLength", ""},
	tooLarge:         {http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The request body is larger than 1048576 bytes."},
	unavailable:      {http.StatusServiceUnavailable, "ServiceUnavailable", "The request has failed due to a temporary failure of the server."},
}

// inS3 are S3's own names.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
var inS3 = map[kind]term{
	missing:         {http.StatusForbidden, "AccessDenied", "Access Denied"},
	malformed:       {http.StatusBadRequest, "AuthorizationHeaderMalformed", ""},
	malformedQuery:  {http.StatusBadRequest, "AuthorizationQueryParametersError", ""},
	unknownKey:      {http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."},
	invalidToken:    {http.StatusBadRequest, "InvalidToken", "The provided token is malformed or otherwise invalid."},
	expiredToken:    {http.StatusBadRequest, "ExpiredToken", "The provided token has expired."},
	mismatch:        {http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method."},
	stale:           {http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."},
	early:           {http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."},
	presignStale:    {http.StatusForbidden, "AccessDenied", "Request has expired"},
	presignEarly:    {http.StatusForbidden, "AccessDenied", "Request is not valid yet"},
	unsigned:        {http.StatusForbidden, "AccessDenied", ""},
	payloadHash:     {http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed."},
	incompleteBody:  {http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header"},
	invalidRequest:  {http.StatusBadRequest, "InvalidRequest", ""},
	invalidArgument: {http.StatusBadRequest, "InvalidArgument", ""},
	noLength:        {http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header."},
	tooLarge:        {http.StatusBadRequest, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"},
	unavailable:     {http.StatusServiceUnavailable, "ServiceUnavailable", "Service is unable to handle request."},
}

// inJSON are the names of the services that speak REST-JSON.
//
// Source: https://docs.aws.amazon.com/eks/latest/APIReference/CommonErrors.html
var inJSON = map[kind]term{
	missing:        {http.StatusForbidden, "MissingAuthenticationTokenException", textMissing},
	malformed:      {http.StatusForbidden, "IncompleteSignatureException", ""},
	malformedQuery: {http.StatusForbidden, "IncompleteSignatureException", ""},
	notImplemented: {http.StatusNotImplemented, "NotImplementedException", ""},
	unknownKey:     {http.StatusForbidden, "UnrecognizedClientException", textToken},
	invalidToken:   {http.StatusForbidden, "UnrecognizedClientException", textToken},
	expiredToken:   {http.StatusForbidden, "ExpiredTokenException", textExpired},
	mismatch:       {http.StatusForbidden, "InvalidSignatureException", textMismatch},
	stale:          {http.StatusForbidden, "InvalidSignatureException", ""},
	early:          {http.StatusForbidden, "InvalidSignatureException", ""},
	presignStale:   {http.StatusForbidden, "RequestExpired", "Request has expired."},
	presignEarly:   {http.StatusForbidden, "InvalidSignatureException", ""},
	unsigned:       {http.StatusForbidden, "InvalidSignatureException", ""},
	payloadHash:    {http.StatusForbidden, "InvalidSignatureException", textMismatch},
	unavailable:    {http.StatusServiceUnavailable, "ServiceUnavailableException", "The request has failed due to a temporary failure of the server."},
}

// refuse makes the error of kind k in the words of service; message is used
// where AWS has no fixed text for it.
func refuse(service string, k kind, message string) *Error {
	t := common[k]
	switch service {
	case "s3":
		if own, ok := inS3[k]; ok {
			t = own
		}
	case "eks", "eks-auth":
		if own, ok := inJSON[k]; ok {
			t = own
		}
	}
	if message == "" {
		message = t.message
	}
	return &Error{Status: t.status, Code: t.code, Message: message}
}

func (c *claim) refuse(k kind, message string) *Error { return refuse(c.wording, k, message) }
