package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"
)

// absent says that the API server has no such object. That the kind itself is not
// there is another thing: it refuses nobody.
func absent(err error) bool {
	return apierrors.IsNotFound(err) && !kindMissing(err) && !namespaceMissing(err)
}

func kindMissing(err error) bool {
	return meta.IsNoMatchError(err) ||
		apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

func namespaceMissing(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Kind == "namespaces"
}

// unread is the problem of a read that did not succeed. Whatever the API server said,
// it is no refusal of who asks: that something cannot be read does not mean that it is
// not there.
func unread(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("read associations: %w", ctx.Err())
	}
	p := problem.New(problem.ClusterUnavailable, "the associations cannot be read from the API server").From(err)
	switch {
	case kindMissing(err):
		return p.Because("the cluster does not know the kind PodIdentityAssociation").
			Fixed("kubectl apply -f deploy/crds")
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return p.Because("podid may not read them").
			Fixed("give podid's service account get, list and watch on podidentityassociations in the group podid.dev")
	}
	return p.Because("it does not answer, or answers with an error")
}

// unwritten is the problem of a write, verb, that did not succeed. What the API server
// says of a refusal is for who writes to know.
func unwritten(ctx context.Context, verb string, a podid.Association, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s association: %w", verb, ctx.Err())
	}
	name := a.Namespace + "/" + a.ServiceAccount
	refused := func(code problem.Code) *problem.Problem {
		return problem.New(code, "the API server does not %s the association of %s", verb, name).From(err)
	}
	switch {
	case namespaceMissing(err):
		return problem.New(problem.AssociationInvalid, "the namespace %q does not exist", a.Namespace).
			Because("an association is an object in its service account's namespace").
			Fixed("create it first: kubectl create namespace %s", a.Namespace).From(err)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return problem.New(problem.AssociationInvalid, "the namespace %q is being deleted", a.Namespace).
			Because("nothing can be created in it any more").
			Fixed("wait until it is gone, and create it again").From(err)
	case apierrors.IsForbidden(err):
		return refused(problem.PermissionDenied).Because("%s", said(err)).
			Fixed("allow it in Kubernetes' RBAC, or correct the request")
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return refused(problem.AssociationInvalid).Because("%s", said(err))
	case apierrors.IsConflict(err):
		return problem.New(problem.TooManyRequests, "the association of %s is being changed by others all the time", name).
			Because("each of our attempts met a newer version").
			Fixed("try again").From(err)
	}
	p := problem.New(problem.ClusterUnavailable, "the API server cannot %s the association of %s", verb, name).From(err)
	if kindMissing(err) {
		return p.Because("the cluster does not know the kind PodIdentityAssociation").
			Fixed("kubectl apply -f deploy/crds")
	}
	return p.Because("it does not answer, or answers with an error").
		Fixed("look at the API server and at podid's connection to it, and try again")
}

// said is the API server's own text, within bounds.
func said(err error) string {
	const most = 1000
	text := err.Error()
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
