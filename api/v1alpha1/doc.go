// Package v1alpha1 is podid's API in Kubernetes, group podid.dev: what kubectl and
// GitOps write, and podid-auth reads. It holds types and markers alone; the rules
// that a schema can hold are in the markers, and deploy/crds is generated from them.
//
// +groupName=podid.dev
// +kubebuilder:object:generate=true
package v1alpha1

//go:generate go tool controller-gen object crd paths=. output:crd:dir=../../deploy/crds
