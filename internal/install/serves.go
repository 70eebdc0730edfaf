package install

import (
	"fmt"
	"strings"

	"github.com/openpodidentity/podid/problem"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Serves is an error where the API server has not got every kind of the objects: it is asked before anything is
// changed, so that an old Kubernetes has all of podid or nothing.
func (c Cluster) Serves(objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		kind := object.GroupVersionKind()
		_, err := c.API.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
		if meta.IsNoMatchError(err) {
			return c.tooOld(object)
		}
		if err != nil {
			return fmt.Errorf("discover %s: %w", kind.Kind, err)
		}
	}
	return nil
}

func (c Cluster) tooOld(object *unstructured.Unstructured) error {
	version := "its version unknown"
	if info, err := c.Typed.Discovery().ServerVersion(); err == nil {
		version = info.GitVersion
	}
	p := problem.New(problem.InstallIncomplete, "this cluster's Kubernetes (%s) has no %s in %s", version, object.GetKind(), object.GetAPIVersion())
	if strings.HasPrefix(object.GetKind(), "MutatingAdmission") {
		return p.Because("the labelled scope needs Kubernetes 1.36, and an API server that does not have it switched off").
			Fixed("leave --labelled-scope out: podid-webhook injects pods from Kubernetes 1.30 on")
	}
	return p.Because("podid needs Kubernetes 1.30, and an API server that does not have that switched off").
		Fixed("upgrade the cluster first")
}
