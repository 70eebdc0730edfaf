// Package injection gives a pod what its SDK needs to ask podid: the variables,
// the token volume and the mounts of EKS Pod Identity.
//
// It acts before the pod exists: the API server asks the webhook (admission.go)
// about each new pod, the webhook asks for the association of the pod's service
// account, and Inject, which is pure, says what the pod becomes and why.
package injection
