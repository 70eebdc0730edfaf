package kube_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/problem"
)

var resource = schema.GroupResource{Group: "podid.dev", Resource: "podidentityassociations"}

func TestAReadThatFailsIsNoRefusal(t *testing.T) {
	for status := 400; status < 600; status++ {
		err := apierrors.NewGenericServerResponse(status, "get", resource, "cart", "system:serviceaccount:podid:reader may not", 0, true)
		p := problem.Of(kube.Unread(t.Context(), err))
		if problem.Lookup(p.Code).Kind != problem.Transient {
			t.Errorf("status %d is %s", status, p.Code)
		}
		if strings.Contains(p.Message(), "system:") {
			t.Errorf("status %d tells of podid's own account: %s", status, p.Message())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := kube.Unread(ctx, errors.New("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func TestOnlyAnObjectThatIsNotThereIsAbsent(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"no object":            {apierrors.NewNotFound(resource, "cart"), true},
		"no namespace":         {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "shop"), false},
		"no kind":              {apierrors.NewGenericServerResponse(http.StatusNotFound, "get", resource, "cart", "404 page not found", 0, true), false},
		"no kind in discovery": {&meta.NoKindMatchError{}, false},
		"gone":                 {apierrors.NewResourceExpired("x"), false},
	} {
		if got := kube.Absent(test.err); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestAWriteThatFailsSaysWhy(t *testing.T) {
	namespaceEnds := apierrors.NewForbidden(resource, "cart", errors.New("unable to create new content in namespace shop because it is being terminated"))
	namespaceEnds.ErrStatus.Details.Causes = append(namespaceEnds.ErrStatus.Details.Causes, metav1.StatusCause{Type: corev1.NamespaceTerminatingCause})
	for name, test := range map[string]struct {
		err  error
		code problem.Code
		says string
	}{
		"no namespace":     {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "shop"), problem.AssociationInvalid, `namespace "shop" does not exist`},
		"namespace ends":   {namespaceEnds, problem.AssociationInvalid, "being deleted"},
		"RBAC or a policy": {apierrors.NewForbidden(resource, "cart", errors.New("may not pass the role")), problem.PermissionDenied, "may not pass the role"},
		"schema":           {apierrors.NewInvalid(schema.GroupKind{Kind: "PodIdentityAssociation"}, "cart", nil), problem.AssociationInvalid, "cart"},
		"bad request":      {apierrors.NewBadRequest("strict decoding"), problem.AssociationInvalid, "trict decoding"},
		"conflict":         {apierrors.NewConflict(resource, "cart", errors.New("x")), problem.TooManyRequests, "shop/cart"},
		"throttled":        {apierrors.NewTooManyRequests("x", 1), problem.ClusterUnavailable, ""},
		"timeout":          {apierrors.NewTimeoutError("x", 1), problem.ClusterUnavailable, ""},
		"server timeout":   {apierrors.NewServerTimeout(resource, "create", 1), problem.ClusterUnavailable, ""},
		"unavailable":      {apierrors.NewServiceUnavailable("x"), problem.ClusterUnavailable, ""},
		"internal":         {apierrors.NewInternalError(errors.New("etcd")), problem.ClusterUnavailable, ""},
		"unauthorized":     {apierrors.NewUnauthorized("x"), problem.ClusterUnavailable, ""},
		"refused":          {&url.Error{Op: "Post", URL: "https://10.0.0.1", Err: syscall.ECONNREFUSED}, problem.ClusterUnavailable, ""},
		"no kind": {apierrors.NewGenericServerResponse(http.StatusNotFound, "post", resource, "", "404 page not found", 0, true),
			problem.ClusterUnavailable, "deploy/crds"},
		"no kind in discovery": {&meta.NoKindMatchError{GroupKind: schema.GroupKind{Kind: "PodIdentityAssociation"}}, problem.ClusterUnavailable, "deploy/crds"},
	} {
		t.Run(name, func(t *testing.T) {
			err := kube.Unwritten(t.Context(), "create", podid.Association{Namespace: "shop", ServiceAccount: "cart"}, test.err)
			p := problem.Of(err)
			if p.Code != test.code || !strings.Contains(p.Message(), test.says) {
				t.Errorf("%s: %s, want %s that says %q", p.Code, p.Message(), test.code, test.says)
			}
			if !errors.Is(err, test.err) {
				t.Errorf("%v does not wrap its cause", err)
			}
		})
	}
}

func TestALongRefusalIsCut(t *testing.T) {
	err := kube.Unwritten(t.Context(), "create", podid.Association{Namespace: "shop", ServiceAccount: "cart"},
		apierrors.NewBadRequest("x"+strings.Repeat("日", 100_000)))
	if message := problem.Of(err).Message(); len(message) > 2000 || strings.ContainsRune(message, '\uFFFD') {
		t.Errorf("%d bytes", len(message))
	}
}
