package agent

import (
	"net/http"

	"github.com/openpodidentity/podid/problem"
)

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
	problem.AgentMissing:         http.StatusInternalServerError,
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
