package eksapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/problem"
)

// outcome is how a problem is told in terms of the EKS API.
type outcome struct {
	exception string
	status    int
	// text is AWS's own, which comes before ours: clients look for it.
	text string
}

var (
	invalidParameter = outcome{"InvalidParameterException", http.StatusBadRequest, ""}
	invalidRequest   = outcome{"InvalidRequestException", http.StatusBadRequest, ""}
	notFound         = outcome{"ResourceNotFoundException", http.StatusNotFound, ""}
	denied           = outcome{"AccessDeniedException", http.StatusForbidden, ""}
	throttling       = outcome{"ThrottlingException", http.StatusTooManyRequests, ""}
	unavailable      = outcome{"ServiceUnavailableException", http.StatusServiceUnavailable, ""}
	server           = outcome{"ServerException", http.StatusInternalServerError, ""}
	invalidTrust     = outcome{"InvalidParameterException", http.StatusBadRequest,
		"Trust policy of the role provided is invalid. Follow the official documentation to resolve the issue."}
)

// outcomes is the one table of this edge, for every code of the catalogue. Those
// of the exchange do not occur here; they have a row so that none can ever be
// answered by accident.
var outcomes = map[problem.Code]outcome{
	problem.ClusterUnknown:      notFound,
	problem.RequestInvalid:      invalidParameter,
	problem.AssociationMissing:  notFound,
	problem.AssociationNotFound: notFound,
	problem.AssociationExists:   {"ResourceInUseException", http.StatusConflict, ""},
	problem.AssociationInvalid:  invalidParameter,
	problem.AssociationLimit:    {"ResourceLimitExceededException", http.StatusBadRequest, ""},
	problem.TagLimit:            invalidParameter,
	problem.RoleMissing: {"InvalidParameterException", http.StatusBadRequest,
		"Role provided in the request does not exist."},
	problem.TrustInvalid:         invalidTrust,
	problem.TrustDenied:          invalidTrust,
	problem.TrustPrincipal:       invalidTrust,
	problem.TrustTagSession:      invalidTrust,
	problem.TrustCondition:       invalidTrust,
	problem.TargetRoleDenied:     invalidParameter,
	problem.SessionTagsTooLarge:  invalidParameter,
	problem.SessionPolicyInvalid: invalidParameter,
	problem.PolicyInvalid:        invalidParameter,
	problem.DurationTooLong:      invalidParameter,

	problem.CallerUnproven:   denied,
	problem.SigV4AgentsOff:   denied,
	problem.NodeMismatch:     denied,
	problem.PermissionDenied: denied,

	problem.TokenMissing:       invalidRequest,
	problem.TokenMalformed:     invalidRequest,
	problem.TokenUnsigned:      invalidRequest,
	problem.TokenAlgorithm:     invalidRequest,
	problem.TokenKeyUnknown:    invalidRequest,
	problem.TokenForged:        invalidRequest,
	problem.TokenIssuer:        invalidRequest,
	problem.TokenAudience:      invalidRequest,
	problem.TokenExpired:       invalidRequest,
	problem.TokenNotYetValid:   invalidRequest,
	problem.TokenUnbound:       invalidRequest,
	problem.PodGone:            invalidRequest,
	problem.PodFinished:        invalidRequest,
	problem.ServiceAccountGone: invalidRequest,
	problem.WorldNotRunning:    invalidRequest,
	problem.DataLocked:         invalidRequest,
	problem.Usage:              invalidRequest,

	problem.ReplicaBehind:        unavailable,
	problem.ConfigurationMissing: server,
	problem.ConfigurationInvalid: server,
	problem.PassPolicyMissing:    denied,
	problem.ConsentMissing:       denied,
	problem.AssociationShadowed:  invalidRequest,
	problem.PodNotInjected:       invalidRequest,
	problem.CredentialsShadowed:  invalidRequest,
	problem.CertificateMissing:   unavailable,
	problem.CertificateInvalid:   server,
	problem.AddressUnavailable:   server,
	problem.AgentMissing:         server,
	problem.ClusterUnreachable:   invalidRequest,
	problem.InstallIncomplete:    invalidRequest,
	problem.STSThrottled:         throttling,
	problem.TooManyRequests:      throttling,
	problem.ClusterUnavailable:   unavailable,
	problem.STSUnavailable:       unavailable,
	problem.AuthUnavailable:      unavailable,

	problem.BaseCredentials: server,
	problem.DataDamaged:     server,
	problem.DataUnwritable:  server,
	problem.Internal:        server,

	problem.NotImplemented: {"NotImplemented", http.StatusNotImplemented, ""},
}

// exception is err as the operation may answer it.
func exception(operation string, err error) *awswire.Error {
	e := translate(err)
	switch operation {
	case "TagResource", "UntagResource", "ListTagsForResource":
		// These three have exceptions of their own
		// (https://docs.aws.amazon.com/eks/latest/APIReference/API_TagResource.html).
		switch e.Code {
		case "InvalidParameterException":
			e.Code = "BadRequestException"
		case "ResourceNotFoundException":
			e.Code = "NotFoundException"
		}
	}
	return e
}

func translate(err error) *awswire.Error {
	if p, ok := errors.AsType[*problem.Problem](err); ok {
		o, ok := outcomes[p.Code]
		if !ok {
			o = server
		}
		message := p.Message()
		if o.text != "" {
			message = o.text + " " + message
		}
		return &awswire.Error{Status: o.status, Code: o.exception, Message: message, Err: err}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &awswire.Error{Status: unavailable.status, Code: unavailable.exception,
			Message: "The request was not answered in time.", Err: err}
	}
	e := *awswire.AsError(err)
	switch e.Code {
	case "AccessDenied": // the name of the query protocol's services
		e.Code = denied.exception
	case "InternalFailure":
		e.Code = server.exception
	}
	return &e
}
