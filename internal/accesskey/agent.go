package accesskey

import (
	"net/http"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/openpodidentity/podid/internal/sigv4"
	"github.com/openpodidentity/podid/problem"
)

// exchanges, in the group of iamroles, is what RBAC calls the credentials of all pods.
const exchanges = "exchanges"

// Agents verifies who asks podid-auth for pods' credentials with a signature, as AWS's
// own agent does.
func (d *Door) Agents() *sigv4.Verifier { return &sigv4.Verifier{Lookup: d.lookup} }

// MayExchange says whether the sender of r, a verified request of EKS Auth, may ask for the
// credentials of pods: of all, since a signature proves no node. It takes the verb create
// on exchanges.iam.podid.dev, cluster-wide, which no pod's own service account should have.
func (d *Door) MayExchange(r *http.Request) error {
	if err := d.prove(r, "eks-auth"); err != nil {
		return err
	}
	account, yes, err := d.allowed(r.Context(), authorizationv1.ResourceAttributes{Group: passGroup, Version: "*", Resource: exchanges, Verb: "create"})
	if yes || err != nil {
		return err
	}
	return problem.New(problem.PermissionDenied, "service account %s may not ask for the credentials of pods", account).
		Because("that takes the verb create on %s.%s, cluster-wide", exchanges, passGroup).
		Fixed("grant it to the service account of agents that sign, and to nobody else; or use podid-agent, which needs no key")
}
