package localaws

import (
	"net/http"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/localaws/iam"
	"github.com/openpodidentity/podid/policy"
)

// Caller is a proved caller.
type Caller struct {
	ARN     string
	Account string // empty for the service principal
}

// Authorize verifies r's signature (replacing r.Body by the verified payload) and
// evaluates whether its caller may perform every one of actions on resource.
// Errors are *awswire.Error. It is how the EKS handlers are guarded here.
//
// A request is verified once: what is proved of it stays in its context, so that
// Authorize may be asked again when the body has been read.
func (a *AWS) Authorize(r *http.Request, resource string, actions ...string) (Caller, error) {
	request, err := a.proved(r)
	if err != nil {
		return Caller{}, err
	}
	for _, action := range actions {
		if err := a.iam.Authorize(request, iam.Question{Action: action, Resource: resource}); err != nil {
			return Caller{}, jsonError(err)
		}
	}
	return Caller{ARN: request.Caller.ARN, Account: request.Caller.Account}, nil
}

// PassRole evaluates whether the caller of r may hand role to EKS Pod Identity:
// iam:PassRole with iam:PassedToService. Errors are *awswire.Error.
func (a *AWS) PassRole(r *http.Request, role podid.RoleARN) error {
	request, err := a.proved(r)
	if err != nil {
		return err
	}
	keys := policy.Keys{"iam:PassedToService": {podid.ServicePrincipal}}
	if i, err := a.iam.Identity(iam.Role, role.Name()); err == nil && i.ARN == string(role) {
		i.AddTagKeys(keys)
	}
	if err := a.iam.Authorize(request, iam.Question{Action: "iam:PassRole", Resource: string(role), Keys: keys}); err != nil {
		return jsonError(err)
	}
	return nil
}

// proved verifies r unless that was done.
func (a *AWS) proved(r *http.Request) (*iam.Request, error) {
	if request := iam.FromContext(r.Context()); request != nil {
		return request, nil
	}
	request, err := a.verify(r)
	if err != nil {
		return nil, jsonError(err)
	}
	*r = *r.WithContext(iam.NewContext(r.Context(), request))
	return request, nil
}

// s3Access answers S3's questions.
func (a *AWS) s3Access(r *http.Request, action, resource string, keys map[string][]string) error {
	request := iam.FromContext(r.Context())
	if request == nil {
		return awswire.Errorf(http.StatusForbidden, "AccessDenied", "Access Denied")
	}
	return a.iam.Authorize(request, iam.Question{Action: action, Resource: resource, Keys: keys})
}
