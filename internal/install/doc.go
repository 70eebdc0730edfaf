// Package install puts podid into a cluster, looks after it, and takes it out again.
//
// What is installed is deploy/install.yaml, which the program carries, changed by
// Options ([Render], pure). It is applied by the API server itself (server-side apply), so
// installing again is upgrading: objects that the manifest has no more are removed,
// and what others wrote beside stays.
//
// A dry run asks the API server too, admission included, and changes nothing.
package install

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Namespace is where install.yaml puts podid, and Helm unless it is told another.
const Namespace = "podid-system"

// Cluster is the cluster that podid is installed in.
type Cluster struct {
	API client.WithWatch
	// Typed reaches what API does not: a pod's own port, and its log.
	Typed kubernetes.Interface
	// Namespace is podid's.
	Namespace string
}

// Connect makes the clients of a cluster that has podid in a namespace, or is to have it there.
func Connect(config *rest.Config, namespace string) (Cluster, error) {
	api, err := client.NewWithWatch(config, client.Options{})
	if err != nil {
		return Cluster{}, fmt.Errorf("connect to the cluster: %w", err)
	}
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return Cluster{}, fmt.Errorf("connect to the cluster: %w", err)
	}
	return Cluster{API: api, Typed: typed, Namespace: namespace}, nil
}

// Name is how people are told of an object: "Deployment podid-system/podid-auth".
func Name(o *unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + " " + o.GetName()
	}
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

// absent says that an object, or its kind, is not in the cluster.
func absent(err error) bool {
	return apierrors.IsNotFound(err) || meta.IsNoMatchError(err) || errors.As(err, new(*meta.NoResourceMatchError))
}
