package auth

import (
	"net/http"

	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/problem"
)

// exception is how a problem looks on EKS Auth's wire.
type exception struct {
	name   string
	status int
}

// The exceptions of AssumeRoleForPodIdentity
// (https://docs.aws.amazon.com/eks/latest/APIReference/API_auth_AssumeRoleForPodIdentity.html).
// AWS's own agent takes the first four for final.
var (
	accessDenied       = exception{"AccessDeniedException", http.StatusBadRequest}
	expiredToken       = exception{"ExpiredTokenException", http.StatusBadRequest}
	invalidToken       = exception{"InvalidTokenException", http.StatusBadRequest}
	resourceNotFound   = exception{"ResourceNotFoundException", http.StatusNotFound}
	invalidParameter   = exception{"InvalidParameterException", http.StatusBadRequest}
	invalidRequest     = exception{"InvalidRequestException", http.StatusBadRequest}
	throttling         = exception{"ThrottlingException", http.StatusTooManyRequests}
	serviceUnavailable = exception{"ServiceUnavailableException", http.StatusServiceUnavailable}
	internalServer     = exception{"InternalServerException", http.StatusInternalServerError}
)

// exceptions has a row for every code, also for those that do not come up here:
// a problem never leaves by accident.
var exceptions = map[problem.Code]exception{
	problem.TokenMissing:         invalidToken,
	problem.TokenMalformed:       invalidToken,
	problem.TokenUnsigned:        invalidToken,
	problem.TokenAlgorithm:       invalidToken,
	problem.TokenKeyUnknown:      invalidToken,
	problem.TokenForged:          invalidToken,
	problem.TokenIssuer:          invalidToken,
	problem.TokenAudience:        invalidToken,
	problem.TokenExpired:         expiredToken,
	problem.TokenNotYetValid:     invalidToken,
	problem.TokenUnbound:         invalidToken,
	problem.PodGone:              invalidToken,
	problem.PodFinished:          invalidToken,
	problem.ServiceAccountGone:   invalidToken,
	problem.ClusterUnavailable:   serviceUnavailable,
	problem.CallerUnproven:       accessDenied,
	problem.SigV4AgentsOff:       accessDenied,
	problem.NodeMismatch:         accessDenied,
	problem.ClusterUnknown:       resourceNotFound,
	problem.RequestInvalid:       invalidParameter,
	problem.AssociationMissing:   resourceNotFound,
	problem.AssociationNotFound:  resourceNotFound,
	problem.AssociationExists:    invalidRequest,
	problem.AssociationInvalid:   invalidRequest,
	problem.AssociationLimit:     invalidRequest,
	problem.TagLimit:             invalidRequest,
	problem.RoleMissing:          accessDenied,
	problem.TrustInvalid:         accessDenied,
	problem.TrustDenied:          accessDenied,
	problem.TrustPrincipal:       accessDenied,
	problem.TrustTagSession:      accessDenied,
	problem.TrustCondition:       accessDenied,
	problem.TargetRoleDenied:     accessDenied,
	problem.SessionTagsTooLarge:  invalidRequest,
	problem.SessionPolicyInvalid: invalidRequest,
	problem.PolicyInvalid:        invalidRequest,
	problem.DurationTooLong:      invalidRequest,
	problem.STSThrottled:         throttling,
	problem.STSUnavailable:       serviceUnavailable,
	problem.BaseCredentials:      internalServer,
	problem.PermissionDenied:     accessDenied,
	problem.AuthUnavailable:      serviceUnavailable,
	problem.TooManyRequests:      throttling,
	problem.ReplicaBehind:        serviceUnavailable,
	problem.ConfigurationMissing: internalServer,
	problem.ConfigurationInvalid: internalServer,
	problem.PassPolicyMissing:    accessDenied,
	problem.ConsentMissing:       accessDenied,
	problem.AssociationShadowed:  invalidRequest,
	problem.PodNotInjected:       invalidRequest,
	problem.CredentialsShadowed:  invalidRequest,
	problem.CertificateMissing:   serviceUnavailable,
	problem.CertificateInvalid:   internalServer,
	problem.AddressUnavailable:   internalServer,
	problem.AgentMissing:         internalServer,
	problem.ClusterUnreachable:   invalidRequest,
	problem.InstallIncomplete:    invalidRequest,
	problem.NotImplemented:       invalidRequest,
	problem.WorldNotRunning:      invalidRequest,
	problem.DataDamaged:          internalServer,
	problem.DataLocked:           invalidRequest,
	problem.DataUnwritable:       internalServer,
	problem.Usage:                invalidRequest,
	problem.Internal:             internalServer,
}

// wireError is p for the caller: AWS's clients read the exception and the
// message, an agent the rest, to restore the problem. p.Err stays here; what
// only the log explains says under which request ID it does.
func wireError(p *problem.Problem, request string) *awswire.Error {
	e, ok := exceptions[p.Code]
	if !ok {
		p, e = problem.New(problem.Internal, "podid could not answer"), internalServer
	}
	if problem.Lookup(p.Code).Kind == problem.Broken {
		told := *p
		told.What += " (request ID " + request + ")"
		p = &told
	}
	return &awswire.Error{
		Status: e.status, Code: e.name, Message: p.Message(),
		Extra: map[string]string{"code": string(p.Code), "what": p.What, "why": p.Why, "fix": p.Fix},
	}
}
